"""What the stacker looks at: every rater's verdict, its neighbours', the place of the step, and what was said. Pure."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer

from annotator.agreement.coefficients import IntArray
from annotator.fusion.panel import N_VALUES, Panel

# Steps before and after whose verdicts count, too.
NEIGHBOURS = (-2, -1, 1, 2)
# The first number of a step tells how long its trajectory is.
N_LENGTHS = 1
N_WORDS = 2**15

_words = HashingVectorizer(
    n_features=N_WORDS, ngram_range=(1, 2), alternate_sign=False, norm=None, lowercase=True, binary=True
)


@dataclass(frozen=True)
class Look:
    """What can be seen at m steps: numbers (m, k), and words (m, N_WORDS) or None where nobody said anything."""

    numbers: npt.NDArray[np.float32]
    words: sparse.csr_matrix | None

    def at(self, steps: IntArray) -> "Look":
        return Look(self.numbers[steps], None if self.words is None else self.words[steps])


def look(panel: Panel) -> Look:
    """No trajectory tells anything about another one, so a part of this is what a part of the panel looks like."""
    return Look(numbers(panel), words(panel) if any(panel.texts) else None)


def numbers(panel: Panel) -> npt.NDArray[np.float32]:
    """(m, k) the same k for the same raters and context."""
    m, r = panel.probs.shape[:2]
    said = np.nan_to_num(panel.probs)
    silent = np.isnan(panel.probs[:, :, 0]).astype(np.float32)
    heard = np.maximum(r - silent.sum(axis=1, keepdims=True), 1.0)
    share = said.sum(axis=1) / heard  # (m, 3) of the raters that spoke
    length = np.repeat(panel.lengths, panel.lengths)
    columns = [np.repeat(panel.relative_length, panel.lengths)[:, None], said.reshape(m, r * N_VALUES), silent, share]
    for offset in NEIGHBOURS:
        columns += [_shifted(panel, share, offset), _shifted(panel, said[:, :, 0], offset)]
    votes = panel.votes
    columns += [_so_far(panel, (votes == -1).astype(np.float32)), share.max(axis=1, keepdims=True)]
    # An error before it that a rater has not taken back: what carries on.
    columns.append(_mean(panel, said[:, :, 0].mean(axis=1)))
    place = panel.place
    ends_turn = np.zeros_like(panel.begins_turn)
    ends_turn[:-1] = panel.begins_turn[1:]
    where = np.stack([place / length, place == 0, place == length - 1, panel.begins_turn, ends_turn], axis=1)
    outcome = np.repeat(panel.outcome, panel.lengths)
    ended = np.stack([np.nan_to_num(outcome), np.isnan(outcome), np.nan_to_num(outcome) * where[:, 2]], axis=1)
    return np.concatenate([*columns, where, ended, panel.context], axis=1).astype(np.float32)


def words(panel: Panel) -> sparse.csr_matrix:
    """(m, N_WORDS) which words and pairs of words were said, hashed: there is no vocabulary to keep."""
    return _words.transform(panel.texts)


def _shifted(panel: Panel, values: npt.NDArray[np.float32], offset: int) -> npt.NDArray[np.float32]:
    """(m, k) the values of the step `offset` further on; 0 beyond the ends of the trajectory."""
    found = np.zeros_like(values)
    there = np.arange(panel.n_steps) + offset
    place, length = panel.place + offset, np.repeat(panel.lengths, panel.lengths)
    inside = (place >= 0) & (place < length)
    found[inside] = values[there[inside]]
    return found


def _so_far(panel: Panel, flags: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(m, 2) of the raters, the share that has seen an error before this step; of what they said before it, of errors.

    Not their number: that grows with the length, which differs between sources.
    """
    total = np.cumsum(flags, axis=0) - flags
    before = total - np.repeat(total[panel.starts[:-1].clip(max=max(panel.n_steps - 1, 0))], panel.lengths, axis=0)
    rate = before / np.maximum(panel.place, 1)[:, None]
    return np.stack([(before > 0).mean(axis=1), rate.mean(axis=1)], axis=1)


def _mean(panel: Panel, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(m, 1) the mean over the step's trajectory."""
    sums = np.bincount(panel.owner, weights=values, minlength=panel.n_trajectories)
    return np.repeat(sums / np.maximum(panel.lengths, 1), panel.lengths)[:, None].astype(np.float32)
