"""How sure the model was of a label, from the alternatives of the tokens that spell it."""

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from workers.prelabel.judge.parsing import COLUMNS


class Alternative(BaseModel):
    """A token and the logarithm of its probability. Its bytes are given where it is a part of a character."""

    model_config = ConfigDict(extra="ignore")

    token: str
    logprob: float
    utf8: list[Annotated[int, Field(ge=0, le=255)]] | None = Field(default=None, alias="bytes")

    def spelling(self) -> bytes:
        return self.token.encode("utf-8", "surrogatepass") if self.utf8 is None else bytes(self.utf8)


class Token(Alternative):
    """A token of the answer and what could have stood in its place."""

    top_logprobs: list[Alternative] | None = None


class Tokens:
    """The tokens of one answer, addressed by places in the answer's text."""

    def __init__(self, text: str, tokens: Sequence[Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._starts = [0]
        for token in tokens:
            self._starts.append(self._starts[-1] + len(token.spelling()))
        # Some servers list the tokens of the thinking as well, which is not in the text.
        spelled = b"".join(token.spelling() for token in tokens)
        self._offset = spelled.rfind(text.encode("utf-8", "surrogatepass"))

    def label_probs(self, label_at: int) -> np.ndarray | None:
        """P(-1), P(0), P(+1) of the label whose word begins at `label_at`; None if the tokens do not tell.

        Follows the word token by token until only one label can be meant ("ne" still leaves two). Among the
        alternatives at each of these tokens, one that settles on a label adds its probability to that label.
        """
        if self._offset < 0:
            return None
        at = self._offset + len(self._text[:label_at].encode("utf-8", "surrogatepass"))
        index = int(np.searchsorted(self._starts, at, side="right")) - 1
        mass = np.zeros(3)
        reached = 1.0  # the probability of the word's beginning, as far as it is written
        written = b""
        while index < len(self._tokens):
            token = self._tokens[index]
            lead = token.spelling()[: max(at - self._starts[index], 0)]  # a quote may share the token with the word
            rest = 1.0
            smallest = 1.0
            for spelling, probability in _alternatives(token).items():
                rest -= probability
                smallest = min(smallest, probability)
                if spelling.startswith(lead) and len(meant := _meant(written + spelling[len(lead) :])) == 1:
                    mass[meant[0]] += reached * probability
            written += token.spelling()[len(lead) :]
            if len(_meant(written)) == 1:
                # A label outside the list is at most as likely as the last on it, and shares what the list leaves over.
                missing = mass == 0
                if missing.any():
                    mass[missing] = reached * max(min(smallest, rest / missing.sum()), 0.0)
                total = mass.sum()
                return mass / total if total > 0 else None
            reached *= _alternatives(token)[token.spelling()]
            index += 1
        return None


def _alternatives(token: Token) -> dict[bytes, float]:
    """Probability by spelling, the token itself included; impossible ones (minus infinity, or NaN) are 0."""
    given = [token, *(token.top_logprobs or [])]
    return {a.spelling(): math.exp(min(a.logprob, 0.0)) if not math.isnan(a.logprob) else 0.0 for a in given}


def _meant(word: bytes) -> list[int]:
    """The labels that can still be meant by a word that begins like this."""
    spelled = ((f'{label}"'.encode(), column) for label, column in COLUMNS.items())
    return [column for label, column in spelled if label.startswith(word) or word.startswith(label)]
