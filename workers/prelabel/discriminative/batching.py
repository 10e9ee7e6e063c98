"""Batches by token budget over rows sorted by length, and the budget that gives way when memory runs out. Pure."""

from collections.abc import Sequence

_GROW_AFTER = 16  # batches without trouble
# A batch of so many tokens keeps a large device busy, so that padding is no longer free; beyond it only rows join that
# have at least this share of the longest one's length. On the lengths of HotpotQA this halves the padding.
_BUSY = 8192
_ALIKE = 0.85


def plan(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Batches of row numbers, longest rows first; padded to its longest row, a batch has at most `budget` tokens.

    A row longer than the budget is a batch of its own. Longest first: memory runs out early or never, and rows of one
    batch are about equally long, so little of it is padding.
    """
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = lengths[batches[-1][0]] if batches else 0
        n_tokens = (len(batches[-1]) + 1) * longest if batches else 0
        if batches and n_tokens <= budget and (n_tokens <= _BUSY or lengths[row] >= _ALIKE * longest):
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


class Budget:
    """Tokens per batch: halved when memory runs out, grown again by an eighth after every 16 good batches."""

    def __init__(self, tokens: int) -> None:
        self.tokens = self.most = max(tokens, 1)
        self._n_good = 0

    def halve(self, used: int) -> None:
        """`used` is the size of the batch that failed, which may be far below the budget."""
        self.tokens = max(min(self.tokens, used) // 2, 1)
        self._n_good = 0

    def succeed(self) -> None:
        self._n_good += 1
        if self._n_good >= _GROW_AFTER and self.tokens < self.most:
            self.tokens = min(self.tokens + max(self.tokens // 8, 1), self.most)
            self._n_good = 0
