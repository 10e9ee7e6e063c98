"""From pieces of text to token ids, with the position that is read for every step.

Positions are recorded while the text is put together and carried over by the tokenizer's character offsets. They are
never searched for afterwards, because a marker may occur anywhere in what tools and users say. A marker (or a special
token, which could forge a turn of the chat) inside the trajectory's own text is an error or is broken up, as the model
file says.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from annotator.prelabelling.configs import json_sha256
from annotator.prelabelling.discriminative import DiscriminativeConfig, Limits
from annotator.prelabelling.scores import ScoringError, TrajectoryText
from workers.prelabel.discriminative import windows
from workers.prelabel.discriminative.errors import ModelError
from workers.prelabel.discriminative.layout import layout_of
from workers.prelabel.discriminative.texts import Piece, Pieces, pieces_of

RENDER_VERSION = 1  # goes into the render hash: count it up when the same trajectory would give other token ids

_SLOTS = re.compile(r"(\{i\}|\{context\}|\{step\})")
_NEXT_STEP = "[assistant] "  # stands between context and step


@dataclass(frozen=True, eq=False)
class Row:
    """One forward pass: ids (n_tokens,), the positions read (n_steps_here,), the hidden positions, the first step."""

    ids: np.ndarray
    reads: np.ndarray
    hidden: np.ndarray
    first_step: int


@dataclass(frozen=True, eq=False)
class Encoded:
    """A trajectory ready for the model; several rows only where it did not fit one window."""

    rows: tuple[Row, ...]
    n_steps: int
    n_dropped_tokens: int
    first_truncated_step: int | None
    note: str


@dataclass
class _Text:
    """Text that is tokenised in one go, and where in it the trajectory's own pieces and the ends of steps are."""

    parts: list[str] = field(default_factory=list)
    length: int = 0
    own: list[tuple[int, int, Piece]] = field(default_factory=list)

    def add(self, text: str, piece: Piece | None = None) -> None:
        if piece is not None:
            self.own.append((self.length, self.length + len(text), piece))
        self.parts.append(text)
        self.length += len(text)


