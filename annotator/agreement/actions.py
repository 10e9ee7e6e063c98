"""Settling trajectories whose judgements are in, and reporting how far people agree."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils.timezone import now

from annotator import audit
from annotator.agreement import labels
from annotator.agreement.aggregation import Rule, judge, severity
from annotator.agreement.metrics import AgreementReport, agreement_report
from annotator.models import Adjudication, Assignment, Dispute, GoldLabel, Label, Project, Step, Trajectory
from annotator.queue import actions as queue

# An escalated trajectory is nearly done: it goes before untouched ones of the same priority.
ESCALATION_BONUS = 1.0


@transaction.atomic(savepoint=False)
def settle(trajectory_id: int) -> bool:
    """Turns the submitted labels of a trajectory into gold, disputes or a further slot; True if it did.

    Does nothing while a wanted judgement is still out (not given yet, or returned to its author), and nothing new when
    it runs again: what a reviewer has decided stays, whatever was said. After a later revision, gold that people no
    longer agree on and disputes that are none any more are removed.
    """
    # Two people who submit the last two judgements at once: the second waits here and sees the first one's labels.
    rows = Trajectory.objects.select_for_update(no_key=True, of=("self",)).select_related("project")
    trajectory = rows.defer("messages", "tools").get(pk=trajectory_id)
    slots = list(Assignment.objects.live().filter(trajectory=trajectory).only("status", "wanted_steps"))
    if not slots or any(slot.status != Assignment.Status.SUBMITTED for slot in slots):
        return False
    project = trajectory.project
    rule = Rule(
        max_overlap=project.max_overlap,
        required_agreement=project.required_agreement,
        discards=project.on_unsettled == Project.OnUnsettled.DISCARD,
    )
    values = _submitted_values(trajectory)
    # One decision of two that are wanted is enough to keep a dispute: the other reviewer's is asked for all the same.
    disputes = list(
        Dispute.objects.filter(trajectory=trajectory)
        .annotate(is_decided=Exists(Adjudication.objects.filter(dispute=OuterRef("pk"))))
        .values_list("pk", "step_id", "severity", "is_decided")
    )
    decided = {step_id for _, step_id, _, is_decided in disputes if is_decided}
    gold: dict[int | None, tuple[str, int | None]] = {}
    disputed: dict[int | None, int] = {}
    escalated: list[int | None] = []
    for stopped in _beyond_a_first_error(trajectory, slots, values):
        values.pop(stopped, None)
        if stopped not in decided:
            gold[stopped] = (GoldLabel.Provenance.DISCARDED, None)
    for step_id, given in values.items():
        verdict = judge(given, rule)
        if step_id in decided:
            continue
        if verdict.state == "escalate":
            escalated.append(step_id)
        elif verdict.state == "dispute":
            disputed[step_id] = severity(given)
        elif verdict.state == "discard":
            gold[step_id] = (GoldLabel.Provenance.DISCARDED, None)
        else:
            gold[step_id] = (verdict.state, verdict.value)
    stored = list(GoldLabel.objects.filter(trajectory=trajectory))
    # A model's accepted label stays where nobody was asked, and gives way where people differ.
    stale_gold = [
        one.pk
        for one in stored
        if one.step_id not in gold.keys() | decided and (one.acceptance_id is None or one.step_id in values)
    ]
    stale_disputes = [pk for pk, step_id, *_ in disputes if step_id not in disputed.keys() | decided]
    GoldLabel.objects.filter(pk__in=stale_gold).delete()
    Dispute.objects.filter(pk__in=stale_disputes).delete()
    n_removed = len(stale_gold) + len(stale_disputes)
    known = {(one.step_id, (one.provenance, one.value)) for one in stored}
    gold = {step_id: settled for step_id, settled in gold.items() if (step_id, settled) not in known}
    known_disputes = {(step_id, much) for _, step_id, much, _ in disputes}
    disputed = {step_id: much for step_id, much in disputed.items() if (step_id, much) not in known_disputes}
    if not (gold or disputed or escalated or n_removed):
        return False
    _store_gold(trajectory, gold)
    _store_disputes(trajectory, disputed)
    if escalated:
        _escalate(trajectory, escalated, slot=len(slots))
    audit.log(
        "trajectory.settled",
        trajectory,
        user=None,
        project_id=project.pk,
        data={"gold": len(gold), "disputes": len(disputed), "escalated": len(escalated), "removed": n_removed},
    )
    return True


def _beyond_a_first_error(
    trajectory: Trajectory, slots: Sequence[Assignment], values: Mapping[int | None, list[int]]
) -> list[int]:
    """Steps that not everybody who was asked has judged, because somebody stopped at an earlier error.

    A judgement of those who went on alone would look unanimous, so such a step stays without gold. What somebody has
    left out says it, not the label scheme: that may have changed since they submitted.
    """
    n_given = sum(len(given) for step_id, given in values.items() if step_id is not None)
    if n_given == trajectory.n_steps * len(slots) and all(slot.wanted_steps is None for slot in slots):
        return []  # everybody has judged everything: the usual case, told without reading the steps
    return [
        step_id
        for step_id, index in trajectory.steps.values_list("pk", "index")
        if len(values.get(step_id, ())) < sum(slot.wants_step(index) for slot in slots)
    ]


def _submitted_values(trajectory: Trajectory) -> dict[int | None, list[int]]:
    """Submitted values by step id (None: the outcome), in the order of submission."""
    values: dict[int | None, list[int]] = defaultdict(list)
    labels = Label.objects.submitted().filter(annotation__trajectory=trajectory).order_by("annotation__submitted_at")
    for step_id, value in labels.values_list("step_id", "value"):
        values[step_id].append(value)
    return values


def _store_gold(trajectory: Trajectory, gold: Mapping[int | None, tuple[str, int | None]]) -> None:
    at = now()
    GoldLabel.objects.bulk_create(
        [
            GoldLabel(trajectory=trajectory, step_id=step_id, value=value, provenance=provenance, settled_at=at)
            for step_id, (provenance, value) in gold.items()
        ],
        update_conflicts=True,
        unique_fields=["trajectory", "step"],
        update_fields=["value", "provenance", "settled_at", "acceptance"],
    )


def _store_disputes(trajectory: Trajectory, disputed: Mapping[int | None, int]) -> None:
    Dispute.objects.bulk_create(
        [Dispute(trajectory=trajectory, step_id=step_id, severity=much) for step_id, much in disputed.items()],
        update_conflicts=True,
        unique_fields=["trajectory", "step"],
        update_fields=["severity"],
    )


def _escalate(trajectory: Trajectory, step_ids: list[int | None], *, slot: int) -> None:
    """Asks one more person, but only about what is unsettled."""
    steps = Step.objects.filter(pk__in=[step_id for step_id in step_ids if step_id is not None])
    first = Assignment.objects.filter(trajectory=trajectory, slot=0).order_by("-id").first()
    queue.enqueue_spot(
        trajectory,
        slot=slot,
        priority=(first.priority if first else 0.0) + ESCALATION_BONUS,
        wanted_steps=sorted(steps.values_list("index", flat=True)),
        wants_outcome=None in step_ids,
    )


def report(project: Project) -> AgreementReport:
    """Agreement between people over the project's submitted step labels; raters are user ids."""
    return agreement_report(labels.read(project).compared)
