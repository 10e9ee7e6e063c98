"""What a save request may bring: labels with what belongs to them, steps to clear, the outcome."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic import ValidationError as SchemaError

from annotator.errors import InvalidInput, message_of
from annotator.importing.schema import FieldError, check_storable

# Strict: 1.0, true and "1" are mistakes of the caller, not labels. (A Literal would take the first two.)
Value = Annotated[int, Field(strict=True, ge=-1, le=1)]
StrictIndex = Annotated[int, Field(strict=True, ge=0)]
Version = Annotated[int, Field(strict=True, ge=0, le=1_000_000)]
Milliseconds = Annotated[int, Field(strict=True, ge=0, le=86_400_000)]


# How a step was read: no part of what was said of it.
EVIDENCE = ("active_ms", "is_seen", "has_opened")


class StepLabelIn(BaseModel):
    """One step's label, the step by its index from 0. What is left out stays as it was."""

    model_config = ConfigDict(extra="forbid")

    step: StrictIndex
    value: Value
    # Error propagation: the earlier step whose error this one carries on, or how an error ends here.
    root: StrictIndex | None = None
    exit_reason: Literal["", "corrected", "independent"] = ""
    local_value: Value | None = None
    # What the project's label scheme asks for: category, severity, rationale, …
    extras: dict[str, JsonValue] = {}
    # The suggestion that was in sight when the label was given; only where suggestions change with each label.
    hint_value: Value | None = None
    # Evidence of reading; the server keeps the greatest it has heard of.
    active_ms: Milliseconds = 0
    is_seen: bool = False
    has_opened: bool = False


class LabelsIn(BaseModel):
    """What a save brings: labels to set, step indices to clear, and the outcome (null clears it).

    `guideline` is the version that their author has read, 0 if there was none; left out: the newest.
    """

    model_config = ConfigDict(extra="forbid")

    labels: list[StepLabelIn] = []
    cleared: list[StrictIndex] = []
    outcome: Value | None = None
    guideline: Version | None = None


@dataclass(frozen=True)
class Changes:
    """Step index → value (None: clear), perhaps the outcome (None: clear), and per step what else was said of it.

    guideline: the version under which all this was said; None: the newest. n_saves: how many saves of the assignment
    came before it, as far as its author knows; None: however many there are.
    """

    steps: Mapping[int, int | None]
    outcome: Mapping[str, int | None]
    details: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    guideline: int | None = None
    n_saves: int | None = None

    def with_extras(self, asked: Set[str]) -> "Changes":
        """Of the extras only those named."""
        details = {
            index: {**said, "extras": {key: given for key, given in said["extras"].items() if key in asked}}
            for index, said in self.details.items()
            if "extras" in said
        }
        return replace(self, details={**self.details, **details})


def parse_labels(data: object) -> Changes:
    """Reads a save request. Raises InvalidInput that names each wrong place, e.g. `labels[0].value`."""
    try:
        check_storable(data)  # type: ignore[arg-type]  # it was JSON a moment ago
        parsed = LabelsIn.model_validate(data)
    except FieldError as error:
        raise _refusal({error.field or "body": error.reason}) from None
    except SchemaError as error:
        raise _refusal({_place(e["loc"]): message_of(e) for e in error.errors()}) from None
    seen = set(parsed.cleared)
    for position, label in enumerate(parsed.labels):
        if label.step in seen:
            raise _refusal({f"labels[{position}].step": f"step {label.step} is named twice"})
        seen.add(label.step)
    steps: dict[int, int | None] = {label.step: label.value for label in parsed.labels}
    steps.update(dict.fromkeys(parsed.cleared))
    details = {
        label.step: label.model_dump(include=label.model_fields_set - {"step", "value"}) for label in parsed.labels
    }
    outcome = {"outcome": parsed.outcome} if "outcome" in parsed.model_fields_set else {}
    return Changes(steps, outcome, details, parsed.guideline)


def _refusal(fields: dict[str, str]) -> InvalidInput:
    said = "; ".join(f"{place}: {message}" for place, message in fields.items())
    return InvalidInput(f"The labels were not saved. {said}.", fields)


def _place(location: tuple[int | str, ...]) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    return place or "body"
