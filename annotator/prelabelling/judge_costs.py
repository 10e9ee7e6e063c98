"""What a judge will cost, said before it is asked. Pure sums: they work on totals that a query can give."""

from dataclasses import dataclass
from decimal import Decimal

from annotator.prelabelling.judge_config import JudgeConfig

TOKENS_PER_BYTE = 0.25  # of UTF-8; a run measures its own ratio from the first answers
PROMPT_BYTES = 2_400  # rules and questions around the trajectory and the project's guideline
_OUTPUT_TOKENS = (150, 45)  # of an answer, and for every step in it


@dataclass(frozen=True)
class Estimate:
    """`money` is None where the model file names no price."""

    n_trajectories: int
    n_requests: int
    input_tokens: int
    output_tokens: int
    money: Decimal | None


def estimate(
    config: JudgeConfig,
    *,
    n_trajectories: int,
    n_steps: int,
    prompt_bytes: int,
    tokens_per_byte: float = TOKENS_PER_BYTE,
) -> Estimate:
    """The expected tokens and money for all trajectories together.

    `prompt_bytes` is the size of one prompt of each trajectory, added up: the trajectory's JSON, PROMPT_BYTES and the
    guideline. Every vote pays for it again; an endpoint with a prefix cache may bill less.
    """
    per_answer, per_step = _OUTPUT_TOKENS
    n_requests = n_trajectories * config.votes.n
    input_tokens = round(prompt_bytes * tokens_per_byte) * config.votes.n
    output_tokens = n_requests * (per_answer + config.output.thinking_tokens) + n_steps * per_step * config.votes.n
    money = config.price.of(input_tokens, output_tokens) if config.price is not None else None
    return Estimate(n_trajectories, n_requests, input_tokens, output_tokens, money)
