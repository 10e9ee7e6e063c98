"""Accepting labels under a promise: what is written, what stays with people, the audit, and taking back."""

import json
import threading
from collections import Counter
from datetime import timedelta
from hashlib import sha256
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from django.db import connection, transaction
from django.utils.timezone import now

from annotator import flow, jobs
from annotator.acceptance import actions, proof, sample
from annotator.acceptance.guarantee import audit_evidence, log_wealth
from annotator.acceptance.terms import Terms, to_learn_from
from annotator.adjudication.actions import DecisionIn
from annotator.chance import chance
from annotator.dashboard.tables import TABLES, csv_lines
from annotator.errors import InvalidInput, JobConflict
from annotator.fusion import reading
from annotator.fusion.fit import fit
from annotator.fusion.panel import Panel
from annotator.models import (
    Acceptance,
    AcceptanceAudit,
    Annotation,
    Assignment,
    AuditEvent,
    Dispute,
    GoldLabel,
    Job,
    LearningPoint,
    ModelVersion,
    Project,
    SelectionPick,
    SelectionRound,
    Trajectory,
)
from annotator.prelabelling.actions import Selection
from annotator.projects.actions import change_settings
from annotator.queue import actions as queue
from annotator.raters.actions import read_gold
from annotator.raters.blind import keep_reading
from annotator.releases import actions as releases
from annotator.releases.files import export
from annotator.releases.freezing import frozen_rows, releasable
from annotator.releases.policy import ReleasePolicy
from annotator.selection import actions as selection
from tests.factories import (
    World,
    judge,
    label,
    make_acceptance,
    make_trajectories,
    make_trajectory,
    make_world,
    predict,
    predict_all,
)

pytestmark = pytest.mark.django_db

