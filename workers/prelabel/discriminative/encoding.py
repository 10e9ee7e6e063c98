"""From a trajectory to what goes through the model: safe against forged markers, and short enough.

A marker (or a special token, which could forge a turn of the chat) inside the trajectory's own text is an error or is
broken up, as the model file says. A trajectory that is too long first loses the middle of its longest texts, and is
read in windows if that is not enough; how much was dropped is counted.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from transformers import PreTrainedTokenizerFast

from annotator.prelabelling.configs import json_sha256
from annotator.prelabelling.discriminative import DiscriminativeConfig, Limits
from annotator.prelabelling.scores import ScoringError, TrajectoryText
from workers.prelabel.discriminative import windows
from workers.prelabel.discriminative.rendering import Rendered, Renderer
from workers.prelabel.discriminative.texts import Piece, Pieces, pieces_of

_CUTTING = {"too_long", "tool_result_tokens", "system_tokens", "tools_tokens", "question_tokens"}


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a forward pass: some or all steps of one trajectory."""

    ids: np.ndarray  # (n_tokens,)
    reads: np.ndarray  # (steps of this row,): the positions that are read
    hidden: np.ndarray  # (markers of this row,) or (0,): the positions to which no token may attend
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
class _Cut:
    """What was cut away, and the first step that misses some of it."""

    n_tokens: int = 0
    first_step: int | None = None

    def add(self, n_tokens: int, step: int) -> None:
        self.n_tokens += n_tokens
        self.first_step = step if self.first_step is None else min(step, self.first_step)


class Encoder:
    """Holds nothing of the trajectories it encodes; several threads may use it."""

    def __init__(self, config: DiscriminativeConfig, tokenizer: PreTrainedTokenizerFast, max_tokens: int) -> None:
        """Raises ModelError where the tokenizer cannot follow the model file."""
        self.rule, self.limits, self.max_tokens = config.render, config.limits, max_tokens
        self.markers_visible = config.markers_visible
        self.renderer = Renderer(config, tokenizer)
        self.tokenizer = self.renderer.tokenizer
        cutting = config.limits.model_dump(mode="json", include=_CUTTING)
        self.render_sha256 = json_sha256([self.renderer.sha256(), cutting, max_tokens, config.markers_visible])

    def encode(self, trajectory: TrajectoryText) -> Encoded:
        """Raises ScoringError where the trajectory cannot be rendered as the model file demands."""
        pieces = pieces_of(trajectory, self.rule)
        cut = _Cut()
        text, note = self._safe(pieces)
        if len(text.ids) > self.max_tokens:
            if self.limits.too_long == "refuse":
                raise ScoringError(
                    f"The trajectory has {len(text.ids)} tokens and the model reads {self.max_tokens}; set "
                    "limits.too_long to window in the model file to score it in parts."
                )
            text, note = self._safe(self._capped(pieces, cut))
        if len(text.reads) != trajectory.n_steps:
            raise ScoringError(f"{len(text.reads)} scores would be read for {trajectory.n_steps} steps.")
        if len(text.ids) > self.max_tokens and text.n_header > self.max_tokens // 2:
            raise ScoringError(
                f"The question alone has {text.n_header} of the {self.max_tokens} tokens that the model reads; lower "
                "system_tokens, tools_tokens or question_tokens under limits in the model file."
            )
        parts = windows.plan(text.n_header, text.ends, self.max_tokens)
        shortened = next((part for part in parts if part.start > text.n_header), None)
        if shortened is not None:
            cut.add(max(part.start for part in parts) - text.n_header, shortened.first)
        rows = tuple(self._row(text, part) for part in parts)
        return Encoded(rows, trajectory.n_steps, cut.n_tokens, cut.first_step, note)

    def _row(self, text: Rendered, part: windows.Window) -> Row:
        shift = part.start - text.n_header  # what lies behind the header moves up by so much
        reads = np.array(text.reads[part.first : part.last], dtype=np.int64) - shift
        if reads[0] < 0:
            raise ScoringError(f"Nothing stands before step {part.first + 1}, where this model reads its score.")
        hidden = np.array([] if self.markers_visible else text.markers, dtype=np.int64)
        return Row(
            ids=np.concatenate([text.ids[: text.n_header], text.ids[part.start : part.stop]]),
            reads=reads,
            hidden=hidden[(hidden >= part.start) & (hidden < part.stop)] - shift,
            first_step=part.first,
        )

    def _safe(self, pieces: Pieces) -> tuple[Rendered, str]:
        """The tokens, with nothing forged among them; and a note on what had to be broken up for that."""
        n_broken, where = 0, ""
        for _ in range(4):
            text = self.renderer.render(pieces)
            if not text.forged:
                note = f"{n_broken} markers or special tokens in the text were broken up, the first in {where}."
                return text, note if n_broken else ""
            piece, literal = text.forged[0]
            told = f"In {piece.where} stands {literal!r}, which this model reads as a marker or a special token"
            if self.rule.collision == "error":
                raise ScoringError(f"{told}; set render.collision to escape in the model file.")
            n_broken, where = n_broken or len(text.forged), where or piece.where
            pieces = pieces.changed(partial(_break_up, literals={literal for _, literal in text.forged}))
        raise ScoringError(f"{told} and which cannot be broken up; add it to render.replace in the model file.")

    def _capped(self, pieces: Pieces, cut: _Cut) -> Pieces:
        """Every long piece but the steps themselves shortened to its cap; `cut` learns what went."""
        question = tuple(self._cap(piece, cut, 0) for piece in pieces.question)
        steps = tuple(
            replace(step, context=tuple(self._cap(piece, cut, number) for piece in step.context))
            for number, step in enumerate(pieces.steps)
        )
        return Pieces(question, steps)

    def _cap(self, piece: Piece, cut: _Cut, step: int) -> Piece:
        cap = _cap_of(piece, self.limits)
        if cap is None or len(piece.text) <= cap // 4:  # no character is more than four tokens
            return piece
        encoding = self.tokenizer.encode(piece.text, add_special_tokens=False)
        n_over = len(encoding.ids) - cap
        if n_over <= 0:
            return piece
        n_head = cap * 3 // 4
        head, tail = encoding.offsets[n_head - 1][1], encoding.offsets[n_head + n_over][0]
        cut.add(n_over, step)
        return replace(piece, text=f"{piece.text[:head]} [{n_over} tokens left out] {piece.text[tail:]}")


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
        visible = literal.strip()  # a space in front of it may come from the rule and not from the piece
        if len(visible) > 1:
            text = text.replace(visible, f"{visible[0]} {visible[1:]}")
    return replace(piece, text=text)
