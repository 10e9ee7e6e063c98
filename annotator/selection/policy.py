"""The selection policy: how rounds of a project choose what people look at next, and when they start. Pure."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from annotator.errors import parsed

# What each strategy is called, and what it asks of a trajectory.
STRATEGIES = {
    "expected_errors": ("Expected errors per cost", "many expected errors for what it costs"),
    "contradiction": ("Outcome contradiction", "looks right and ended wrong, or the reverse"),
    "mean_entropy": ("Mean entropy, spread out", "steps about which nothing is sure, unlike the other chosen ones"),
    "first_error_entropy": ("First-error entropy", "open where the first error is"),
    "disagreement": ("Committee disagreement (BALD)", "the learners behind the beliefs contradict each other"),
    "oldest": ("Oldest first", "in the order of import"),
    "random": ("At random", "every trajectory with the same probability"),
}
Strategy = Literal[
    "expected_errors", "contradiction", "mean_entropy", "first_error_entropy", "disagreement", "oldest", "random"
]
Share = Annotated[int, Field(ge=0, le=100)]
# Less would leave nothing to measure the others against.
LEAST_RANDOM = 5


class SelectionPolicy(BaseModel):
    """What a round consists of. docs/selection.md explains each field."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    is_on: bool = False  # a new round starts by itself once most of the last one is taken
    shares: dict[Strategy, Share] = {"expected_errors": 60, "contradiction": 20, "random": 20}  # percent, 100 in all
    unit: Literal["trajectories", "steps"] = "trajectories"
    n_wanted: Annotated[int, Field(ge=1, le=100_000)] = 100  # trajectories of a round
    steps_each: Annotated[int, Field(ge=1, le=100)] = 5  # asked for at most, of a trajectory, where the unit is steps
    most_siblings: Annotated[int, Field(ge=1, le=1000)] = 3  # trajectories of one task that strategies may choose

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if sum(self.shares.values()) != 100:
            raise ValueError(f"The shares are {sum(self.shares.values())} % in all; they have to be 100.")
        if self.shares.get("random", 0) < LEAST_RANDOM:
            raise ValueError(f"At least {LEAST_RANDOM} % have to be chosen at random: the others are measured by it.")
        return self

    @property
    def needs_beliefs(self) -> bool:
        """Whether some strategy goes by what a fusion believes."""
        return any(share and name not in ("oldest", "random") for name, share in self.shares.items())

    @classmethod
    def parse(cls, data: object) -> "SelectionPolicy":
        """Raises InvalidSettings, naming each field that is wrong."""
        return parsed(cls, data, "The selection policy does not fit.", "shares")