TERMS = Terms(epsilon=0.2, delta=0.2, audit_share=0.2)
TRUTH = [1, -1, 1]
_fitted: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def _same_chance_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn is the same in every test, so that the same panel need not be learnt from again (3 s each)."""
    monkeypatch.setattr("secrets.randbits", lambda _: 5)

    def fit_once(panel: Panel, seed: int = 0) -> Any:
        key = sha256(panel.probs.tobytes() + panel.gold.tobytes() + panel.groups.tobytes()).hexdigest()
        if key not in _fitted:
            _fitted[key] = fit(panel, seed)
        return _fitted[key]

    monkeypatch.setattr("annotator.fusion.fit.fit", fit_once)


def make_pool(world: World, n: int, *, wrong_every: int = 0, is_silent: bool = False) -> list[Trajectory]:
    """Two judges that say the truth of every step; of each `wrong_every`-th trajectory the first step is wrong.

    is_silent: of the middle step they say nothing.
    """
    before = world.project.trajectories.count()
    # These decide which of them test.
    fields = [{"external_id": f"pool {before + i}", "group_key": f"task {i % 40}"} for i in range(n)]
    made = make_trajectories(world.project, fields)
    said = {
        trajectory: [-1 if wrong_every and i % wrong_every == 0 else 1, None if is_silent else -1, 1]
        for i, trajectory in enumerate(made)
    }
    predict_all(said, model="good", sure=0.96)
    predict_all(said, model="fair", sure=0.9)
    return made


def make_unsure(world: World, n: int) -> set[int]:
    """Trajectories of whose values the judges are not sure enough for any rule."""
    made = make_trajectories(world.project, [{"group_key": f"unsure {i}"} for i in range(n)])
    for model in ("good", "fair"):
        predict_all(dict.fromkeys(made, TRUTH), model=model, sure=0.5)
    return {trajectory.pk for trajectory in made}


def draw(world: World, n: int, *, is_middle_open: bool = False) -> list[Trajectory]:
    """A round of n trajectories, all at random, and what is in the database once the annotator has judged each.

    is_middle_open: of every other one the middle step is +1.
    """
    policy = {"n_wanted": n, "shares": {"random": 100}}
    change_settings(world.project, {"selection_policy": policy}, user=world.admin)
    job = selection.start(world.project, user=world.admin)
    flow.run_job(job.pk)
    picks = SelectionRound.objects.get(job=job).picks.order_by("rank")
    picked = [pick.trajectory for pick in picks.select_related("trajectory").prefetch_related("trajectory__steps")]
    slots = Assignment.objects.filter(trajectory__in=picked)
    slots.update(status="submitted", annotator=world.annotator, hint_arm="blind")
    at = now()
    Annotation.objects.bulk_create(
        Annotation(
            assignment=slot, trajectory_id=slot.trajectory_id, annotator=world.annotator, revision=1, submitted_at=at
        )
        for slot in slots
    )
    GoldLabel.objects.bulk_create(
        GoldLabel(
            trajectory=trajectory,
            step=step,
            value=1 if is_middle_open and i % 2 else TRUTH[step.index],
            provenance="unanimous",
            settled_at=at,
        )
        for i, trajectory in enumerate(picked)
        for step in trajectory.steps.all()
    )
    return picked


def accept(world: World, terms: Terms = TERMS) -> Acceptance:
    job = actions.start(world.project, terms, user=world.admin)
    flow.run_job(job.pk)
    job.refresh_from_db()
    assert job.status == Job.Status.DONE, job.error
    return Acceptance.objects.get(job=job)


@pytest.fixture
def alone(db: None) -> World:
    """One judgement is enough for a step; nobody is asked about the outcome."""
    return make_world(overlap=1, max_overlap=1, asks_outcome=False)


@pytest.fixture
def promised(alone: World) -> Acceptance:
    """160 trajectories, 110 of them judged at random, the rest accepted."""
    make_pool(alone, 160)
    draw(alone, 110)
    return accept(alone)


def rest_of(project: Project) -> set[int]:
    return set(project.trajectories.filter(annotations=None).values_list("pk", flat=True))


def test_sure_labels_become_gold_that_names_its_promise(alone: World, promised: Acceptance) -> None:
    assert (promised.number, promised.status, promised.stop_reason) == (1, "active", "")
    assert promised.report["sample"] == {
        "since": None, "n_drawn": 110, "n_learnt": 59, "n_tested": 51, "n_unknown": 0, "n_gold": 59
    }  # fmt: skip
    assert promised.report["pool"]["n_trajectories"] == 50
    tried = promised.report["tried"]
    assert tried[0]["holds"]
    assert {one["n_wrong"] for one in tried} == {0}
    labels = GoldLabel.objects.filter(acceptance=promised)
    audits = promised.audits.all()
    assert len(audits) == 10
    assert set(labels.values_list("trajectory", flat=True)) | {a.trajectory_id for a in audits} == rest_of(
        alone.project
    )
    assert promised.report["n_labels"] == labels.count() == 3 * (50 - len(audits))
    assert {(row.step.index, row.value, row.provenance) for row in labels if row.step} == {
        (0, 1, "certified"), (1, -1, "certified"), (2, 1, "certified")
    }  # fmt: skip
    event = AuditEvent.objects.get(action="acceptance.accepted")
    assert event.data == {"number": 1, "n_labels": labels.count(), "epsilon": 0.2}


def test_audited_trajectories_are_asked_whole_blind_and_first(alone: World, promised: Acceptance) -> None:
    first = queue.claim_next(alone.project, alone.second)
    assert first is not None
    assert promised.audits.filter(trajectory=first.trajectory_id).exists()
    assert (first.wanted_steps, first.hint_arm, first.no_hints) == (None, "blind", "random_sample")
    assert not GoldLabel.objects.filter(trajectory=first.trajectory_id).exists()
    left = Assignment.objects.filter(project=alone.project, status="open").values_list("trajectory", flat=True)
    assert set(left) == {audit.trajectory_id for audit in promised.audits.exclude(trajectory=first.trajectory_id)}
    # No round may change what is asked of them, and nothing settled is asked again by the next import.
    assert not selection.untouched(alone.project).exists()
    assert queue.enqueue(alone.project) == 0


def test_steps_that_are_not_accepted_are_still_asked(alone: World) -> None:
    make_pool(alone, 160, is_silent=True)
    draw(alone, 110, is_middle_open=True)
    promise = accept(alone, Terms(epsilon=0.2, delta=0.2, audit_share=0.02))
    assert promise.status == "active"
    part = GoldLabel.objects.filter(acceptance=promise).first()
    assert part is not None
    trajectory = part.trajectory
    taken = set(trajectory.gold_labels.values_list("step__index", flat=True))
    slot = Assignment.objects.get(trajectory=trajectory)
    assert slot.wanted_steps == sorted({0, 1, 2} - taken)
    assert slot.wanted_steps
    policy = {"n_wanted": 50, "shares": {"oldest": 90, "random": 10}}
    change_settings(alone.project, {"selection_policy": policy}, user=alone.admin)
    flow.run_job(selection.start(alone.project, user=alone.admin).pk)
    for slot in Assignment.objects.filter(pick__isnull=False, status="open").select_related("pick"):
        assert slot.pick is not None
        has_labels = slot.trajectory.gold_labels.exists()
        whole = slot.pick.probability is not None or not has_labels
        gold = set(slot.trajectory.gold_labels.values_list("step__index", flat=True))
        assert slot.wanted_steps == (None if whole else sorted({0, 1, 2} - gold))
    chosen = Assignment.objects.filter(
        pick__probability=None, status="open", pick__isnull=False, trajectory__gold_labels__isnull=False
    ).first()
    assert chosen is not None
    judge(chosen.trajectory, alone.annotator, [-1, 1, -1])
    provenances = dict(chosen.trajectory.gold_labels.values_list("step__index", "provenance"))
    assert {index: p for index, p in provenances.items() if p == "unanimous"}.keys() == set(chosen.wanted_steps or [])
    assert sorted(provenances) == [0, 1, 2]
    by_chance = Assignment.objects.filter(
        pick__probability__isnull=False, status="open", trajectory__gold_labels__isnull=False
    ).first()
    if by_chance is not None:
        judge(by_chance.trajectory, alone.annotator, [-1, 1, -1])
        rows = by_chance.trajectory.gold_labels.values_list("value", "provenance", "acceptance")
        assert set(map(str, rows)) == {"(-1, 'unanimous', None)", "(1, 'unanimous', None)"}


def test_outcomes_are_asked_also_where_every_step_is_accepted(db: None) -> None:
    world = make_world(overlap=1, max_overlap=1)
    make_pool(world, 160)
    draw(world, 110)
    promise = accept(world)
    slots = Assignment.objects.filter(trajectory__gold_labels__acceptance=promise).distinct()
    assert {(slot.status, str(slot.wanted_steps), slot.wants_outcome) for slot in slots} == {("open", "[]", True)}
    assert slots.count() == promise.report["n_trajectories"] == 40
    judge(slots[0].trajectory, world.annotator, [], outcome=-1)
    assert dict(slots[0].trajectory.gold_labels.values_list("step__index", "value")) == {0: 1, 1: -1, 2: 1, None: -1}


def test_no_slot_asks_for_nothing_when_outcomes_are_asked_no_longer(db: None) -> None:
    """For what is in the queue the setting changes nothing, whatever rounds and promises come and go."""
    world = make_world(overlap=1, max_overlap=1)
    make_pool(world, 160)
    change_settings(world.project, {"asks_outcome": False}, user=world.admin)
    draw(world, 110)
    promise = accept(world)
    for unit in ("trajectories", "steps", "trajectories"):
        change_settings(world.project, {"selection_policy": {"unit": unit, "n_wanted": 20}}, user=world.admin)
        flow.run_job(selection.start(world.project, user=world.admin).pk)
        slots = Assignment.objects.filter(status="open")
        assert slots.count() == 40 + promise.audits.count()
        assert set(slots.values_list("wants_outcome", flat=True)) == {True}
    asked = dict(Counter(map(str, slots.filter(pick=None).values_list("wanted_steps", flat=True))))
    assert asked == {"[]": 20, "None": 10}


def test_the_outcome_is_asked_where_single_steps_were_and_all_are_accepted_since(db: None) -> None:
    world = make_world(overlap=1, max_overlap=1)
    make_pool(world, 160)
    draw(world, 110)
    slots = Assignment.objects.filter(status="open")
    round_ = SelectionRound.objects.get()
    for slot in slots:  # as a later round of single steps leaves them
        about = {"rank": 0, "strategy": "oldest", "steps": [1], "before": {"leaves_out_outcome": True}}
        slot.pick = SelectionPick.objects.create(round=round_, trajectory_id=slot.trajectory_id, reason="r", **about)
        slot.wanted_steps, slot.wants_outcome = [1], False
        slot.save()
    promise = accept(world)
    found = Counter((str(slot.wanted_steps), slot.wants_outcome, slot.pick is None) for slot in slots.all())
    assert found == {("[]", True, False): 40, ("None", True, True): promise.audits.count()}


def test_accepted_labels_are_no_gold_to_learn_or_measure_by(alone: World, promised: Acceptance) -> None:
    accepted = GoldLabel.objects.filter(acceptance=promised).first()
    assert accepted is not None
    chosen = accepted.trajectory
    assert (reading.gold_of({chosen.pk: 0}, np.array([0, 3])) == -9).all()
    assert chosen.pk not in read_gold(alone.project, "gold").ids
    assert chosen in Selection(gold="without").of(alone.project)
    assert sample.counts(alone.project).n_elsewhere == 0


def test_a_release_counts_them_only_if_its_policy_says_so(alone: World, promised: Acceptance) -> None:
    n_certified = len(set(GoldLabel.objects.filter(acceptance=promised).values_list("trajectory", flat=True)))
    by_default = releases.begin(alone.project, ReleasePolicy(), user=alone.admin)
    with_them = releases.begin(alone.project, ReleasePolicy(provenances=["unanimous", "certified"]), user=alone.admin)
    broken = releases.begin(alone.project, ReleasePolicy(provenances=["unanimous", "certified"]), user=alone.admin)
    ids = list(releasable(alone.project).values_list("pk", flat=True))
    assert len(ids) == 110 + n_certified
    assert len(frozen_rows(by_default, ids, ReleasePolicy.parse(by_default.policy), Counter())) == 110
    rows = frozen_rows(with_them, ids, ReleasePolicy.parse(with_them.policy), Counter())
    assert len(rows) == 110 + n_certified
    certified = [row for row in rows if row.record["steps"][0]["provenance"] == "certified"]
    assert len(certified) == n_certified
    assert [(s["value"], s["counts"], s["labels"]) for s in certified[0].record["steps"]] == [
        (1, True, []), (-1, True, []), (1, True, [])
    ]  # fmt: skip
    Acceptance.objects.update(status="broken")
    assert releasable(broken.project).count() == 110


def judge_audits(world: World, promise: Acceptance, values: list[int]) -> int:
    """Until the promise is broken or all are judged; returns how many."""
    for n, one in enumerate(promise.audits.all()):
        judge(one.trajectory, world.annotator, values)
        promise.refresh_from_db()
        if promise.status != "active":
            return n + 1
    return promise.audits.count()


def test_an_audit_that_agrees_leaves_the_promise_in_force(alone: World, promised: Acceptance) -> None:
    n = judge_audits(alone, promised, TRUTH)
    assert promised.status == "active"
    found = actions.audited(promised)
    assert (found.n_audits, found.n_settled, found.n_taken, found.n_wrong) == (n, n, 3 * n, 0)
    assert found.evidence == 0


def in_turn(promise: Acceptance) -> list[AcceptanceAudit]:
    """The audits in their random order."""
    return sorted(promise.audits.all(), key=lambda one: chance("audit", promise.seed, one.trajectory_id))


def test_audits_are_asked_in_a_random_order_and_not_in_that_of_import(alone: World, promised: Acceptance) -> None:
    claimed = []
    while slot := queue.claim_next(alone.project, alone.second):
        label(slot, alone.second, dict(enumerate(TRUTH)))
        flow.submit(slot.pk, alone.second)
        claimed.append(slot.trajectory_id)
    assert claimed == [one.trajectory_id for one in in_turn(promised)]
    assert sorted(claimed) != claimed != sorted(claimed, reverse=True)
    # Behind what people were asked again about in a round's choice, before everything else of the round.
    priorities = Assignment.objects.filter(trajectory__in=claimed).values_list("priority", flat=True)
    assert all(1 <= priority <= 1 + 1e-6 for priority in priorities)


def test_an_audit_counts_in_its_turn_whenever_it_is_settled(alone: World) -> None:
    """Those before it that are not settled yet count as right, so that haste with the wrong ones proves nothing."""
    made = make_pool(alone, 30)
    promise = make_acceptance(alone.project, epsilon=0.2, delta=0.2)
    AcceptanceAudit.objects.bulk_create(
        AcceptanceAudit(acceptance=promise, trajectory=trajectory, values=[-1, 1, -1]) for trajectory in made
    )
    audits, none = in_turn(promise), np.zeros(30, dtype=np.int64)
    for n, one in enumerate(reversed(audits), start=1):
        judge(one.trajectory, alone.annotator, TRUTH)
        promise.refresh_from_db()
        found = actions.audited(promise)
        wrong = none.copy()
        wrong[30 - n :] = 3
        assert found.evidence == pytest.approx(audit_evidence(none + 3, wrong, 0.2, 3))
        assert (found.n_settled, found.n_taken, found.n_wrong) == (n, 3 * n, 3 * n)
        if promise.status == "broken":
            break
    alone_it_takes = next(n for n in range(30) if audit_evidence(none[:n] + 3, none[:n] + 3, 0.2, 3) >= np.log(5))
    assert n > alone_it_takes
    assert promise.status == "broken"


def test_a_broken_promise_ends_by_itself_and_people_are_asked_instead(alone: World, promised: Acceptance) -> None:
    n_labels, accepted = promised.report["n_labels"], set(rest_of(alone.project))
    accepted -= {audit.trajectory_id for audit in promised.audits.all()}
    n = judge_audits(alone, promised, [-1, 1, -1])
    assert n < promised.audits.count()
    assert (promised.status, bool(promised.stopped_at)) == ("broken", True)
    assert f"Of {3 * n} labels in {n} audited trajectories {3 * n} were wrong" in promised.stop_reason
    job = Job.objects.get(kind="withdraw")
    assert GoldLabel.objects.filter(acceptance=promised).count() == n_labels
    flow.run_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.result["n_labels"]) == ("done", n_labels)
    assert not GoldLabel.objects.filter(provenance="certified").exists()
    slots = Assignment.objects.filter(trajectory__in=accepted)
    assert {(slot.status, slot.wanted_steps) for slot in slots} == {("open", None)}
    assert slots.count() == len(accepted)
    assert promised.audits.filter(n_wrong=None).exists()
    assert_no_audit_waits(alone)


def test_a_trajectory_with_a_judgement_out_or_a_dispute_is_no_audit_yet(db: None) -> None:
    world = make_world(overlap=2, max_overlap=2, asks_outcome=False)
    made = make_pool(world, 1)[0]
    promise = make_acceptance(world.project)
    audit = AcceptanceAudit.objects.create(acceptance=promise, trajectory=made, values=[1, None, -1])
    judge(made, world.annotator, [1, -1, 1])
    audit.refresh_from_db()
    assert audit.n_wrong is None
    judge(made, world.second, [1, 1, -1])
    audit.refresh_from_db()
    assert audit.n_wrong is None
    for dispute in Dispute.objects.order_by("step__index"):
        flow.decide(dispute, world.reviewer, DecisionIn(value=1, reason_code="misread"))
    assert [(one.n_wrong, one.n_taken) for one in promise.audits.all()] == [(1, 2)]


@pytest.mark.parametrize("reader", ["reviewer", "second", "admin"])
def test_what_was_judged_or_decided_after_reading_what_models_said_is_no_audit(db: None, reader: str) -> None:
    world = make_world(overlap=2, max_overlap=2, asks_outcome=False)
    made = make_pool(world, 1)[0]
    promise = make_acceptance(world.project)
    AcceptanceAudit.objects.create(acceptance=promise, trajectory=made, values=[1, None, -1])
    judge(made, world.annotator, [1, -1, 1])
    keep_reading(world.project, [made], world.user(reader))
    judge(made, world.second, [1, 1, 1])
    flow.decide(Dispute.objects.get(), world.reviewer, DecisionIn(value=1, reason_code="misread"))
    is_blind = reader == "admin"  # who has said nothing
    assert sample.doubtful([made.pk]) == (set() if is_blind else {made.pk})
    assert [one.n_wrong for one in promise.audits.all()] == [1 if is_blind else None]


def make_audit(world: World) -> AcceptanceAudit:
    """A trajectory whose slots ask for an audit, in a project that shows people what a model says."""
    made = make_pool(world, 1)[0]
    slots = list(Assignment.objects.filter(trajectory=made))
    for slot in slots:
        actions._to_audit(slot, 0.5).save()
    values = [-1, None, 1]
    return AcceptanceAudit.objects.create(acceptance=make_acceptance(world.project), trajectory=made, values=values)


def assert_no_audit_waits(world: World) -> None:
    slots = Assignment.objects.filter(project=world.project, status="open")
    assert set(slots.values_list("priority", "hint_arm", "no_hints")) == {(0.0, "", "")}


def test_audits_end_with_their_promise_and_only_later_rounds_cover_them(alone: World, promised: Acceptance) -> None:
    """What somebody has, let go or skipped stays blind, and no round gets it."""
    begun = SelectionRound.objects.get().created_at
    audits = [one.trajectory_id for one in in_turn(promised)]
    held, let_go, skipped = (
        queue.claim_next(alone.project, user) for user in (alone.annotator, alone.second, alone.admin)
    )
    assert held is not None
    assert let_go is not None
    assert skipped is not None
    queue.release_claim(let_go.pk, alone.second)
    queue.skip(skipped.pk, alone.admin, "I know the author.")
    assert [held.trajectory_id, let_go.trajectory_id, skipped.trajectory_id] == audits[:3]
    actions.stop(promised, withdraws=False, user=alone.admin)
    held.refresh_from_db()
    assert (held.status, held.annotator, held.hint_arm, held.no_hints) == (
        "claimed", alone.annotator, "blind", "random_sample"
    )  # fmt: skip
    slots = Assignment.objects.live().filter(trajectory__in=audits)
    assert {(slot.trajectory_id, slot.priority, slot.hint_arm, slot.wanted_steps) for slot in slots} == {
        (pk, 0.0, "blind" if pk in audits[:3] else "", None) for pk in audits
    }
    assert set(selection.untouched(alone.project).values_list("pk", flat=True)) == set(audits[3:])
    assert set(sample.candidates(alone.project).values_list("pk", flat=True)) == set(audits[3:])
    assert not sample.drawable_since(alone.project, begun).exists()
    assert set(sample.drawable_since(alone.project, now()).values_list("pk", flat=True)) == set(audits[3:])
    counts = sample.counts(alone.project)
    assert (counts.n_pool, counts.n_late) == (0, 7)


def test_an_audit_that_somebody_has_begun_ends_like_every_other_trajectory(db: None) -> None:
    """All its slots stay blind, none goes first, and what people differ about is escalated as usual."""
    world = make_world(overlap=2, max_overlap=3, asks_outcome=False)
    audit = make_audit(world)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    other = audit.trajectory.assignments.exclude(pk=slot.pk).get()
    actions.stop(audit.acceptance, withdraws=False, user=world.admin)
    assert [(one.status, one.priority, one.hint_arm) for one in audit.trajectory.assignments.order_by("pk")] == [
        ("claimed", 0.0, "blind"), ("open", 0.0, "blind")
    ]  # fmt: skip
    label(slot, world.annotator, dict(enumerate(TRUTH)))
    flow.submit(slot.pk, world.annotator)
    judge(audit.trajectory, world.second, [-1, -1, 1])
    spot = audit.trajectory.assignments.exclude(pk__in=[slot.pk, other.pk]).get()
    assert (spot.status, spot.priority, spot.wanted_steps) == ("open", 1.0, [0])


def test_an_audit_that_somebody_skips_stays_blind(db: None) -> None:
    world = make_world(overlap=1, max_overlap=1, asks_outcome=False, hint_policy={"hinted": 100, "model": "good"})
    audit = make_audit(world)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    queue.skip(slot.pk, world.annotator, "I know the author.")
    slot = queue.claim_next(world.project, world.second)
    assert slot is not None
    assert (slot.trajectory_id, slot.hint_arm, slot.no_hints) == (audit.trajectory_id, "blind", "random_sample")
    assert (slot.hint_version, slot.wanted_steps, slot.priority > 1) == (None, None, True)
    label(slot, world.second, dict(enumerate(TRUTH)))
    flow.submit(slot.pk, world.second)
    audit.refresh_from_db()
    assert audit.n_wrong == 1


def test_an_audit_that_was_not_judged_blind_is_not_counted(db: None) -> None:
    """Whoever was shown what the model says agrees with it too often; so it counts as what is not settled."""
    world = make_world(overlap=1, max_overlap=1, asks_outcome=False)
    audit = make_audit(world)
    version = world.project.model_versions.first()
    Assignment.objects.filter(trajectory=audit.trajectory).update(hint_arm="hinted", hint_version=version)
    judge(audit.trajectory, world.annotator, TRUTH)
    audit.refresh_from_db()
    assert (audit.n_wrong, audit.settled_at) == (None, None)
    found = actions.audited(audit.acceptance)
    assert (found.n_audits, found.n_settled, found.n_taken, found.n_wrong, found.evidence) == (1, 0, 0, 0, 0)


def test_an_admin_may_end_it_and_keep_or_take_back_the_labels(alone: World, promised: Acceptance) -> None:
    n_labels = promised.report["n_labels"]
    assert actions.stop(promised, withdraws=False, user=alone.admin) is None
    promised.refresh_from_db()
    assert promised.status == "stopped"
    assert "nobody audits them any longer" in promised.stop_reason
    assert GoldLabel.objects.filter(acceptance=promised).count() == n_labels
    refusal = (
        r"Nothing was changed: acceptance 1 is not in force \(stopped\)\. Its labels were kept; you can "
        r"still have them taken back\."
    )
    with pytest.raises(JobConflict, match=refusal):
        actions.stop(promised, withdraws=False, user=alone.admin)
    assert not Job.objects.filter(kind="withdraw").exists()
    assert judge_audits(alone, promised, [-1, 1, -1]) == 1
    assert promised.audits.filter(n_wrong__isnull=False).count() == 0


def test_labels_that_were_kept_can_be_taken_back_later(alone: World) -> None:
    trajectory = make_pool(alone, 1)[0]
    promise = make_acceptance(alone.project)
    for step in trajectory.steps.all():
        GoldLabel.objects.create(
            trajectory=trajectory, step=step, value=1, provenance="certified", acceptance=promise, settled_at=now()
        )
    Assignment.objects.all().delete()
    actions.stop(promise, withdraws=False, user=alone.admin)
    ended = Acceptance.objects.get().stopped_at
    assert list(releasable(alone.project)) == [trajectory]
    job = actions.stop(promise, withdraws=True, user=alone.admin)
    assert job is not None
    assert list(releasable(alone.project)) == []
    promise.refresh_from_db()
    assert (promise.status, promise.stopped_at) == ("stopped", ended)
    assert promise.stop_reason == "An admin ended it, kept its labels at first, and had them taken back later."
    event = AuditEvent.objects.get(action="acceptance.withdrawn")
    assert (event.user_id, event.data) == (alone.admin.pk, {"number": 1})
    for withdraws in (True, False):
        with pytest.raises(JobConflict, match=f"not in force .* Job {job.pk} takes its labels back. If that failed or"):
            actions.stop(promise, withdraws=withdraws, user=alone.admin)
    assert Job.objects.filter(kind="withdraw").count() == 1
    flow.run_job(job.pk)
    assert not GoldLabel.objects.exists()
    assert Assignment.objects.filter(trajectory=trajectory, status="open", wanted_steps=None).count() == 1


def test_a_withdrawal_that_is_cancelled_says_how_far_it_got(alone: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """People are asked about what it took back, and trying again takes back the rest."""
    promise = make_acceptance(alone.project)
    made = make_pool(alone, 5)
    for trajectory in made:
        for step in trajectory.steps.all():
            GoldLabel.objects.create(
                trajectory=trajectory, step=step, value=1, provenance="certified", acceptance=promise, settled_at=now()
            )
    Assignment.objects.all().delete()
    job = actions.stop(promise, withdraws=True, user=alone.admin)
    assert job is not None
    monkeypatch.setattr(actions, "WRITTEN_AT_ONCE", 2)
    withdraw = actions._withdraw

    def withdraw_and_cancel(*args: Any) -> int:
        jobs.cancel(job, user=alone.admin)
        return withdraw(*args)

    monkeypatch.setattr(actions, "_withdraw", withdraw_and_cancel)
    flow.run_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.n_done, job.n_total) == ("cancelled", 2, 5)
    assert GoldLabel.objects.filter(acceptance=promise).count() == 3 * 3
    assert set(Assignment.objects.values_list("trajectory", "status")) == {(one.pk, "open") for one in made[:2]}
    monkeypatch.setattr(actions, "_withdraw", withdraw)
    again = jobs.retry(job, user=alone.admin)
    flow.run_job(again.pk)
    again.refresh_from_db()
    assert (again.status, again.n_done, again.n_total, again.result["n_labels"]) == ("done", 3, 3, 9)
    assert Assignment.objects.filter(status="open", wanted_steps=None).count() == 5


def test_what_was_never_accepted_cannot_be_taken_back(alone: World) -> None:
    refused = make_acceptance(alone.project, status="refused", threshold=None)
    with pytest.raises(JobConflict, match=r"acceptance 1 is not in force \(no rule keeps the promise\)\.$"):
        actions.stop(refused, withdraws=True, user=alone.admin)
    working = make_acceptance(alone.project, status="working", threshold=None)
    with pytest.raises(JobConflict, match=rf"\(being tested\)\. Cancel its job, number {working.job_id}, to end it\."):
        actions.stop(working, withdraws=True, user=alone.admin)
    assert not Job.objects.filter(kind="withdraw").exists()


def test_what_was_begun_after_an_acceptance_gets_new_slots_when_it_is_taken_back(alone: World) -> None:
    world = alone
    make_pool(world, 160)
    draw(world, 110)
    part = Trajectory.objects.filter(annotations=None).first()
    assert part is not None
    promise = accept(world)
    chosen = GoldLabel.objects.filter(acceptance=promise).values_list("trajectory", flat=True)[0]
    GoldLabel.objects.filter(trajectory=chosen, step__index=2).delete()
    Assignment.objects.create(
        project=world.project, trajectory_id=chosen, slot=0, wanted_steps=[2], wants_outcome=False
    )
    trajectory = Trajectory.objects.get(pk=chosen)
    judge(trajectory, world.annotator, TRUTH)
    assert dict(trajectory.gold_labels.values_list("step__index", "provenance")) == {
        0: "certified", 1: "certified", 2: "unanimous"
    }  # fmt: skip
    job = actions.stop(promise, withdraws=True, user=world.admin)
    assert job is not None
    flow.run_job(job.pk)
    assert list(trajectory.gold_labels.values_list("step__index", flat=True)) == [2]
    slots = list(Assignment.objects.filter(trajectory=trajectory).order_by("slot"))
    assert [(slot.slot, slot.status, slot.wanted_steps) for slot in slots] == [
        (0, "submitted", [2]), (1, "open", [0, 1])
    ]  # fmt: skip
    judge(trajectory, world.second, [-1, -1, 1])
    assert dict(trajectory.gold_labels.values_list("step__index", "value")) == {0: -1, 1: -1, 2: 1}


def test_people_who_differ_about_an_accepted_step_take_its_label_away(db: None) -> None:
    world = make_world(overlap=2, max_overlap=2, asks_outcome=False)
    made = make_pool(world, 1)[0]
    promise = make_acceptance(world.project)
    for step in made.steps.all():
        GoldLabel.objects.create(
            trajectory=made,
            step=step,
            value=1,
            provenance="certified",
            acceptance=promise,
            settled_at=promise.created_at,
        )
    Assignment.objects.filter(trajectory=made).update(wanted_steps=[0, 1])
    judge(made, world.annotator, [1, -1, 1])
    judge(made, world.second, [1, 1, 1])
    rows = made.gold_labels.order_by("step__index").values_list("step__index", "provenance", "acceptance")
    assert [tuple(row) for row in rows.iterator()] == [(0, "unanimous", None), (2, "certified", promise.pk)]
    assert [dispute.step and dispute.step.index for dispute in Dispute.objects.all()] == [1]


def test_no_rule_holds_where_models_err_too_often(alone: World) -> None:
    make_pool(alone, 160, wrong_every=2)
    draw(alone, 110)
    promise = accept(alone, Terms(epsilon=0.01, delta=0.05))
    assert (promise.status, promise.threshold) == ("refused", None)
    assert not GoldLabel.objects.filter(provenance="certified").exists()
    assert not AcceptanceAudit.objects.exists()
    assert Assignment.objects.filter(status="open", wanted_steps=None, hint_arm="").count() == 50
    assert AuditEvent.objects.get(action="acceptance.refused").data == {"number": 1, "epsilon": 0.01}


def test_judgements_that_are_out_or_not_blind_count_as_wrong(alone: World) -> None:
    make_pool(alone, 160)
    picked = draw(alone, 110)
    hinted = alone.project.model_versions.first()
    Assignment.objects.filter(trajectory=picked[0]).update(hint_arm="hinted", hint_version=hinted)
    Assignment.objects.filter(trajectory=picked[1]).update(status="returned")
    found = sample.drawn(alone.project)
    assert [pk for pk, known in zip(found.ids, found.is_known, strict=True) if not known] == sorted(
        trajectory.pk for trajectory in picked[:2]
    )
    assert set(found.weights) == {1.0}
    assert found.probabilities.tolist() == [110 / 160] * 110


def test_all_errors_may_lie_in_what_is_left_to_accept(alone: World, promised: Acceptance) -> None:
    """101 of 160 could be tested on, 50 of them are left: a label in the sample is worth that share of the promise."""
    sampled = promised.report["sample"]
    for one in promised.report["tried"]:
        each = one["n_labels"] // 50
        assert (one["n_taken"], one["n_labels"]) == (sampled["n_tested"] * each, 50 * each)
        gain = 0.2 * 50 / (160 - sampled["n_learnt"]) * each
        assert one["evidence"] == pytest.approx(log_wealth(np.full(51, gain), each), abs=1e-4)


def test_what_was_judged_in_sight_of_a_model_or_given_back_is_wrong_in_the_test(alone: World) -> None:
    make_pool(alone, 160)
    draw(alone, 110)
    drawn = sample.drawn(alone.project)
    test = np.setdiff1d(np.arange(110), to_learn_from(drawn.chances, 0))
    hinted, returned = drawn.ids[test[0]], drawn.ids[test[1]]
    version = alone.project.model_versions.first()
    Assignment.objects.filter(trajectory=hinted).update(hint_arm="hinted", hint_version=version)
    Assignment.objects.filter(trajectory=returned).update(status="returned")
    promise = accept(alone)
    assert promise.report["sample"]["n_unknown"] == 2
    for one in promise.report["tried"]:
        each = one["n_taken"] // len(test)
        assert one["n_wrong"] == 2 * each > 0


def test_another_try_is_no_other_test(alone: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is drawn by chance at the start, the same trajectories test; with a larger sample these and others."""
    make_pool(alone, 270)
    tested: list[set[int]] = []

    def remember(panel: Panel, seed: int = 0) -> Any:
        drawn = sample.drawn(alone.project)
        ids = reading.read(alone.project, sample.heard(alone.project, drawn), as_said=True).ids
        learnt = {ids[i] for i in np.flatnonzero(panel.has_gold)}
        tested.append(set(drawn.ids) - learnt)
        raise RuntimeError("This is all that is asked here.")

    monkeypatch.setattr("annotator.fusion.fit.fit", remember)
    seeds = iter(range(100))
    monkeypatch.setattr("secrets.randbits", lambda _: next(seeds))
    for n_more in (130, 0, 30, 90):
        if n_more:
            draw(alone, n_more)
        job = actions.start(alone.project, TERMS, user=alone.admin)
        with pytest.raises(RuntimeError, match="all that is asked"):
            flow.run_job(job.pk)
    assert tested[0] == tested[1] < tested[2] < tested[3]
    assert [len(some) for some in tested] == [55, 55, 73, 150]