class Encoder:
    """Renders trajectories by one model's rule. Free of state: several threads may use it."""

    def __init__(self, config: DiscriminativeConfig, tokenizer: PreTrainedTokenizerFast, max_tokens: int) -> None:
        """Raises ModelError where the tokenizer cannot follow the rule."""
        self.rule, self.read, self.limits = config.render, config.read, config.limits
        self.markers_visible = config.markers_visible
        self.max_tokens = max_tokens
        self.tokens: Tokenizer = tokenizer.backend_tokenizer
        self.layout = layout_of(config.render, tokenizer)
        self.step_parts = _SLOTS.split(self.layout.step)
        self.marker_ids = self._ids(self.layout.marker) if self.layout.marker else []
        if self.layout.marker and self.rule.tokenise == "whole" and len(self.marker_ids) != 1:
            raise ModelError(
                f"The marker {self.layout.marker!r} is {len(self.marker_ids)} tokens for this checkpoint's tokenizer, "
                "not one: the tokenizer does not belong to the model file."
            )
        if self.rule.bos == "always" and tokenizer.bos_token_id is None:
            raise ModelError("render.bos is always, but the checkpoint's tokenizer has no token for the beginning.")
        self.bos = [] if self.rule.bos == "never" or tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
        special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        protected = special - {tokenizer.unk_token_id}
        if not self.rule.marker_may_occur:
            protected |= set(self.marker_ids[-1:])
        self.protected = np.array(sorted(protected), dtype=np.int64)
        facts = [RENDER_VERSION, config.render.model_dump(mode="json"), config.read.model_dump(mode="json")]
        facts += [config.markers_visible, config.limits.model_dump(mode="json", include=_CUTTING), max_tokens]
        layout = [self.layout.header, self.layout.step, self.layout.marker, self.layout.between]
        self.render_sha256 = json_sha256([*facts, layout, self.marker_ids, self.bos])

    def encode(self, trajectory: TrajectoryText) -> Encoded:
        """Raises ScoringError where the trajectory cannot be rendered as the model file demands."""
        pieces = pieces_of(trajectory, self.rule)
        cut = _Cut()
        tokens, note = self._safe(pieces)
        if len(tokens.ids) > self.max_tokens:
            if self.limits.too_long == "refuse":
                raise ScoringError(
                    f"The trajectory has {len(tokens.ids)} tokens and the model reads {self.max_tokens}; set "
                    "limits.too_long to window in the model file to score it in parts."
                )
            pieces, cut = self._capped(pieces)
            tokens, note = self._safe(pieces)
        if len(tokens.reads) != trajectory.n_steps:
            raise ScoringError(f"{len(tokens.reads)} scores would be read for {trajectory.n_steps} steps.")
        if len(tokens.ids) <= self.max_tokens:
            rows = [self._row(tokens, windows.Window(tokens.n_header, len(tokens.ids), 0, trajectory.n_steps))]
            return Encoded(tuple(rows), trajectory.n_steps, cut.n_tokens, cut.first_step, note)
        if tokens.n_header > self.max_tokens // 2:
            raise ScoringError(
                f"The question alone has {tokens.n_header} of the {self.max_tokens} tokens that the model reads; lower "
                "system_tokens, tools_tokens or question_tokens under limits in the model file."
            )
        parts = windows.plan(tokens.n_header, tokens.ends, self.max_tokens)
        shortened = next((part for part in parts if part.start > tokens.n_header), None)
        if shortened is not None:
            cut.at_step(shortened.first, max(part.start for part in parts) - tokens.n_header)
        rows = [self._row(tokens, part) for part in parts]
        return Encoded(tuple(rows), trajectory.n_steps, cut.n_tokens, cut.first_step, note)

    def _row(self, tokens: "_Tokens", part: windows.Window) -> Row:
        shift = part.start - tokens.n_header  # what lies behind the header moves up by so much
        ids = np.concatenate([tokens.ids[: tokens.n_header], tokens.ids[part.start : part.stop]])
        reads = np.array(tokens.reads[part.first : part.last], dtype=np.int64) - shift
        hidden = np.array([] if self.markers_visible else tokens.markers, dtype=np.int64)
        hidden = hidden[(hidden >= part.start) & (hidden < part.stop)] - shift
        if (reads < 0).any():
            raise ScoringError(
                f"Step {part.first + 1} is too short to be read {-self.read.offset} tokens before its end."
            )
        return Row(ids, reads, hidden, part.first)

    def _safe(self, pieces: Pieces) -> tuple["_Tokens", str]:
        """The tokens, without anything forged in them; and a note on what had to be broken up."""
        n_broken, first = 0, ""
        for _ in range(4):
            tokens = self._tokens(pieces)
            if not tokens.forged:
                note = f"{n_broken} markers or special tokens in the text were broken up, the first in {first}."
                return tokens, note if n_broken else ""
            piece, text = tokens.forged[0]
            what = f"In {piece.where} stands {text!r}, which this model reads as a marker or a special token"
            if self.rule.collision == "error":
                raise ScoringError(f"{what}; set render.collision to escape in the model file.")
            n_broken, first = n_broken or len(tokens.forged), first or piece.where
            pieces = pieces.changed(partial(_break_up, literals={text for _, text in tokens.forged}))
        raise ScoringError(f"{what} and which cannot be broken up; add it to render.replace in the model file.")

    def _tokens(self, pieces: Pieces) -> "_Tokens":
        """Tokenises the whole text at once, or header, steps and markers each on their own."""
        whole = self.rule.tokenise == "whole"
        tokens = _Tokens(list(self.bos))
        text = _Text()
        header, _, after = self.layout.header.partition("{question}")
        text.add(header)
        self._add_joined(text, pieces.question)
        text.add(after)
        if not whole:
            self._flush(text, tokens)
            tokens.n_header = len(tokens.ids_list)
        n_header, marker_ends = text.length, []
        for number, step in enumerate(pieces.steps, start=1):
            text = text if whole else _Text()
            if number > 1:
                text.add(self.layout.between)
            self._add_step(text, number, step.context, step.step)
            if whole:
                text.add(self.layout.marker)
                marker_ends.append(text.length)
            else:
                self._flush(text, tokens)
                tokens.end_step(self.marker_ids, self.read.offset)
        if whole:
            offsets = self._flush(text, tokens)
            ends = [end for _, end in offsets]
            tokens.n_header = len(self.bos) + bisect_left(ends, n_header + 1)
            self._find_markers(ends, marker_ends, tokens)
        tokens.finish(self.protected)
        return tokens

    def _find_markers(self, ends: Sequence[int], marker_ends: Iterable[int], tokens: "_Tokens") -> None:
        shift = len(self.bos)
        for number, end in enumerate(marker_ends, start=1):
            at = bisect_left(ends, end)
            if at == len(ends) or ends[at] != end or tokens.ids_list[shift + at] != self.marker_ids[0]:
                raise ScoringError(
                    f"The marker after step {number} merged with the text around it, so the step has no score of its "
                    "own; check render.step and render.between in the model file."
                )
            tokens.markers.append(shift + at)
            tokens.reads.append(shift + at + self.read.offset)
            tokens.ends.append(shift + at + 1)

    def _add_step(self, text: _Text, number: int, context: tuple[Piece, ...], step: Piece) -> None:
        for part in self.step_parts:
            if part == "{i}":
                text.add(str(number))
            elif part == "{step}":
                text.add(step.text, step)
            elif part == "{context}" and context:
                self._add_joined(text, context)
                text.add(self.rule.join + _NEXT_STEP)
            elif part != "{context}":
                text.add(part)

    def _add_joined(self, text: _Text, pieces: Sequence[Piece]) -> None:
        for number, piece in enumerate(pieces):
            text.add(self.rule.join if number else "")
            text.add(piece.text, piece)

    def _flush(self, text: _Text, tokens: "_Tokens") -> list[tuple[int, int]]:
        """Tokenises `text` behind what is there already; returns the tokens' places in the text."""
        joined = "".join(text.parts)
        encoding = self.tokens.encode(joined, add_special_tokens=False)
        tokens.add(encoding.ids, encoding.offsets, joined, text.own)
        return encoding.offsets

    def _ids(self, text: str) -> list[int]:
        return self.tokens.encode(text, add_special_tokens=False).ids

    def _capped(self, pieces: Pieces) -> tuple[Pieces, "_Cut"]:
        """Every long piece but the steps themselves shortened to its cap."""
        cut = _Cut()
        question = tuple(self._cap(piece, cut, 0) for piece in pieces.question)
        steps = tuple(
            replace(step, context=tuple(self._cap(piece, cut, number) for piece in step.context))
            for number, step in enumerate(pieces.steps)
        )
        return Pieces(question, steps), cut

    def _cap(self, piece: Piece, cut: "_Cut", step: int) -> Piece:
        cap = _cap_of(piece, self.limits)
        if cap is None or len(piece.text) <= cap // 4:  # no character is more than four tokens
            return piece
        encoding = self.tokens.encode(piece.text, add_special_tokens=False)
        n_over = len(encoding.ids) - cap
        if n_over <= 0:
            return piece
        n_head = cap * 3 // 4
        head, tail = encoding.offsets[n_head - 1][1], encoding.offsets[n_head + n_over][0]
        cut.at_step(step, n_over)
        return replace(piece, text=f"{piece.text[:head]} [{n_over} tokens left out] {piece.text[tail:]}")


