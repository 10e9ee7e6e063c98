"""A run of one judge over many trajectories."""

import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TypeVar

from annotator.prelabelling.judge_config import JudgeConfig, Variant
from annotator.prelabelling.judge_costs import Estimate, estimate
from annotator.prelabelling.scores import ScoringError, TrajectoryScores, TrajectoryText
from workers.prelabel.judge.answers import Answer, Usage
from workers.prelabel.judge.client import Cancelled, Client, EndpointClosed, RequestFailed, TooLong
from workers.prelabel.judge.ledger import Ledger, Spent
from workers.prelabel.judge.prompts import Prompt, prompt_for, request_body
from workers.prelabel.judge.rendering import Rendered, render
from workers.prelabel.judge.voting import Vote, combine, vote_of

K = TypeVar("K", bound=Hashable)

_GIVE_UP_AFTER = 10  # trajectories in a row without an answer: the endpoint is at fault, not they
_SHRINK = 0.7  # of the trajectory's size, each time that the endpoint finds the prompt too long
_POLL_S = 0.5  # how often should_stop is asked while answers are awaited

_TOO_LONG = "The trajectory does not fit into the model's context, even shortened."
_NOTHING = Rendered("", 0)


class _CapReached(Exception):
    """Lost attempts leave too little for what was promised."""


class _DoesNotFit(Exception):
    """Everything that may go is gone, and the endpoint still finds the prompt too long."""


@dataclass(frozen=True)
class _Work:
    """A trajectory ready to be asked about, or in `abstains` why it will not be."""

    trajectory: TrajectoryText
    n_steps: int
    rendered: Rendered = _NOTHING
    worst_case: Decimal = Decimal(0)  # of one vote
    abstains: str = ""