def test_what_waits_by_chance_and_what_came_later_is_not_accepted(alone: World) -> None:
    make_pool(alone, 160)
    draw(alone, 110)
    late = make_pool(alone, 3)
    policy = {"n_wanted": 5, "shares": {"random": 100}}
    change_settings(alone.project, {"selection_policy": policy}, user=alone.admin)
    job = selection.start(alone.project, user=alone.admin)
    flow.run_job(job.pk)
    waiting = {pick.trajectory_id for pick in SelectionRound.objects.get(job=job).picks.all()}
    promise = accept(alone)
    touched = set(GoldLabel.objects.filter(acceptance=promise).values_list("trajectory", flat=True))
    touched |= {audit.trajectory_id for audit in promise.audits.all()}
    assert touched
    assert not touched & (waiting | {trajectory.pk for trajectory in late})


def test_what_came_after_the_sample_is_refused_until_a_new_sample_tests_it(alone: World) -> None:
    make_pool(alone, 110)
    draw(alone, 110)
    make_pool(alone, 150)
    found = sample.counts(alone.project)
    assert (found.n_drawn, found.n_pool, found.n_late, found.since) == (110, 0, 150, None)
    with pytest.raises(InvalidInput, match=r"There is nothing to accept: the 150 that .* came into the queue after"):
        actions.start(alone.project, TERMS, user=alone.admin)
    assert not Acceptance.objects.exists()
    draw(alone, 49)
    found = sample.counts(alone.project)
    assert (found.n_drawn, found.n_pool, found.n_late, found.since) == (159, 0, 101, None)
    second = draw(alone, 51)  # what it can draw had been there for the round before: it belongs to that
    found = sample.counts(alone.project)
    assert (found.n_drawn, found.n_elsewhere, found.n_learnt) == (100, 110, 0)
    assert (found.n_pool, found.n_late, found.since, found.missing) == (50, 0, 2, "")
    assert {trajectory.pk for trajectory in second} < set(sample.drawn(alone.project).ids)
    later = make_pool(alone, 7)
    assert (sample.counts(alone.project).n_pool, sample.counts(alone.project).n_late) == (50, 7)
    at = [now()]
    assert sample._in_queue_before(alone.project, at).tolist() == [267]
    promise = accept(alone)
    assert promise.status == "active"
    assert promise.report["n_trajectories"] == 40
    assert sample._in_queue_before(alone.project, at).tolist() == [267]  # though 40 have left it
    assert promise.report["sample"] == {
        "since": 2, "n_drawn": 100, "n_learnt": 0, "n_tested": 100, "n_unknown": 0, "n_gold": 110
    }  # fmt: skip
    assert promise.report["pool"]["n_trajectories"] == 50
    for one in promise.report["tried"]:
        each = one["n_labels"] // 50
        gains = 0.2 * 50 * each / np.repeat([150, 101], [49, 51])  # 150 and 101 could be drawn, 50 are left
        assert one["evidence"] == pytest.approx(log_wealth(gains, each), abs=1e-4)
    labels = GoldLabel.objects.filter(acceptance=promise)
    assert not set(labels.values_list("trajectory", flat=True)) & {trajectory.pk for trajectory in later}


