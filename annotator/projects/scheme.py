"""The label scheme: the mode a project labels in, what is revealed, what a step label carries. Pure."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from annotator.errors import InvalidSettings
from annotator.projects.taxonomies import TAXONOMIES

Mode = Literal["every_step", "carry_errors", "stop_at_first_error"]
Reveal = Literal["always", "after_labels", "never"]
Presence = Literal["off", "optional", "required_on_error"]

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
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            fields = {".".join(map(str, e["loc"])) or "label_scheme": e["msg"] for e in error.errors()}
            said = "; ".join(f"{name}: {message}" for name, message in fields.items())
            raise InvalidSettings(f"The label scheme does not fit: {said}.", fields) from None

    @property
    def category_names(self) -> dict[str, str]:
        return TAXONOMIES[self.taxonomy] if self.categories != "off" else {}

    def check_extras(self, value: int, extras: dict[str, object]) -> dict[str, str]:
        """What is wrong with the extras that came with a value, by place; empty when they fit."""
        wrong: dict[str, str] = {}
        allowed: dict[str, dict[Any, str]] = {
            "category": self.category_names,
            "severity": {"minor": "", "major": "", "critical": ""} if self.severity else {},
            "recoverable": {True: "", False: ""} if self.recoverable else {},
            "unsure": {True: "", False: ""} if self.unsure else {},
        }
        texts = {"rationale": self.rationale != "off", "correction": self.correction}
        scales = {dimension.key: dimension for dimension in self.dimensions}
        for key, given in extras.items():
            if key in allowed:
                if isinstance(given, list | dict) or given not in allowed[key]:
                    wrong[key] = "Not one of the project's choices."
            elif key in texts:
                if not texts[key] or not isinstance(given, str) or len(given) > 10_000:
                    wrong[key] = "The project does not ask for this text, or it is too long."
            elif key in scales:
                scale = scales[key]
                if not isinstance(given, int) or isinstance(given, bool) or not scale.low <= given <= scale.high:
                    wrong[key] = f"A whole number from {scale.low} to {scale.high} is needed."
            else:
                wrong[key] = "The project does not ask for this."
        return wrong

    def missing_extras(self, value: int, extras: dict[str, object]) -> list[str]:
        """What a label with this value still needs before it can be submitted."""
        required = {"category": self.categories, "rationale": self.rationale}
        if value != -1:
            return []
        return [key for key, when in required.items() if when == "required_on_error" and not extras.get(key)]
