"""Plain functions that build what a test needs."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from django.contrib.auth.hashers import make_password
from django.utils.timezone import now

from annotator import flow
from annotator.importing.schema import StepIn, judged_sha256, steps_of
from annotator.labelling import actions as labelling
from annotator.labelling.intake import Changes
from annotator.models import (
    Acceptance,
    Annotation,
    Assignment,
    AuditEvent,
    GoldLabel,
    Job,
    Label,
    LabelEvent,
    LearningPoint,
    Membership,
    ModelVersion,
    Posterior,
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
    roles = {"ann": "annotator", "bob": "annotator", "rita": "reviewer", "ada": "admin", "otto": ""}
    # Nearly every test begins here, so these are three statements and not `make_member` for each.
    people = User.objects.bulk_create(
        User(username=f"{slug}-{name}", password=make_password(PASSWORD)) for name in roles
    )
    members = Membership.objects.bulk_create(
        Membership(project=project, user=user, role=role)
        for user, role in zip(people, roles.values(), strict=True)
        if role
    )
    AuditEvent.objects.bulk_create(
        AuditEvent(
            action="membership.set",
            project=project,
            object_type="membership",
            object_id=member.pk,
            data={"member": member.user.username, "role": member.role},
        )
        for member in members
    )
    return World(project, *people)


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
    return make_trajectories(project, [fields], n_steps=n_steps, enqueue=enqueue)[0]


def make_trajectories(
    project: Project, fields: Iterable[Mapping[str, Any]], *, n_steps: int = 3, enqueue: bool = True
) -> list[Trajectory]:
    """One with each of these fields, in as many statements as one takes."""
    built = [_build(project, n_steps, **about) for about in fields]
    made = Trajectory.objects.bulk_create(trajectory for trajectory, _ in built)
    Step.objects.bulk_create(
        Step(trajectory=trajectory, **step.model_dump()) for trajectory, steps in built for step in steps
    )
    if enqueue:
        queue.enqueue(project)
    return made


def _build(project: Project, n_steps: int, **fields: Any) -> tuple[Trajectory, list[StepIn]]:
    number = next(_number)
    messages = fields.pop("messages", None) or make_messages(n_steps, unique=str(number))
    steps = steps_of(messages)
    trajectory = Trajectory(
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
    return trajectory, steps


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


def settle_all(judged: Mapping[Trajectory, Sequence[int]], people: Sequence[User], outcome: int = 1) -> None:
    """All these people judge each of these trajectories alike: what `judge` by one after the other leaves, cheaply.

    For gold that a test needs and does not look at the making of. A few statements write it, and no audit trail tells
    of it. Each trajectory has an open, blind slot for each of the people, and nothing is believed of it yet.
    """
    project = Project.objects.get(pk=next(iter(judged)).project_id)
    slots = project.assignments.filter(trajectory__in=judged).order_by("trajectory", "slot")
    assert slots.open().count() == slots.count() == len(judged) * len(people), "it takes a slot for each judgement"
    assert project.scheme.mode == "every_step", "other modes store other labels"
    assert not Posterior.objects.filter(trajectory__in=judged).exists(), "a judgement changes what is believed"
    no_hints = "" if project.hints.is_blind else Assignment.NoHints.NO_PREDICTION
    if no_hints:
        said = ModelVersion.objects.filter(project=project, name=project.hints.model)
        assert not said.exists() and not slots.exclude(pick=None).exists(), "each slot is drawn for itself"
    at = now()
    filled = {"status": "submitted", "n_saves": 1, "claimed_at": at, "finished_at": at, "hint_arm": "blind"}
    for number, person in enumerate(people):
        slots.filter(slot=number).update(annotator=person, no_hints=no_hints, **filled)
    annotations = Annotation.objects.bulk_create(
        Annotation(assignment=slot, trajectory_id=slot.trajectory_id, annotator=people[slot.slot]) for slot in slots
    )
    steps: dict[int, list[int | None]] = defaultdict(list)  # of each trajectory, in order
    for trajectory, step in (
        Step.objects.filter(trajectory__in=judged).order_by("index").values_list("trajectory", "pk")
    ):
        steps[trajectory].append(step)
    asks_outcome = {slot.trajectory_id for slot in slots if slot.wants_outcome}
    gold: dict[int, list[tuple[int | None, int]]] = {}  # value by step, and by None for the outcome
    for one, values in judged.items():
        gold[one.pk] = list(zip(steps[one.pk], values, strict=True))
        if one.pk in asks_outcome:
            gold[one.pk].append((None, outcome))
    guideline = project.guidelines.first()
    labels = [(annotation, step, value) for annotation in annotations for step, value in gold[annotation.trajectory_id]]
    Label.objects.bulk_create(
        Label(annotation=annotation, step_id=step, value=value, guideline=guideline, labelled_at=at)
        for annotation, step, value in labels
    )
    LabelEvent.objects.bulk_create(
        LabelEvent(annotation=annotation, step_id=step, value=value, at=at) for annotation, step, value in labels
    )
    # Only now: nothing is added to what was submitted.
    Annotation.objects.filter(pk__in=[annotation.pk for annotation in annotations]).update(submitted_at=at)
    GoldLabel.objects.bulk_create(
        GoldLabel(trajectory_id=pk, step_id=step, value=value, provenance="unanimous", settled_at=at)
        for pk, values in gold.items()
        for step, value in values
    )


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


def predict(trajectory: Trajectory, values: Sequence[int | None], **fields: Any) -> Prediction:
    """What the first version of a model says, as in `predict_all`."""
    return predict_all({trajectory: values}, **fields)[0]


def predict_all(
    said: Mapping[Trajectory, Sequence[int | None]],
    *,
    model: str = "judge",
    kind: str = ModelVersion.Kind.JUDGE,
    sure: float = 0.8,
    **fields: Any,
) -> list[Prediction]:
    """What the first version of a model says: each value with the probability `sure`, None for an abstention."""
    about = {"kind": kind, "config_sha256": model}
    version, _ = ModelVersion.objects.get_or_create(
        project_id=next(iter(said)).project_id, name=model, number=1, defaults=about
    )
    rest = (1 - sure) / 2

    def probs(value: int | None) -> list[float | None]:
        return [None] * 3 if value is None else [sure if value == k else rest for k in (-1, 0, 1)]

    return Prediction.objects.bulk_create(
        Prediction(
            version=version,
            trajectory=trajectory,
            **{
                "probs": [probs(value) for value in values],
                "rationales": [None if value is None else f"why {value}" for value in values],
                **fields,
            },
        )
        for trajectory, values in said.items()
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