def test_a_pool_that_is_gone_when_the_worker_comes_fails_with_the_reason(alone: World) -> None:
    make_pool(alone, 115)
    draw(alone, 110)
    job = actions.start(alone.project, TERMS, user=alone.admin)
    for trajectory in alone.project.trajectories.filter(annotations=None):
        judge(trajectory, alone.annotator, TRUTH)
    make_pool(alone, 3)
    flow.run_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.error[:45]) == ("failed", "There is nothing to accept: the 3 that models")
    assert not GoldLabel.objects.filter(provenance="certified").exists()


def test_what_was_taken_back_whole_is_not_covered_by_rounds_that_were_drawn_meanwhile(alone: World) -> None:
    """It left the queue while the promise was in force, so no sample of the second round speaks of it."""
    make_pool(alone, 160)
    draw(alone, 110)
    unsure = make_unsure(alone, 60)
    first = accept(alone, Terms(epsilon=0.2, delta=0.2, audit_share=0.02))
    whole = rest_of(alone.project) - set(Assignment.objects.filter(status="open").values_list("trajectory", flat=True))
    assert len(whole) == 40
    in_second = {trajectory.pk for trajectory in draw(alone, 40)}
    assert in_second < unsure
    job = actions.stop(first, withdraws=True, user=alone.admin)
    assert job is not None
    flow.run_job(job.pk)
    assert Assignment.objects.filter(trajectory__in=whole, status="open").count() == 40

    drawn = sample.drawn(alone.project)
    read = reading.read(alone.project, sample.heard(alone.project, drawn), as_said=True)
    pool = proof._Pool.of(alone.project, read, drawn, set())
    ids = np.array(read.ids)
    assert not whole & set(ids[pool.is_left].tolist())
    # Of what the first round could draw nothing is missing: its errors may be anywhere in there.
    assert whole <= set(ids[pool.could_be[0]].tolist())
    assert not sample.drawable_since(alone.project, min(drawn.begun)).filter(pk__in=whole).exists()
    after = SelectionRound.objects.latest("pk").created_at
    assert not sample.drawable_since(alone.project, after).filter(pk__in=whole).exists()
    assert set(sample.drawable_since(alone.project, now()).values_list("pk", flat=True)) >= whole
    # A round of which they are the most begins a new sample.
    draw(alone, 50)
    found = sample.counts(alone.project)
    assert (found.since, found.n_drawn, found.n_late, found.missing) == (3, 50, 0, "")
    assert found.n_pool == selection.untouched(alone.project).count() == 20


