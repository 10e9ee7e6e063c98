"""The label scheme: the mode a project labels in, what is revealed, what a step label carries. Pure."""

from collections.abc import Collection
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from annotator.errors import parsed
from annotator.projects.taxonomies import TAXONOMIES

Mode = Literal["every_step", "carry_errors", "stop_at_first_error"]
Reveal = Literal["always", "after_labels", "never"]
Presence = Literal["off", "optional", "required_on_error"]

# What is said of an error, and goes when the step is none.
OF_ERRORS = frozenset({"category", "severity", "recoverable", "correction"})

MOST_CHARACTERS = 10_000  # of a note

Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class Dimension(BaseModel):
    """One more scale on which a step is judged, e.g. helpfulness from 1 to 5."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: Key
    name: str
    low: int = 1
    high: int = 5

    @model_validator(mode="after")
    def goes_up(self) -> "Dimension":
        if not self.low < self.high <= self.low + 10:
            raise ValueError("`high` must be above `low`, by at most 10")
        return self


class LabelScheme(BaseModel):
    """What a project asks of a label beside its value; docs/configuration.md explains each field."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Mode = "every_step"
    reveal: Reveal = "never"
    shows_fate: bool = False
    categories: Presence = "off"
    taxonomy: str = "agentprocessbench"
    severity: bool = False
    recoverable: bool = False
    rationale: Presence = "optional"
    correction: bool = False
    unsure: bool = False
    dimensions: list[Dimension] = Field(default=[], max_length=8)

    @model_validator(mode="after")
    def is_consistent(self) -> "LabelScheme":
        if self.taxonomy not in TAXONOMIES:
            raise ValueError(f"taxonomy must be one of {', '.join(TAXONOMIES)}")
        keys = [dimension.key for dimension in self.dimensions]
        if len(set(keys)) < len(keys):
            raise ValueError("two dimensions have the same key")
        return self

    @classmethod
    def parse(cls, data: object) -> "LabelScheme":
        """Raises InvalidSettings, naming each field that is wrong."""
        return parsed(cls, data, "The label scheme does not fit:", "label_scheme")

    @property
    def category_names(self) -> dict[str, str]:
        return TAXONOMIES[self.taxonomy] if self.categories != "off" else {}

    @property
    def asked_extras(self) -> frozenset[str]:
        """What the project asks of a label beside its value."""
        asked = {
            "category": self.categories != "off",
            "severity": self.severity,
            "recoverable": self.recoverable,
            "rationale": self.rationale != "off",
            "correction": self.correction,
            "unsure": self.unsure,
        }
        return frozenset({key for key, is_asked in asked.items() if is_asked} | {each.key for each in self.dimensions})

    @property
    def fingerprint(self) -> str:
        """Equal for schemes by which one labels in the same way: by it an open page knows that there is another one."""
        return sha256(self.model_dump_json(exclude={"shows_fate"}).encode()).hexdigest()[:16]

    def fitting_extras(self, value: int, extras: dict[str, object], before: dict[str, object]) -> dict[str, object]:
        """Without what belongs to an error if there is none, and without what was asked for when `before` was said."""
        asked = self.asked_extras

        def fits(key: str) -> bool:
            return (value == -1 or key not in OF_ERRORS) if key in asked else key not in before

        return {key: given for key, given in extras.items() if fits(key)}

    def check_extras(self, extras: dict[str, object]) -> dict[str, str]:
        """What is wrong with extras, by place; empty when they fit."""
        wrong: dict[str, str] = {}
        asked = self.asked_extras
        choices: dict[str, Collection[Any]] = {
            "category": self.category_names,
            "severity": ("minor", "major", "critical"),
            "recoverable": (True, False),
            "unsure": (True, False),
        }
        scales = {dimension.key: dimension for dimension in self.dimensions}
        for key, given in extras.items():
            if key not in asked:
                wrong[key] = "The project does not ask for this."
            elif key in scales:
                scale = scales[key]
                if not isinstance(given, int) or isinstance(given, bool) or not scale.low <= given <= scale.high:
                    wrong[key] = f"A whole number from {scale.low} to {scale.high} is needed."
            elif key in choices:
                if isinstance(given, list | dict) or given not in choices[key]:
                    wrong[key] = "Not one of the project's choices."
            elif not isinstance(given, str) or len(given) > MOST_CHARACTERS:
                wrong[key] = f"A text of at most {MOST_CHARACTERS:,} characters is needed."
        return wrong

    def missing_extras(self, value: int, extras: dict[str, object]) -> list[str]:
        """What a label with this value still needs before it can be submitted.

        What the scheme does not know counts as missing: the taxonomy may have changed since it was given.
        """
        required = {"category": self.categories, "rationale": self.rationale}
        if value != -1:
            return []
        unknown = self.check_extras(extras)
        return [
            key
            for key, when in required.items()
            if when == "required_on_error" and (not extras.get(key) or key in unknown)
        ]
