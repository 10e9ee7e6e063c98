"""From pieces of text to token ids, with the position that is read for every step.

Positions are recorded while the text is put together and carried over by the tokenizer's character offsets. They are
never searched for afterwards, because a marker may occur anywhere in what tools and users say.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerFast

from annotator.prelabelling.configs import json_sha256
from annotator.prelabelling.discriminative import DiscriminativeConfig
from annotator.prelabelling.scores import ScoringError
from workers.prelabel.discriminative.errors import ModelError
from workers.prelabel.discriminative.layout import layout_of
from workers.prelabel.discriminative.texts import Piece, Pieces, StepPieces

RENDER_VERSION = 1  # goes into the render hash: count it up when the same trajectory would give other token ids

_SLOTS = re.compile(r"(\{i\}|\{context\}|\{step\})")
_NEXT_STEP = "[assistant] "  # stands between context and step


@dataclass(frozen=True, eq=False)
class Rendered:
    """A whole trajectory as token ids (n_tokens,); all positions count from the first token."""

    ids: np.ndarray
    n_header: int  # tokens before the first step
    reads: list[int]  # per step: the position that is read
    ends: list[int]  # per step: the position after its last token
    markers: list[int]  # per step: the position of its marker; empty without markers
    forged: list[tuple[Piece, str]]  # protected tokens in the trajectory's own text: the piece, and the token's text


@dataclass
class _Text:
    """Text that is tokenised in one go, and which parts of it are the trajectory's own."""

    text: str = ""
    own: list[tuple[int, int, Piece]] = field(default_factory=list)  # from, to (characters), piece

    def add(self, text: str) -> None:
        self.text += text

    def add_own(self, piece: Piece) -> None:
        self.own.append((len(self.text), len(self.text) + len(piece.text), piece))
        self.text += piece.text


class Renderer:
    """One model's rule on one checkpoint's tokenizer."""

    def __init__(self, config: DiscriminativeConfig, tokenizer: PreTrainedTokenizerFast) -> None:
        """Raises ModelError where the tokenizer cannot follow the rule."""
        self.rule, self.offset = config.render, config.read.offset
        self.tokenizer: Tokenizer = tokenizer.backend_tokenizer
        self.layout = layout_of(config.render, tokenizer)
        self._step_parts = _SLOTS.split(self.layout.step)
        self._marker_ids = self.tokenizer.encode(self.layout.marker, add_special_tokens=False).ids
        if self.layout.marker and self.rule.tokenise == "whole" and len(self._marker_ids) != 1:
            raise ModelError(
                f"The marker {self.layout.marker!r} is {len(self._marker_ids)} tokens for this checkpoint's tokenizer, "
                "not one: the tokenizer does not belong to the model file."
            )
        bos = tokenizer.bos_token_id
        if self.rule.bos == "always" and bos is None:
            raise ModelError("render.bos is always, but the checkpoint's tokenizer has no token for the beginning.")
        self._bos = [] if self.rule.bos == "never" or bos is None else [int(bos)]
        special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        protected = special - {tokenizer.unk_token_id}
        if not self.rule.marker_may_occur:
            protected |= set(self._marker_ids[-1:])
        self._protected = np.array(sorted(protected), dtype=np.int64)

    def sha256(self) -> str:
        """The hash of everything here that decides about token ids and positions."""
        layout = [self.layout.header, self.layout.step, self.layout.marker, self.layout.between]
        rule = self.rule.model_dump(mode="json")
        return json_sha256([RENDER_VERSION, rule, self.offset, layout, self._marker_ids, self._bos])

    def render(self, pieces: Pieces) -> Rendered:
        """Raises ScoringError where a marker merges with the text around it."""
        header = _Text()
        before, _, after = self.layout.header.partition("{question}")
        header.add(before)
        self._add_joined(header, pieces.question)
        header.add(after)
        return self._whole(header, pieces) if self.rule.tokenise == "whole" else self._segments(header, pieces)

    def _whole(self, text: _Text, pieces: Pieces) -> Rendered:
        """The whole text tokenised at once; a marker is the token that ends where its text ends."""
        header_end, marker_ends = len(text.text), []
        for number, step in enumerate(pieces.steps, start=1):
            self._add_step(text, number, step)
            text.add(self.layout.marker)
            marker_ends.append(len(text.text))
        encoding = self.tokenizer.encode(text.text, add_special_tokens=False)
        ids, shift = [*self._bos, *encoding.ids], len(self._bos)
        token_ends = [end for _, end in encoding.offsets]
        markers = []
        for number, end in enumerate(marker_ends, start=1):
            at = bisect_left(token_ends, end)
            if at == len(token_ends) or token_ends[at] != end or encoding.ids[at] != self._marker_ids[0]:
                raise ScoringError(
                    f"The marker after step {number} merged with the text around it, so the step has no score of its "
                    "own; check render.step and render.between in the model file."
                )
            markers.append(shift + at)
        return Rendered(
            ids=np.array(ids, dtype=np.int64),
            n_header=shift + bisect_left(token_ends, header_end + 1),
            reads=[marker + self.offset for marker in markers],
            ends=[marker + 1 for marker in markers],
            markers=markers,
            forged=self._forged(encoding, text),
        )

    def _segments(self, header: _Text, pieces: Pieces) -> Rendered:
        """Header, steps and markers tokenised each on their own and put one behind the other."""
        ids = list(self._bos)
        forged: list[tuple[Piece, str]] = []

        def add(text: _Text) -> None:
            encoding = self.tokenizer.encode(text.text, add_special_tokens=False)
            forged.extend(self._forged(encoding, text))
            ids.extend(encoding.ids)

        add(header)
        n_header, ends = len(ids), []
        for number, step in enumerate(pieces.steps, start=1):
            text = _Text()
            self._add_step(text, number, step)
            add(text)
            ids += self._marker_ids
            ends.append(len(ids))
        return Rendered(
            ids=np.array(ids, dtype=np.int64),
            n_header=n_header,
            reads=[end - 1 + self.offset for end in ends],
            ends=ends,
            markers=[end - 1 for end in ends] if self._marker_ids else [],
            forged=forged,
        )

    def _add_step(self, text: _Text, number: int, step: StepPieces) -> None:
        text.add(self.layout.between if number > 1 else "")
        for part in self._step_parts:
            if part == "{i}":
                text.add(str(number))
            elif part == "{step}":
                text.add_own(step.step)
            elif part == "{context}" and step.context:
                self._add_joined(text, step.context)
                text.add(self.rule.join + _NEXT_STEP)
            elif part != "{context}":
                text.add(part)

    def _add_joined(self, text: _Text, pieces: Sequence[Piece]) -> None:
        for number, piece in enumerate(pieces):
            text.add(self.rule.join if number else "")
            text.add_own(piece)

    def _forged(self, encoding: Encoding, text: _Text) -> list[tuple[Piece, str]]:
        """Protected tokens that stand, at least in part, in the trajectory's own text."""
        found = []
        offsets = encoding.offsets  # a new list at every access
        for at in np.flatnonzero(np.isin(np.array(encoding.ids, dtype=np.int64), self._protected)):
            start, end = offsets[at]
            piece = next((piece for first, last, piece in text.own if first < end and start < last), None)
            if piece is not None:
                found.append((piece, text.text[start:end]))
        return found