def test_what_somebody_held_and_skipped_is_covered_by_no_promise(db: None) -> None:
    """The slot that took its place keeps the arm that was drawn, so that no later round can draw it either."""
    world = make_world(overlap=2, max_overlap=2, asks_outcome=False)
    held, free = make_pool(world, 2)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    assert slot.trajectory_id == held.pk
    queue.skip(slot.pk, world.annotator, "I know the author.")
    assert list(sample.candidates(world.project)) == list(sample.drawable_since(world.project, now())) == [free]
    assert list(selection.untouched(world.project)) == [free]


def test_the_projects_own_scorer_and_who_says_nothing_are_not_heard(alone: World) -> None:
    made = make_pool(alone, 60)
    for trajectory in made:
        predict(trajectory, TRUTH, model="own", kind="scorer")
        predict(trajectory, [None] * 3, model="mute")
    predict(made[0], TRUTH, model="rare")
    draw(alone, 20)
    assert [version.name for version in sample.heard(alone.project, sample.drawn(alone.project))] == ["fair", "good"]
    assert not LearningPoint.objects.exists()
    # Nor is a trajectory there to accept of which one that is heard says nothing.
    further = make_trajectory(alone.project)
    predict(further, TRUTH, model="good")
    predict(further, [None] * 3, model="fair")
    found = sample.counts(alone.project)
    assert found.n_pool + found.n_late == 40


