"""What a release freezes for one trajectory, and what the exporters share. Pure: no Django.

The Django side builds a `ReleaseRecord` for every trajectory of a release; an exporter turns it into rows of a file.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NotRequired, TypeAlias, TypedDict

from pydantic import JsonValue

from annotator.releases.policy import ErrorView

Message: TypeAlias = dict[str, JsonValue]
Row: TypeAlias = dict[str, object]

# Of a release and of its provenance file. 2: labels say what their rater was shown of a model.
FORMAT_VERSION = 2

NOT_COUNTED = "step not counted by the release policy"
NOT_SETTLED = "step undecidable, discarded or not judged"
NEUTRAL_DROPPED = "neutral step, dropped as asked"
NO_TEXT = "step without text"
NO_FIRST_ERROR = "trajectory whose first error is unknown"


class RawLabel(TypedDict):
    """What one rater submitted, and the versions it was given under.

    A -1 that only carries on an earlier error names that step's index as `root`; `exit_reason` says how a step ends
    one. `local_value` judges the step as if what it builds on were right (None: the same as `value`). `extras` is what
    the project's label scheme asks for. Releases published before these were kept lack all four.

    `hint_arm`, of the slot: blind, reveal_after or hinted. `hint_version` is the model version whose suggestions its
    rater was shown, there or before in another slot; `hint_value` what it suggested here (None: nothing was shown).
    `is_after_hint`: the label was given or changed in sight of it. Releases of format version 1 lack these four.
    """

    rater: str
    value: int
    guideline_version: int | None
    annotation: int
    labelled_at: str
    submitted_at: str
    root: NotRequired[int | None]
    exit_reason: NotRequired[str]
    local_value: NotRequired[int | None]
    extras: NotRequired[dict[str, JsonValue]]
    hint_arm: NotRequired[str]
    hint_version: NotRequired[str | None]
    hint_value: NotRequired[int | None]
    is_after_hint: NotRequired[bool]


class Decision(TypedDict):
    """One adjudication; `value` None means undecidable.

    `turn` is first or second for the blind decisions of two reviewers, else open; older releases do not say it.
    """

    id: int
    reviewer: str
    value: int | None
    reason_code: str
    note: str
    decided_at: str
    turn: NotRequired[str]


class GoldStep(TypedDict):
    """One step: its gold value, where that comes from, and everything behind it.

    `provenance` is unanimous, majority, adjudicated, discarded, imported or certified: then, and only then,
    `acceptance` is the number of the promise under which a model's label was accepted; older releases do not say it.
    `value` is None where nothing was settled. `counts` is the release policy's word: where it is False the exporters
    mask the step, whatever its value.
    """

    index: int
    message_index: int
    value: int | None
    provenance: str
    acceptance: NotRequired[int]
    counts: bool
    labels: list[RawLabel]
    decisions: list[Decision]


class GoldOutcome(TypedDict):
    """The judgement of the final result, in the same form as a step's."""

    value: int | None
    provenance: str
    counts: bool
    labels: list[RawLabel]
    decisions: list[Decision]


class ReleaseRecord(TypedDict):
    """One trajectory of a release.

    `steps` holds every step, at least one, masked ones too. `messages` is the chat form. `reference`,
    `reference_labels` (by message index) and `reference_outcome` came with the source and are nobody's gold.
    """

    trajectory_id: int
    external_id: str
    group_key: str
    split: str
    content_sha256: str
    source_format: str
    instruction: str
    reference: JsonValue
    environment_outcome: float | None
    metadata: dict[str, JsonValue]
    tools: list[JsonValue]
    messages: list[Message]
    steps: list[GoldStep]
    outcome: GoldOutcome | None
    reference_labels: dict[str, int]
    reference_outcome: int | None


@dataclass(frozen=True)
class ExportOptions:
    """What the admin may choose, and what the release is.

    `neutral`: what a neutral step becomes in a format that knows only right and wrong.
    `error_view`: what becomes of the steps that follow an error (`views.py`).
    `format_version`: that of the release, so that one which was published earlier gives the bytes that it gave then.
    """

    neutral: Literal["positive", "negative", "drop"] = "positive"
    error_view: ErrorView = "as_labelled"
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True)
class LeftOut:
    """One label that a file does not carry, or one trajectory, and why."""

    reason: str


@dataclass(frozen=True)
class Exporter:
    """One target format. `export` yields its rows in order and says what it leaves out."""

    name: str
    extension: Literal["jsonl", "json"]
    description: str
    export: Callable[[ReleaseRecord, ExportOptions], Iterator[Row | LeftOut]]
    needs_all_messages: bool = True  # False: those before the first step and the steps themselves are enough
    has_error_view: bool = True  # False: the format shows what was settled, whatever view the policy chose

    def to_rows(self, record: ReleaseRecord, options: ExportOptions) -> Iterator[Row]:
        return (row for row in self.export(record, options) if not isinstance(row, LeftOut))


def ordered_steps(record: ReleaseRecord) -> list[GoldStep]:
    return sorted(record["steps"], key=lambda step: step["index"])


def gold_value(judged: GoldStep | GoldOutcome | None) -> int | None:
    """The value that may leave the house: None where nothing was settled or the policy does not count it."""
    return judged["value"] if judged and judged["counts"] else None


def masked(record: ReleaseRecord) -> Iterator[LeftOut]:
    """One entry for every step without a gold value."""
    for step in record["steps"]:
        if gold_value(step) is None:
            yield mask_of(step)


def mask_of(step: GoldStep) -> LeftOut:
    """Why this step, which has no gold value, has none."""
    return LeftOut(NOT_SETTLED if step["value"] is None else NOT_COUNTED)