@dataclass
class _Cut:
    """What was cut away, and the first step that misses some of it."""

    n_tokens: int = 0
    first_step: int | None = None

    def at_step(self, step: int, n_tokens: int) -> None:
        self.n_tokens += n_tokens
        self.first_step = step if self.first_step is None else min(step, self.first_step)


@dataclass
class _Tokens:
    """Token ids as they are put together, with the positions of everything that is looked up later."""

    ids_list: list[int]
    n_header: int = 0
    reads: list[int] = field(default_factory=list)  # per step: the position that is read
    ends: list[int] = field(default_factory=list)  # per step: the position after its last token
    markers: list[int] = field(default_factory=list)
    forged: list[tuple[Piece, str]] = field(default_factory=list)
    ids: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    _added: list[tuple[int, list[tuple[int, int]], str, list[tuple[int, int, Piece]]]] = field(default_factory=list)

    def add(self, ids: list[int], offsets: list[tuple[int, int]], text: str, own: list[tuple[int, int, Piece]]) -> None:
        self._added.append((len(self.ids_list), offsets, text, own))
        self.ids_list += ids

    def end_step(self, marker_ids: list[int], offset: int) -> None:
        self.ids_list += marker_ids
        if marker_ids:
            self.markers.append(len(self.ids_list) - 1)
        self.reads.append(len(self.ids_list) - 1 + offset)
        self.ends.append(len(self.ids_list))

    def finish(self, protected: np.ndarray) -> None:
        """Notes protected tokens that come from the trajectory's own text."""
        self.ids = np.array(self.ids_list, dtype=np.int64)
        suspects = set(np.flatnonzero(np.isin(self.ids, protected)).tolist()) - set(self.markers)
        for base, offsets, text, own in self._added if suspects else ():
            for at in sorted(suspects & set(range(base, base + len(offsets)))):
                start, end = offsets[at - base]
                piece = next((piece for a, b, piece in own if a < end and start < b), None)
                if piece is not None:
                    self.forged.append((piece, text[start:end]))


_CUTTING = {"too_long", "tool_result_tokens", "system_tokens", "tools_tokens", "question_tokens"}


def _cap_of(piece: Piece, limits: Limits) -> int | None:
    caps = {
        "system": limits.system_tokens,
        "tools": limits.tools_tokens,
        "question": limits.question_tokens,
        "tool_result": limits.tool_result_tokens,
    }
    return caps.get(piece.kind)


def _break_up(piece: Piece, literals: set[str]) -> Piece:
    """The piece with a space after the first visible character of every literal, so that none is one token."""
    text = piece.text
    for literal in literals:
        visible = literal.strip()
        if len(visible) > 1:
            text = text.replace(visible, f"{visible[0]} {visible[1:]}")
    return replace(piece, text=text)