def test_what_cannot_start_is_refused_and_changes_nothing(alone: World) -> None:
    make_pool(alone, 30)
    with pytest.raises(InvalidInput, match=r"There are 0, of which 0 can be spared for the test; it needs 50 at least"):
        actions.start(alone.project, TERMS, user=alone.admin)
    stopping = make_world("stopping", label_scheme={"mode": "stop_at_first_error"})
    with pytest.raises(InvalidInput, match="this project stops at the first error"):
        actions.start(stopping.project, TERMS, user=stopping.admin)
    assert not Acceptance.objects.exists()
    assert not Job.objects.filter(kind="accept").exists()


def test_where_nothing_is_left_to_accept_the_true_reason_is_said(alone: World, promised: Acceptance) -> None:
    with pytest.raises(
        InvalidInput, match="has been begun by somebody, is accepted or in an audit already, or waits as"
    ):
        actions.start(alone.project, TERMS, user=alone.admin)
    for name in ("good", "fair"):  # newer versions have rated nothing yet
        ModelVersion.objects.create(project=alone.project, kind="judge", name=name, number=2, config_sha256="new")
    with pytest.raises(InvalidInput, match="no model has rated 95 % of the sample, so none is heard"):
        actions.start(alone.project, TERMS, user=alone.admin)
    assert Acceptance.objects.get() == promised


