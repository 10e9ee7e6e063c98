"""The learning policy: when the project's own scorer is trained again, and which tasks it never learns from. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from annotator.chance import chance
from annotator.errors import parsed
from annotator.prelabelling.scorer_config import MAX_STEPS, MIN_TRAJECTORIES, Name

# The share of the tasks that are only measured on. No setting: another share would move tasks into training.
HELD_OUT_SHARE = 0.2
# Fewer cannot tell a new version from the one before.
MIN_HELD_OUT_TASKS = 2


class LearningPolicy(BaseModel):
    """When a training starts by itself, and what it makes. docs/scorer.md explains each field."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    is_on: bool = False
    every: Annotated[int, Field(ge=1, le=100_000)] = 25  # so many newly gold trajectories start a training
    at_least: Annotated[int, Field(ge=10, le=1_000_000)] = 50  # gold trajectories in all, before the first one
    name: Name | None = None  # of the scorer; none: the project's slug with "-scorer"
    encoder: Name = "hashed"  # or "minilm", or a folder of MODELS_FOLDER/encoders
    prelabels_rest: bool = True  # a version that is kept scores what it has not learnt from
    max_epochs: Annotated[int, Field(ge=1, le=2000)] = 200
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0

    @classmethod
    def parse(cls, data: object) -> "LearningPolicy":
        """Raises InvalidSettings, naming each field that is wrong."""
        return parsed(cls, data, "The learning policy does not fit.", "learning_policy")

    def name_for(self, slug: str) -> str:
        """What the scorer of the project with this slug is called."""
        return self.name or re.sub(r"^[^a-z0-9]+", "", slug.lower()) + "-scorer"


@dataclass(frozen=True)
class Due:
    """How far a project is from its next training. `n_before`: its gold trajectories when the last one began."""

    policy: LearningPolicy
    n_gold: int
    n_before: int | None

    @property
    def n_missing(self) -> int:
        """So many gold trajectories more, and a training is due."""
        wanted = self.policy.at_least
        if self.n_before is not None:
            wanted = max(wanted, self.n_before + self.policy.every)
        return max(0, wanted - self.n_gold)

    @property
    def is_due(self) -> bool:
        return self.policy.is_on and self.n_missing == 0


def is_held_out(group_key: str) -> bool:
    """Whether a task is only measured on. It depends on the task alone, so no task ever moves as gold grows."""
    return chance("held-out task", group_key) < HELD_OUT_SHARE


def what_is_missing(settled: Iterable[tuple[str, int]]) -> str:
    """What a training lacks, in sentences; empty where nothing is. `settled`: task and length of each with gold."""
    tasks = [task for task, n_steps in settled if n_steps <= MAX_STEPS]
    if not tasks:
        return (
            "A scorer learns from trajectories that people have settled, and there are none yet. Have some of "
            "different tasks labelled first."
        )
    n_tasks, n_held_out = len(set(tasks)), len({task for task in tasks if is_held_out(task)})
    if n_held_out < MIN_HELD_OUT_TASKS:
        return (
            f"Of the {n_tasks} task{'s' if n_tasks > 1 else ''} with gold {n_held_out or 'none'} "
            f"{'is' if n_held_out == 1 else 'are'} held out; it takes {MIN_HELD_OUT_TASKS} to compare a new version "
            f"with the one before. {100 * HELD_OUT_SHARE:.0f} % of all tasks are, by a hash: settle trajectories of "
            "other ones."
        )
    n_learnt = sum(not is_held_out(task) for task in tasks)
    if n_learnt < MIN_TRAJECTORIES:
        return (
            f"It takes {MIN_TRAJECTORIES} trajectories with gold to learn from, outside of the tasks that are only "
            f"measured on, and there {'is' if n_learnt == 1 else 'are'} {n_learnt}. Settle more trajectories first."
        )
    return ""


def is_in_half(external_id: str) -> bool:
    """One half of all trajectories, by a hash: the baseline where no selection round has made a random slice."""
    return chance("baseline half", external_id) < 0.5
