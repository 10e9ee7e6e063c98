"""What a release counts, and into which split a trajectory goes. Pure."""

import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from annotator.errors import parsed

Split = Literal["train", "validation", "test"]
Settled = Literal["unanimous", "majority", "adjudicated", "certified"]
ErrorView = Literal["as_labelled", "strict", "until_corrected", "stop_at_first"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class ReleasePolicy(BaseModel):
    """The stated policy of a release; it stands in the manifest. docs/releases.md explains each field."""

    model_config = ConfigDict(extra="forbid")

    provenances: list[Settled] = Field(default=["unanimous", "majority", "adjudicated"], min_length=1)
    # A step without a value is masked (its trajectory stays, the step carries no label) or its trajectory is left out.
    undecidable: Literal["mask", "leave_out"] = "mask"
    discarded: Literal["mask", "leave_out"] = "mask"
    # What a 0 becomes in the binary formats.
    neutral: Literal["positive", "negative", "drop"] = "positive"
    # What becomes of the steps that follow an error; exporters/views.py says what each choice does.
    error_view: ErrorView = "as_labelled"
    splits: dict[Split, Annotated[float, Field(ge=0, le=1)]] = {"train": 0.8, "validation": 0.1, "test": 0.1}
    seed: int = 0

    @model_validator(mode="after")
    def shares_add_up(self) -> "ReleasePolicy":
        if abs(sum(self.splits.values()) - 1) > 1e-9:
            raise ValueError("the shares of the splits must add up to 1")
        return self

    @classmethod
    def parse(cls, data: object) -> "ReleasePolicy":
        """Raises InvalidSettings, naming each field that is wrong."""
        return parsed(cls, data, "The release policy does not fit:", "policy")


def split_of(group_key: str, policy: ReleasePolicy) -> Split:
    """The split of everything that answers one instruction.

    It depends on the group's key and the seed alone: a group never moves between splits when the project grows, so a
    model trained on one release may be tested on the next.
    """
    digest = hashlib.sha256(f"{policy.seed}:{group_key}".encode()).digest()
    position = int.from_bytes(digest[:8]) / 2**64
    upper = 0.0
    chosen: Split = "train"
    for split in SPLITS:
        share = policy.splits.get(split, 0.0)
        if share:
            chosen = split
            upper += share
            if position < upper:
                break
    return chosen