def test_after_a_broken_promise_only_what_is_drawn_since_tests_the_next(alone: World) -> None:
    make_pool(alone, 180)
    draw(alone, 110)
    assert (sample.counts(alone.project).n_drawn, sample.counts(alone.project).missing) == (110, "")
    make_acceptance(alone.project, status="stopped", stopped_at=now())
    assert sample.counts(alone.project).n_drawn == 110
    make_acceptance(alone.project, status="broken", stopped_at=now())
    refusal = (
        r"drew at random, after the audit broke acceptance 2, and people judged blind\. There are 0, of which 0 can be "
        r"spared for the test; it needs 50 at least\."
    )
    with pytest.raises(InvalidInput, match=refusal):
        actions.start(alone.project, TERMS, user=alone.admin)
    assert (Acceptance.objects.count(), Job.objects.filter(kind="accept", params={}, result={}).count()) == (2, 0)
    since = {trajectory.pk for trajectory in draw(alone, 55)}
    found = sample.counts(alone.project)
    # The earlier sample is gold to learn from.
    assert (found.n_drawn, found.n_learnt, found.n_elsewhere, found.missing) == (55, 0, 110, "")
    assert set(sample.drawn(alone.project).ids) == since
    actions.start(alone.project, TERMS, user=alone.admin)
    assert Acceptance.objects.filter(number=3, status="working").exists()


def test_only_one_is_under_way_and_a_lost_one_gives_way(alone: World) -> None:
    make_pool(alone, 130)
    draw(alone, 110)
    job = actions.start(alone.project, TERMS, user=alone.admin)
    with pytest.raises(JobConflict, match=f"acceptance 1 has not ended yet. Its job is number {job.pk}"):
        actions.start(alone.project, TERMS, user=alone.admin)
    jobs.cancel(job, user=alone.admin)
    actions.start(alone.project, TERMS, user=alone.admin)
    assert list(Acceptance.objects.values_list("number", "status")) == [(1, "stopped"), (2, "working")]


