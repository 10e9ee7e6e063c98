"""One trajectory cut down to its disputes: what stands around them, and which of them make one question."""

from collections.abc import Sequence
from dataclasses import dataclass

from annotator.adjudication.forms import DecisionForm
from annotator.adjudication.turns import Shown, Wants
from annotator.labelling.conversation import Block
from annotator.labelling.evidence import reading_of
from annotator.models import Dispute, Label, StepComment


@dataclass(frozen=True)
class Rating:
    """What one rater said of a step; reviewers see letters, never names."""

    rater: str
    value: int
    label: Label
    extras: list[tuple[str, str]]

    @property
    def reading(self) -> str:
        return reading_of(self.label)


@dataclass(frozen=True)
class Spoken:
    """A comment, about the judgement of one rater, by them or by a reviewer."""

    rater: str
    author: str
    comment: StepComment


@dataclass(frozen=True)
class Case:
    """One dispute as the page shows it to one reviewer: what the raters said, what was decided so far, and the form.

    `decisions` and `comments` lack what would sway a second reviewer; `n_withheld` such comments are there.
    """

    dispute: Dispute
    ratings: list[Rating]
    comments: list[Spoken]
    n_withheld: int
    decisions: list[Shown]
    wants: Wants
    version: str
    form: DecisionForm

    @property
    def name(self) -> str:
        return "Outcome" if self.dispute.step is None else f"Step {self.dispute.step.index + 1}"

    @property
    def is_decided(self) -> bool:
        """Whether it wants no decision of this reviewer any more."""
        return self.dispute.decided_at is not None or self.wants == "other"

    @property
    def differs(self) -> bool:
        """Whether two have decided, each in another way, and somebody has to settle it."""
        return bool(self.decisions) and not self.is_decided

    @property
    def state(self) -> str:
        if self.differs:
            return "two decisions differ"
        if self.is_decided:
            return "decided by you, another reviewer is next" if self.wants == "other" else "decided"
        return "undecided"


@dataclass(frozen=True)
class Passage:
    """A stretch without disputes (folded), the messages right before a disputed step, the step, and its dispute.

    The passage of the outcome has no step: what comes before it is the end of the trajectory.
    """

    skipped: list[Block]
    before: list[Block]
    step: Block | None
    case: Case

    @property
    def skipped_title(self) -> str:
        return say_skipped(self.skipped)


def say_skipped(blocks: Sequence[Block]) -> str:
    """`Steps 4 to 6, not disputed`; what is no step is what came back from one."""
    numbers = [block.step + 1 for block in blocks if block.step is not None]
    if not numbers:
        return "What came next"
    if len(numbers) == 1:
        return f"Step {numbers[0]}, not disputed"
    return f"Steps {numbers[0]} to {numbers[-1]}, not disputed"


@dataclass(frozen=True)
class Group:
    """What one decision settles: one dispute, or a run of them."""

    passages: list[Passage]

    @property
    def is_run(self) -> bool:
        return len(self.passages) > 1

    @property
    def first(self) -> Case:
        return self.passages[0].case

    @property
    def ids(self) -> list[int]:
        return [passage.case.dispute.pk for passage in self.passages]

    @property
    def version(self) -> str:
        return "-".join(passage.case.version for passage in self.passages)

    @property
    def title(self) -> str:
        numbers = [passage.case.dispute.step.index + 1 for passage in self.passages if passage.case.dispute.step]
        does = "for" if self.first.wants == "blind" else "settles"
        return f"Steps {numbers[0]} to {numbers[-1]}: one decision {does} the run"


def grouped(passages: Sequence[Passage], *, uses_roots: bool) -> list[Group]:
    """Undecided disputes of neighbouring steps on which every rater says the same, as one question.

    Where errors are carried on, those who say -1 must name the same root for all of them; elsewhere, only +1 against
    -1 makes a run.
    """
    groups: list[Group] = []
    for passage in passages:
        if groups and _goes_on(groups[-1].passages[-1].case, passage.case, uses_roots=uses_roots):
            groups[-1].passages.append(passage)
        else:
            groups.append(Group([passage]))
    return groups


def _goes_on(before: Case, case: Case, *, uses_roots: bool) -> bool:
    first, second = before.dispute.step, case.dispute.step
    if first is None or second is None or second.index != first.index + 1 or before.decisions or case.decisions:
        return False
    if before.wants != case.wants:
        return False
    said = [{rating.label.annotation_id: rating.value for rating in each.ratings} for each in (before, case)]
    if said[0] != said[1] or -1 not in said[0].values():
        return False
    if not uses_roots:
        return set(said[0].values()) == {-1, 1}
    return _roots(before) == _roots(case)


def _roots(case: Case) -> dict[int, int | None]:
    """Where the error began, by annotation; an error that follows from none began at its own step."""
    labels = [rating.label for rating in case.ratings if rating.value == -1]
    return {label.annotation_id: label.root_id or label.step_id for label in labels}


def cut(blocks: Sequence[Block], cases: Sequence[Case]) -> tuple[list[Passage], list[Block]]:
    """Each dispute with what stands before it, every block exactly once; and what stands after the last one."""
    case_of_step = {case.dispute.step.index: case for case in cases if case.dispute.step is not None}
    passages: list[Passage] = []
    skipped: list[Block] = []
    before: list[Block] = []  # the messages since the last step
    for block in blocks:
        if block.step is None:
            before.append(block)
        elif block.step in case_of_step:
            passages.append(Passage(skipped, before, block, case_of_step[block.step]))
            skipped, before = [], []
        else:
            skipped += [*before, block]
            before = []
    outcome = next((case for case in cases if case.dispute.step is None), None)
    if outcome is None:
        return passages, skipped + before
    # The outcome is judged by how the trajectory ends: its last step and what came just before stay in sight.
    start = max((position for position, block in enumerate(skipped[:-1], 1) if block.step is not None), default=0)
    passages.append(Passage(skipped[:start], skipped[start:] + before, None, outcome))
    return passages, []
