"""The demo that `make run` shows: sample trajectories with labels, disputes, a decision, what models say, a release."""

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from annotator import flow
from annotator.adjudication.actions import DecisionIn
from annotator.errors import JobFailed
from annotator.fusion import actions as fusion
from annotator.labelling import actions as labelling
from annotator.labelling.intake import Changes
from annotator.models import Adjudication, Annotation, Assignment, Dispute, Job, Membership, Project, User
from annotator.prelabelling import actions as prelabelling
from annotator.prelabelling import catalogue, reading
from annotator.projects import actions as projects
from annotator.projects.actions import ProjectSettings
from annotator.releases.policy import ReleasePolicy

SLUG = "demo"
# Username, password, role. For one machine only: whoever has read this file knows them.
ACCOUNTS = [
    ("annotator", "annotator-demo", "annotator"),
    ("reviewer", "reviewer-demo", "reviewer"),
    ("admin", "admin-demo", "admin"),
]
# The dispute that the reviewer has decided already: the trajectory, the step's index, and what they said.
DECIDED = ("sample-search-04", 4)
DECISION = DecisionIn(
    value=1,
    reason_code=Adjudication.Reason.GUIDELINE,
    note="Not a repetition: so far the length stood in a search excerpt only, and the page could have corrected it.",
)


def seed() -> None:
    """Makes what is missing of the demo, through the actions that people's work goes through.

    It may be stopped anywhere and run again. Call it outside a transaction: publishing needs its own.
    """
    samples = settings.BASE_DIR / "samples"
    project = _project((samples / "guideline.md").read_text(encoding="utf-8"))
    _, reviewer, admin = (_member(project, username, password, role) for username, password, role in ACCOUNTS)
    _import(project, samples / "trajectories.jsonl")
    _label(project, json.loads((samples / "labels.json").read_text(encoding="utf-8")))
    _decide(project, reviewer)
    _hear_models(project, admin, samples / "judgements")
    if not project.releases.published().exists():
        _expect_done(flow.publish(project, ReleasePolicy(), user=admin))


def close_accounts() -> None:
    """Takes the published passwords from the demo accounts: whoever knows this file could sign in."""
    for username, password, _ in ACCOUNTS:
        user = User.objects.filter(username=username).first()
        if user is not None and user.check_password(password):
            user.set_unusable_password()
            user.save(update_fields=["password"])


def _project(guideline: str) -> Project:
    project = Project.objects.filter(slug=SLUG).first()
    if project is None:
        about = ProjectSettings(name="Demo: sample agent runs", overlap=2, max_overlap=2, guideline=guideline)
        project = projects.create_project(SLUG, about, user=None)
    return project


@transaction.atomic
def _member(project: Project, username: str, password: str | None, role: str) -> User:
    """The member of that name; a password that was changed since stays changed."""
    user = User.objects.filter(username=username).first() or User.objects.create_user(username, password=password)
    if not project.memberships.filter(user=user).exists():
        projects.add_member(project, user, Membership.Role(role), user=None)
    return user


def _import(project: Project, path: Path) -> None:
    if project.jobs.filter(kind=Job.Kind.IMPORT, status=Job.Status.DONE).exists():
        return
    params = {"name": path.name, "format": None, "on_error": "abort"}
    with path.open("rb") as file:
        _expect_done(flow.import_now(project, file, params, kind=Job.Kind.IMPORT, n_total=path.stat().st_size))


def _label(project: Project, judgements: dict[str, dict[str, Any]]) -> None:
    """Every judgement of labels.json by a person of that name, who cannot sign in."""
    for external_id, by_person in judgements.items():
        for username, said in by_person.items():
            annotator = _member(project, username, None, Membership.Role.ANNOTATOR)
            given = Annotation.objects.filter(trajectory__project=project, trajectory__external_id=external_id)
            if not given.filter(annotator=annotator).exists():
                _judge(project, external_id, annotator, said)


@transaction.atomic
def _judge(project: Project, external_id: str, annotator: User, said: dict[str, Any]) -> None:
    free = Assignment.objects.claimable_by(annotator).filter(project=project, trajectory__external_id=external_id)
    slot = free.order_by("slot").first()
    if slot is None:  # visitors of an older demo have taken both
        return
    labelling.save_labels(slot.pk, annotator, Changes(dict(enumerate(said["steps"])), {"outcome": said["outcome"]}))
    flow.submit(slot.pk, annotator)


@transaction.atomic
def _decide(project: Project, reviewer: User) -> None:
    if Adjudication.objects.filter(dispute__trajectory__project=project).exists():
        return
    external_id, index = DECIDED
    disputes = Dispute.objects.undecided().filter(trajectory__project=project)
    dispute = disputes.filter(trajectory__external_id=external_id, step__index=index).first()
    if dispute is not None:
        flow.decide(dispute, reviewer, DECISION)


def _hear_models(project: Project, admin: User, judgements: Path) -> None:
    """What two invented judges said; a run of the rules and a fusion of all, which a worker takes up."""
    for path in sorted(judgements.glob("*.jsonl")):
        if not project.model_versions.filter(name=path.stem).exists():
            with path.open("rb") as file:
                _expect_done(flow.import_predictions_now(project, file, path.name, model=path.stem))
    if not project.prelabel_runs.exists():
        rules, selection = catalogue.read(project.slug).get("rules"), prelabelling.Selection()
        estimate = reading.estimate(project, rules, selection)
        prelabelling.start(project, rules, selection, estimate=estimate, user=admin)
    if not project.jobs.filter(kind=Job.Kind.FUSE).exists():
        fusion.start(project, user=admin)


def _expect_done(job: Job) -> None:
    if job.status != Job.Status.DONE:
        raise JobFailed(f"The demo is incomplete, because its {job.get_kind_display()} failed: {job.error}")