def test_one_whose_worker_died_too_often_is_ended_by_the_beat(alone: World) -> None:
    """Its labels go back to people, and none of them was ever in a release."""
    trajectory = make_pool(alone, 1)[0]
    promise = make_acceptance(alone.project, status="working", threshold=None)
    for step in trajectory.steps.all():
        GoldLabel.objects.create(
            trajectory=trajectory, step=step, value=1, provenance="certified", acceptance=promise, settled_at=now()
        )
    long_ago = now() - timedelta(days=1)
    about = {"status": "running", "heartbeat_at": long_ago, "params": {"n_deaths": jobs.MOST_DEATHS - 1}}
    Job.objects.filter(pk=promise.job_id).update(**about)
    assert not releasable(alone.project).exists()
    flow.recover_jobs()
    promise.refresh_from_db()
    assert (promise.job.status, promise.status) == ("failed", "stopped")
    assert promise.stop_reason == "Its job failed. Nothing stays accepted."
    assert not GoldLabel.objects.exists()


def test_a_cancelled_acceptance_takes_back_what_it_had_written(alone: World, monkeypatch: pytest.MonkeyPatch) -> None:
    make_pool(alone, 160)
    draw(alone, 110)
    monkeypatch.setattr(actions, "WRITTEN_AT_ONCE", 10)
    job = actions.start(alone.project, TERMS, user=alone.admin)
    report = jobs.report

    def cancel_midway(job: Job, n_done: int, n_total: int | None = None) -> None:
        if n_done == 20:
            assert GoldLabel.objects.filter(provenance="certified").exists()
            jobs.cancel(job, user=alone.admin)
        report(job, n_done, n_total)

    monkeypatch.setattr(jobs, "report", cancel_midway)
    flow.run_job(job.pk)
    job.refresh_from_db()
    promise = Acceptance.objects.get()
    assert (job.status, promise.status) == ("cancelled", "stopped")
    assert promise.stop_reason == "Its job was cancelled. Nothing stays accepted."
    assert not GoldLabel.objects.filter(provenance="certified").exists()
    assert Assignment.objects.filter(status="open", wanted_steps=None).count() == 50
    assert promise.audits.exists()
    assert_no_audit_waits(alone)
    assert selection.untouched(alone.project).count() == 50


def test_a_worker_that_takes_over_goes_on_with_the_same_rule(alone: World, monkeypatch: pytest.MonkeyPatch) -> None:
    make_pool(alone, 160)
    draw(alone, 110)
    monkeypatch.setattr(actions, "WRITTEN_AT_ONCE", 10)
    job = actions.start(alone.project, TERMS, user=alone.admin)
    write, n_calls = actions._write, 0

    def die(*args: object) -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 3:
            raise KeyboardInterrupt
        write(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(actions, "_write", die)
    with pytest.raises(KeyboardInterrupt):
        flow.run_job(job.pk)
    before = Acceptance.objects.get()
    n_before = GoldLabel.objects.filter(acceptance=before).count()
    assert (before.status, n_before > 0) == ("working", True)
    early = before.audits.first()
    assert early is not None
    judge(early.trajectory, alone.annotator, [-1, 1, -1])
    monkeypatch.setattr(actions, "_write", write)
    Job.objects.filter(pk=job.pk).update(status="queued")
    flow.run_job(job.pk)
    promise = Acceptance.objects.get()
    assert (promise.status, promise.threshold) == ("active", before.threshold)
    labels = GoldLabel.objects.filter(acceptance=promise)
    covered = set(labels.values_list("trajectory", flat=True)) | {a.trajectory_id for a in promise.audits.all()}
    assert covered == rest_of(alone.project) | {early.trajectory_id}
    assert promise.report["n_labels"] == labels.count() > n_before
    early.refresh_from_db()
    assert early.n_wrong == 3  # judged while the rest was being written


@pytest.mark.django_db(transaction=True)
def test_a_trajectory_that_somebody_is_claiming_is_left_to_them() -> None:
    """The claim has its row but has not committed when the labels are written; nobody waits, and nothing is lost."""
    world = make_world(overlap=1, max_overlap=1, asks_outcome=False)
    make_pool(world, 160)
    draw(world, 110)
    job = actions.start(world.project, TERMS, user=world.admin)

    def accept_beside() -> None:
        try:
            flow.run_job(job.pk)
        finally:
            connection.close()

    with transaction.atomic():
        slot = queue.claim_next(world.project, world.annotator)
        assert slot is not None
        beside = threading.Thread(target=accept_beside)
        beside.start()
        beside.join(60)
        assert not beside.is_alive()
    promise = Acceptance.objects.get()
    assert promise.status == "active"
    assert promise.report["n_trajectories"] + promise.report["n_audits"] == 49
    slot.refresh_from_db()
    assert (slot.status, slot.wanted_steps, slot.annotator) == ("claimed", None, world.annotator)
    judge_values = label(slot, world.annotator, dict(enumerate(TRUTH)))
    flow.submit(slot.pk, world.annotator)
    rows = GoldLabel.objects.filter(trajectory=judge_values.trajectory_id)
    assert {row.provenance for row in rows} == {"unanimous"}


@pytest.mark.django_db(transaction=True)
def test_a_release_names_the_promises_behind_it() -> None:
    world = make_world(overlap=1, max_overlap=1, asks_outcome=False)
    trajectory = make_pool(world, 1)[0]
    promise = make_acceptance(world.project, most_each=3)
    for step in trajectory.steps.all():
        GoldLabel.objects.create(
            trajectory=trajectory, step=step, value=1, provenance="certified", acceptance=promise, settled_at=now()
        )
    make_acceptance(world.project)  # that has no label left
    terms = {"number": 1, "status": "active", "epsilon": 0.05, "delta": 0.1, "threshold": 0.9, "most_each": 3}
    release = releases.begin(world.project, ReleasePolicy(provenances=["certified"]), user=world.admin)
    releases.freeze_rows(release)
    assert release.manifest["acceptances"] == [terms]
    file = BytesIO()
    export(release, "provenance", file)
    assert [(step["provenance"], step["acceptance"]) for step in json.loads(file.getvalue())["steps"]] == [
        ("certified", 1)
    ] * 3
    actions.stop(promise, withdraws=False, user=world.admin)
    later = releases.begin(world.project, ReleasePolicy(provenances=["certified"]), user=world.admin)
    releases.freeze_rows(later)
    assert later.manifest["acceptances"] == [terms | {"status": "stopped"}]
    judge(make_pool(world, 1)[0], world.annotator, TRUTH)
    without = releases.begin(world.project, ReleasePolicy(provenances=["unanimous"]), user=world.admin)
    releases.freeze_rows(without)
    assert "acceptances" not in without.manifest
    file = BytesIO()
    export(without, "provenance", file)
    assert [step.get("acceptance") for step in json.loads(file.getvalue())["steps"]] == [None] * 3
    lines = list(csv_lines(TABLES["gold-labels"], world.project))
    at = lines[0].strip().split(",").index("acceptance")
    assert sorted(line.split(",")[at] for line in lines[1:]) == ["", "", "", "1", "1", "1"]