class Judge:
    """One judge with one purse: `spent` and the cap hold for all calls of `score` together.

    `stopped_because` says why the last call ended before its last trajectory; "" if it did not.
    """

    def __init__(
        self,
        config: JudgeConfig,
        *,
        base_url: str,
        api_key: str | None,
        guideline: str,
        spent_before: Decimal = Decimal(0),
    ) -> None:
        self._config = config
        self._guideline = guideline
        self._stopping = threading.Event()
        self._ledger = Ledger(config.price, config.limits.spending_cap, spent_before)
        self._client = Client(
            base_url,
            api_key,
            timeout_s=config.limits.timeout_s,
            max_attempts=config.limits.max_attempts,
            n_connections=config.limits.concurrency,
            wait=self._stopping.wait,
        )
        self._n_failed_in_a_row = 0
        self._closed: EndpointClosed | None = None
        self.stopped_because = ""

    @classmethod
    def from_environment(
        cls,
        config: JudgeConfig,
        *,
        guideline: str,
        spent_before: Decimal = Decimal(0),
        environ: Mapping[str, str] = os.environ,
    ) -> "Judge":
        """The judge at the address, and with the key, that the environment holds; EndpointClosed if it holds none."""
        base_url = environ.get(config.endpoint.base_url_env, "")
        if not base_url.startswith(("http://", "https://")):
            raise EndpointClosed(
                f"Set {config.endpoint.base_url_env} on the worker to the address of the endpoint, "
                "such as http://127.0.0.1:8000/v1."
            )
        key_env = config.endpoint.api_key_env
        api_key = environ.get(key_env, "").strip() if key_env else None
        if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key):
            raise EndpointClosed(f"Set {key_env} on the worker to the API key of the endpoint.")
        return cls(config, base_url=base_url, api_key=api_key, guideline=guideline, spent_before=spent_before)

    @property
    def spent(self) -> Spent:
        return self._ledger.spent

    def estimate(self, trajectories: Iterable[TrajectoryText]) -> Estimate:
        """What asking about these will cost, with the tokens per byte measured so far."""
        n_trajectories = n_steps = prompt_bytes = 0
        for work in map(self._prepare, trajectories):
            if not work.abstains:
                n_trajectories += 1
                n_steps += work.n_steps
                prompt_bytes += self._prompt(work, self._config.votes.variants[0]).n_bytes
        return estimate(
            self._config,
            n_trajectories=n_trajectories,
            n_steps=n_steps,
            prompt_bytes=prompt_bytes,
            tokens_per_byte=self._ledger.tokens_per_byte,
        )

    def score(
        self, trajectories: Iterable[tuple[K, TrajectoryText]], *, should_stop: Callable[[], bool]
    ) -> Iterator[tuple[K, TrajectoryScores | ScoringError]]:
        """Scores as they come in, in no particular order; raises EndpointClosed when nothing more can be asked.

        `should_stop` is called from this thread only. A trajectory that was not asked to the end is not yielded, and
        one call has to end before the next begins.
        """
        self._stopping.clear()
        self._closed, self.stopped_because, self._n_failed_in_a_row = None, "", 0
        prepared = ((key, self._prepare(trajectory)) for key, trajectory in trajectories)
        upcoming = next(prepared, None)
        running: dict[Future[TrajectoryScores], K] = {}
        n_passed_over = 0
        with ThreadPoolExecutor(self._config.limits.concurrency, thread_name_prefix="judge") as pool:
            try:
                while upcoming or running:
                    if not self._stopping.is_set() and should_stop():
                        self._stop("The run was cancelled.")
                    while upcoming and len(running) < self._config.limits.concurrency and self._may_start(upcoming[1]):
                        key, work = upcoming
                        running[pool.submit(self._judge, work)] = key
                        upcoming = next(prepared, None)
                    if running:
                        for future in wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED).done:
                            yield from self._results(running.pop(future), future)
                    elif self._stopping.is_set():
                        break
                    else:  # nothing is set aside for others, and still this one does not fit; a shorter one may
                        n_passed_over += 1
                        upcoming = next(prepared, None)
                if n_passed_over:
                    some = "trajectory" if n_passed_over == 1 else "trajectories"
                    self._stop(self._cap_sentence(f"left no room for {n_passed_over} {some}"))
            finally:
                self._stopping.set()
        if self._closed is not None:
            raise self._closed

    def _stop(self, because: str) -> None:
        """Ask no more; the first reason counts."""
        if not self._stopping.is_set():
            self.stopped_because = because
            self._stopping.set()

    def _cap_sentence(self, happened: str) -> str:
        price, cap = self._config.price, self._config.limits.spending_cap
        currency = price.currency if price is not None else ""
        return (
            f"The spending cap of {cap} {currency} {happened}. Start again to ask about the rest; "
            "raise limits.spending_cap if that asks about none."
        )

    def _may_start(self, work: _Work) -> bool:
        return not self._stopping.is_set() and self._ledger.set_aside(work.worst_case * self._config.votes.n)

    def _results(self, key: K, future: Future[TrajectoryScores]) -> Iterator[tuple[K, TrajectoryScores | ScoringError]]:
        try:
            scores = future.result()
        except Cancelled:
            pass
        except _CapReached:
            self._stop(self._cap_sentence("was eaten up by attempts without an answer"))
        except EndpointClosed as error:
            self._close(error)
        except RequestFailed as error:
            self._n_failed_in_a_row += 1
            if self._n_failed_in_a_row == _GIVE_UP_AFTER:
                self._close(
                    EndpointClosed(f"{_GIVE_UP_AFTER} trajectories in a row had no answer. The last time: {error}")
                )
            yield key, ScoringError(str(error))
        else:
            self._n_failed_in_a_row = 0
            yield key, scores

    def _close(self, error: EndpointClosed) -> None:
        self._closed = self._closed or error
        self._stop(str(error))

    def _prepare(self, trajectory: TrajectoryText) -> _Work:
        n_steps = trajectory.n_steps
        if n_steps == 0:
            return _Work(trajectory, 0, abstains="The trajectory has no step.")
        with_reference = self._config.mode == "with_reference"
        if with_reference and trajectory.reference is None and trajectory.outcome is None:
            return _Work(trajectory, n_steps, abstains="The trajectory has neither a reference nor an outcome.")
        try:
            rendered = render(trajectory, with_reference=with_reference, max_bytes=self._room(trajectory, n_steps))
        except RecursionError:
            return _Work(trajectory, n_steps, abstains="The trajectory is nested too deep to be shown to a model.")
        if rendered is None:
            return _Work(trajectory, n_steps, abstains=_TOO_LONG)
        work = _Work(trajectory, n_steps, rendered)
        longest = max(self._prompt(work, variant).n_bytes for variant in self._config.votes.variants)
        worst_case = self._ledger.worst_case(prompt_bytes=longest, max_output_tokens=self._config.output.max_tokens)
        return replace(work, worst_case=worst_case)

    def _room(self, trajectory: TrajectoryText, n_steps: int) -> int | None:
        """The bytes that the context leaves for a trajectory; None if the model file does not say."""
        if self._config.context_tokens is None:
            return None
        tokens = self._config.context_tokens - self._config.output.max_tokens
        empty = _Work(trajectory, n_steps)
        around = max(self._prompt(empty, variant).n_bytes for variant in self._config.votes.variants)
        return max(int(tokens / self._ledger.tokens_per_byte) - around, 0)

    def _prompt(self, work: _Work, variant: Variant) -> Prompt:
        return prompt_for(
            self._config, guideline=self._guideline, variant=variant, trajectory=work.rendered, n_steps=work.n_steps
        )

    def _judge(self, work: _Work) -> TrajectoryScores:
        """All votes on one trajectory, one after the other: the second finds the first one's prompt in the cache."""
        if work.abstains:
            return _scores(work, [], n_tokens=0, n_dropped_tokens=0)
        votes: list[Vote] = []
        n_tokens = 0
        set_aside = work.worst_case * self._config.votes.n
        try:
            for variant in self._config.votes.variants * self._config.votes.per_variant:
                if self._stopping.is_set():
                    raise Cancelled
                try:
                    work, answer, usage = self._ask(work, variant)
                except _DoesNotFit as error:
                    return _scores(replace(work, abstains=f"{_TOO_LONG} {error}"), [], n_tokens=0, n_dropped_tokens=0)
                votes.append(vote_of(answer, work.n_steps))
                n_tokens = max(n_tokens, usage.prompt_tokens)
                self._ledger.give_back(work.worst_case)
                set_aside -= work.worst_case
        finally:
            self._ledger.give_back(set_aside)
        n_dropped_tokens = round(work.rendered.n_dropped_bytes * self._ledger.tokens_per_byte)
        return _scores(work, votes, n_tokens=n_tokens, n_dropped_tokens=n_dropped_tokens)

    def _ask(self, work: _Work, variant: Variant) -> tuple[_Work, Answer, Usage]:
        """The answer to one vote's question; the trajectory is shortened until the endpoint takes it."""

        def lost() -> None:
            self._ledger.count_lost(work.worst_case)
            if self._ledger.is_overdrawn:
                raise _CapReached

        while True:
            prompt = self._prompt(work, variant)
            try:
                answer = self._client.ask(request_body(self._config, prompt, work.n_steps), lost)
            except TooLong as error:
                shorter = render(
                    work.trajectory,
                    with_reference=self._config.mode == "with_reference",
                    max_bytes=int(work.rendered.n_bytes * _SHRINK),
                )
                if shorter is None:
                    raise _DoesNotFit(str(error)) from None
                work = replace(work, rendered=shorter)
            else:
                usage = self._ledger.count_answer(
                    answer.usage, prompt_bytes=prompt.n_bytes, answer_bytes=len(answer.text.encode(errors="replace"))
                )
                return work, answer, usage


def _scores(work: _Work, votes: list[Vote], *, n_tokens: int, n_dropped_tokens: int) -> TrajectoryScores:
    verdict = combine(votes, work.n_steps)
    return TrajectoryScores(
        probs=verdict.probs,
        raw=None,
        rationales=verdict.rationales,
        n_tokens=n_tokens,
        n_dropped_tokens=n_dropped_tokens,
        first_truncated_step=work.rendered.first_truncated_step,
        note=work.abstains or verdict.note,
    )
