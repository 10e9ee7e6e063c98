"""Plain functions that build what a test needs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from django.utils.timezone import now

from annotator import flow
from annotator.importing.schema import judged_sha256, steps_of
from annotator.labelling import actions as labelling
from annotator.labelling.intake import Changes
from annotator.models import (
    Acceptance,
    Annotation,
    Assignment,
    Job,
    LearningPoint,
    Membership,
    ModelVersion,
    Prediction,
    Project,
    SelectionRound,
    Step,
    Trajectory,
    User,
)
from annotator.projects import actions as projects
from annotator.projects.actions import ProjectSettings
from annotator.queue import actions as queue

_number = count(1)

PASSWORD = "correct horse battery"


@dataclass
class World:
    """A project and the people around it."""

    project: Project
    annotator: User
    second: User
    reviewer: User
    admin: User
    outsider: User

    def user(self, who: str) -> User:
        """By role name, as access tables write it."""
        user: User = getattr(self, who)
        return user


def make_user(username: str = "") -> User:
    return User.objects.create_user(username or f"person-{next(_number)}", password=PASSWORD)


def make_project(slug: str = "", **settings: Any) -> Project:
    return projects.create_project(slug or f"project-{next(_number)}", ProjectSettings(**settings), user=None)


def make_member(project: Project, role: str = "annotator", username: str = "") -> User:
    user = make_user(username)
    projects.add_member(project, user, Membership.Role(role), user=None)
    return user


def make_world(slug: str = "demo", **settings: Any) -> World:
    project = make_project(slug, guideline="# Guideline\n\nJudge **every** step.", **settings)
    return World(
        project,
        annotator=make_member(project, "annotator", f"{slug}-ann"),
        second=make_member(project, "annotator", f"{slug}-bob"),
        reviewer=make_member(project, "reviewer", f"{slug}-rita"),
        admin=make_member(project, "admin", f"{slug}-ada"),
        outsider=make_user(f"{slug}-otto"),
    )


def make_messages(n_steps: int, *, unique: str = "", answered: Collection[int] = ()) -> list[dict[str, Any]]:
    """A chat with a system prompt, a question and n_steps assistant messages, all but the last with a tool call.

    answered: steps that are messages instead, and a person answers: the step after each begins a turn.
    """
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "You are a careful research agent."},
        {"role": "user", "content": f"How tall is tower {unique}?"},
    ]
    for index in range(n_steps - 1):
        if index in answered:
            messages.append({"role": "assistant", "content": f"Which of the towers do you mean ({index})?"})
            messages.append({"role": "user", "content": f"The tallest of them ({index})."})
            continue
        call = {"name": "search", "arguments": f'{{"query": "tower {unique} height {index}"}}'}
        messages.append(
            {
                "role": "assistant",
                "content": f"Let me look it up ({index}).",
                "tool_calls": [{"id": f"c{index}", "type": "function", "function": call}],
            }
        )
        messages.append(
            {"role": "tool", "name": "search", "tool_call_id": f"c{index}", "content": f"{300 + index} metres"}
        )
    messages.append({"role": "assistant", "content": "It is 300 metres tall."})
    return messages


def make_trajectory(project: Project, *, n_steps: int = 3, enqueue: bool = True, **fields: Any) -> Trajectory:
    """A stored trajectory with its steps and, unless enqueue is False, its open slots."""
    number = next(_number)
    messages = fields.pop("messages", None) or make_messages(n_steps, unique=str(number))
    steps = steps_of(messages)
    trajectory = Trajectory.objects.create(
        project=project,
        messages=messages,
        n_steps=len(steps),
        content_sha256=judged_sha256(messages, fields.get("tools", [])),
        **{
            "external_id": f"t-{number}",
            "source_format": "openai_chat",
            "instruction": f"How tall is tower {number}?",
            "group_key": f"tower {number}",
            **fields,
        },
    )
    Step.objects.bulk_create(Step(trajectory=trajectory, **step.model_dump()) for step in steps)
    if enqueue:
        queue.enqueue(project)
    return trajectory


def label(
    assignment: Assignment, annotator: User, values: Mapping[int, int | None], outcome: int | None = None
) -> Annotation:
    """Saves labels into a draft."""
    outcomes = {} if outcome is None else {"outcome": outcome}
    return labelling.save_labels(assignment.pk, annotator, Changes(values, outcomes))


def judge(trajectory: Trajectory, annotator: User, values: Sequence[int], outcome: int | None = 1) -> Annotation:
    """One person claims a slot of this very trajectory, labels what it wants and submits.

    `values` has one value per step; a spot question takes those of its steps.
    """
    slot = Assignment.objects.claimable_by(annotator).filter(trajectory=trajectory).order_by("slot")[0]
    wanted = {index: value for index, value in enumerate(values) if slot.wants_step(index)}
    label(slot, annotator, wanted, outcome if slot.wants_outcome else None)
    return flow.submit(slot.pk, annotator)


def make_round(project: Project, picks: Mapping[Trajectory, float | None]) -> SelectionRound:
    """A round that chose these: each with the probability of having been drawn, None where a strategy chose it."""
    done = {"status": Job.Status.DONE, "finished_at": now()}
    job = Job.objects.create(project=project, kind=Job.Kind.SELECT, unit="trajectories", **done)
    about = {"number": project.selection_rounds.count() + 1, "unit": "trajectories", "settings": {}, "seed": 1}
    made = SelectionRound.objects.create(project=project, job=job, is_open=False, **about)
    for rank, (trajectory, probability) in enumerate(picks.items()):
        strategy = "oldest" if probability is None else "random"
        pick = made.picks.create(
            trajectory=trajectory, rank=rank, strategy=strategy, probability=probability, reason="."
        )
        trajectory.assignments.update(pick=pick)
    return made


def make_acceptance(project: Project, **fields: Any) -> Acceptance:
    """A promise in force, under which a test may accept labels itself."""
    number = project.acceptances.count() + 1
    about = {"kind": Job.Kind.ACCEPT, "unit": "trajectories", "status": Job.Status.DONE, "result": {"number": number}}
    job = Job.objects.create(project=project, **about)
    promise = {"epsilon": 0.05, "delta": 0.1, "audit_share": 0.1, "threshold": 0.9, "seed": 1, "status": "active"}
    return Acceptance.objects.create(project=project, job=job, number=number, **{**promise, **fields})


def predict(
    trajectory: Trajectory,
    values: Sequence[int | None],
    *,
    model: str = "judge",
    kind: str = ModelVersion.Kind.JUDGE,
    sure: float = 0.8,
    **fields: Any,
) -> Prediction:
    """What the first version of a model says: each value with the probability `sure`, None for an abstention."""
    about = {"kind": kind, "config_sha256": model}
    version, _ = ModelVersion.objects.get_or_create(
        project_id=trajectory.project_id, name=model, number=1, defaults=about
    )
    rest = (1 - sure) / 2
    probs: list[list[float | None]] = [
        [None] * 3 if v is None else [sure if v == k else rest for k in (-1, 0, 1)] for v in values
    ]
    whys = [None if v is None else f"why {v}" for v in values]
    return Prediction.objects.create(
        version=version, trajectory=trajectory, **{"probs": probs, "rationales": whys, **fields}
    )


def make_learning_point(project: Project, acc: float, **fields: Any) -> LearningPoint:
    """One training in the loop as it is recorded, right on `acc` of the held-out steps."""
    figure = {"value": acc, "low": acc - 0.1, "high": acc + 0.1, "n": 40, "unit": "steps with gold", "reason": ""}
    metrics = dict.fromkeys(("step_acc", "macro_f1", "first_err_acc", "ece", "brier", "nll"), figure)
    always = {**figure, "value": 0.5, "low": 0.4, "high": 0.6}
    held_out = {"n_trajectories": 12, "n_steps": 40, "n_tasks": 6}
    return LearningPoint.objects.create(
        project=project,
        metrics={
            **metrics,
            "over_always": {"value": acc - 0.5, "low": acc - 0.6, "high": acc - 0.4},
            "always_positive": always,
            "held_out": held_out,
            "before": None,
            "difference": None,
        },
        **{
            "n_trajectories": 40,
            "n_steps": 130,
            "effort_seconds": 900,
            "facts": {"baseline": "skipped: the slice is too small", "job": 1},
            "reason": "It is better.",
            **fields,
        },
    )
