"""The hint policy: in which shares annotators are shown what a model says, and of which model. Pure."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from annotator.chance import chance
from annotator.errors import parsed

Arm = Literal["blind", "reveal_after", "hinted"]
Percent = Annotated[int, Field(ge=0, le=100)]


class HintPolicy(BaseModel):
    """Shares in percent of the assignments; what is left is blind. docs/hints.md explains the arms."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reveal_after: Percent = 0
    hinted: Percent = 0
    model: Annotated[str, Field(max_length=100)] = ""

    @model_validator(mode="after")
    def is_consistent(self) -> "HintPolicy":
        if self.reveal_after + self.hinted > 100:
            raise ValueError("The shares reveal_after and hinted must not add up to more than 100.")
        if not self.is_blind and not self.model:
            raise ValueError("Name the model whose suggestions are shown.")
        return self

    @classmethod
    def parse(cls, data: object) -> "HintPolicy":
        """Raises InvalidSettings, naming each field that is wrong."""
        return parsed(cls, data, "The hint policy does not fit:", "hint_policy", within="hint_policy.")

    @property
    def is_blind(self) -> bool:
        """Whether nobody is shown anything."""
        return self.reveal_after == self.hinted == 0

    def draw(self, slug: str, external_id: str, slot: int) -> Arm:
        """The arm of one slot: by a hash, so that neither a person nor a clock can choose it, and anybody can check."""
        place = 100 * chance("hint arm", slug, external_id, slot)
        if place < self.hinted:
            return "hinted"
        return "reveal_after" if place < self.hinted + self.reveal_after else "blind"
