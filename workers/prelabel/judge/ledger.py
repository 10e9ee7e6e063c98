"""What a run has used and spent so far, and what it may still spend."""

import math
import threading
from dataclasses import dataclass
from decimal import Decimal

from annotator.prelabelling.judge_config import Price
from annotator.prelabelling.judge_costs import TOKENS_PER_BYTE
from workers.prelabel.judge.answers import Usage

_MARGIN = 1.25  # over the measured tokens per byte; before the first answer, a token per byte, the most there can be


@dataclass(frozen=True)
class Spent:
    """`money` counts every lost attempt as if it had been billed in full; it is None without a price."""

    n_answers: int
    n_lost: int
    input_tokens: int
    output_tokens: int
    money: Decimal | None


class Ledger:
    """Counts for many threads. Money is set aside before a trajectory is asked, so that the cap holds."""

    def __init__(self, price: Price | None, cap: Decimal | None, spent_before: Decimal) -> None:
        self._price = price
        self._cap = cap - spent_before if cap is not None else None
        self._set_aside = Decimal(0)
        self._lock = threading.Lock()
        self._n_answers = self._n_lost = self._input_tokens = self._output_tokens = 0
        self._n_measured_bytes = self._n_measured_tokens = 0
        self._money = Decimal(0)

    def set_aside(self, money: Decimal) -> bool:
        """False if that much is not left."""
        with self._lock:
            if self._cap is not None and self._money + self._set_aside + money > self._cap:
                return False
            self._set_aside += money
            return True

    def give_back(self, money: Decimal) -> None:
        """End of what was set aside: by now the answers are counted."""
        with self._lock:
            self._set_aside -= money

    @property
    def is_overdrawn(self) -> bool:
        """Whether lost attempts have eaten what was set aside for others."""
        with self._lock:
            return self._cap is not None and self._money + self._set_aside > self._cap

    def worst_case(self, *, prompt_bytes: int, max_output_tokens: int) -> Decimal:
        """The price of a request with an answer as long as it may be and a prompt of many tokens for its bytes."""
        ratio = self._measured
        tokens_per_byte = 1.0 if ratio is None else min(1.0, ratio * _MARGIN)
        return self._cost(math.ceil(prompt_bytes * tokens_per_byte), max_output_tokens)

    def _cost(self, input_tokens: int, output_tokens: int) -> Decimal:
        return self._price.of(input_tokens, output_tokens) if self._price is not None else Decimal(0)

    def count_answer(self, usage: Usage | None, *, prompt_bytes: int, answer_bytes: int) -> Usage:
        """Count one answer and return its tokens; without usage in the answer they are reckoned from bytes."""
        if usage is None:
            ratio = self.tokens_per_byte
            usage = Usage(prompt_tokens=round(prompt_bytes * ratio), completion_tokens=round(answer_bytes * ratio))
            prompt_bytes = 0
        money = self._cost(usage.prompt_tokens, usage.completion_tokens)
        with self._lock:
            self._n_answers += 1
            self._input_tokens += usage.prompt_tokens
            self._output_tokens += usage.completion_tokens
            self._money += money
            if prompt_bytes and usage.prompt_tokens:
                self._n_measured_bytes += prompt_bytes
                self._n_measured_tokens += usage.prompt_tokens
        return usage

    def count_lost(self, money: Decimal) -> None:
        """Count an attempt that may have been billed although nothing came back."""
        with self._lock:
            self._n_lost += 1
            self._money += money

    @property
    def tokens_per_byte(self) -> float:
        """As measured in this run, else the usual ratio."""
        ratio = self._measured
        return TOKENS_PER_BYTE if ratio is None else ratio

    @property
    def _measured(self) -> float | None:
        with self._lock:
            return self._n_measured_tokens / self._n_measured_bytes if self._n_measured_bytes else None

    @property
    def spent(self) -> Spent:
        with self._lock:
            money = self._money if self._price is not None else None
            return Spent(self._n_answers, self._n_lost, self._input_tokens, self._output_tokens, money)
