import pytest
from django.apps import apps
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.models import Count

from annotator import demo, flow
from annotator.models import (
    Adjudication,
    Assignment,
    AuditEvent,
    Dispute,
    GoldLabel,
    Job,
    Membership,
    Prediction,
    Project,
    Release,
    Review,
    Trajectory,
    User,
)
from annotator.queue import actions as queue

pytestmark = pytest.mark.django_db(transaction=True)  # publishing needs a transaction of its own


def count_everything() -> dict[str, int]:
    return {model._meta.label: model._default_manager.count() for model in apps.get_models()}


def test_the_demo_has_something_on_every_page(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("seed_demo")
    assert capsys.readouterr() == ("", "")
    project = Project.objects.get()
    assert (project.slug, project.overlap, project.max_overlap) == ("demo", 2, 2)
    assert project.guidelines.get().text.startswith("# ")
    assert project.trajectories.count() == 17
    assert Dispute.objects.undecided().count() == 5
    assert Adjudication.objects.get().dispute.trajectory.external_id == "sample-search-04"
    assert sorted(Review.objects.values_list("status", flat=True)) == ["done", "open", "open", "open", "open"]
    assert set(GoldLabel.objects.values_list("provenance", flat=True)) == {"unanimous", "adjudicated"}
    assert Release.objects.get().manifest["counts"]["n_trajectories"] == 3
    assert sorted(Job.objects.values_list("kind", "status")) == [
        ("fuse", "queued"),  # for a worker
        ("import", "done"),
        ("import_predictions", "done"),
        ("import_predictions", "done"),
        ("prelabel", "queued"),  # for a worker
        ("publish", "done"),
    ]
    said = Prediction.objects.values_list("version__name").annotate(n=Count("pk")).order_by("version__name")
    assert list(said) == [("careful-judge", 16), ("hasty-judge", 16)]


def test_the_three_accounts_can_sign_in_and_the_invented_annotators_cannot() -> None:
    call_command("seed_demo")
    for username, password, role in demo.ACCOUNTS:
        user = authenticate(username=username, password=password)
        assert isinstance(user, User)
        assert Membership.objects.get(user=user).role == role
        assert not user.is_staff
    assert [User.objects.get(username=name).has_usable_password() for name in ("mira", "jonas")] == [False, False]


def test_the_demo_annotator_starts_with_a_short_trajectory_and_has_plenty_left() -> None:
    call_command("seed_demo")
    annotator = User.objects.get(username="annotator")
    left = Assignment.objects.claimable_by(annotator).values("trajectory").distinct().count()
    assert left == 10
    slot = queue.claim_next(Project.objects.get(), annotator)
    assert slot is not None
    assert slot.trajectory.external_id == "sample-search-02"
    assert slot.trajectory.n_steps == 4


def test_seeding_again_changes_nothing() -> None:
    call_command("seed_demo")
    before, last_event = count_everything(), AuditEvent.objects.latest("id")
    call_command("seed_demo")
    assert count_everything() == before
    assert AuditEvent.objects.latest("id") == last_event


def test_seeding_leaves_what_people_have_changed() -> None:
    call_command("seed_demo")
    annotator = User.objects.get(username="annotator")
    annotator.set_password("something else")
    annotator.save()
    Membership.objects.filter(user=annotator).update(role="reviewer")
    slot = queue.claim_next(Project.objects.get(), annotator)
    call_command("seed_demo")
    assert authenticate(username="annotator", password="something else") == annotator
    assert Membership.objects.get(user=annotator).role == "reviewer"
    assert slot is not None
    with transaction.atomic():
        assert queue.hold(slot.pk, annotator) == slot


def test_a_seeding_that_was_stopped_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    submit, n_submitted = flow.submit, 0

    def stop_at_the_fifth(assignment_id: int, annotator: User) -> None:
        nonlocal n_submitted
        n_submitted += 1
        if n_submitted == 5:
            raise KeyboardInterrupt
        submit(assignment_id, annotator)

    monkeypatch.setattr(flow, "submit", stop_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        call_command("seed_demo")
    assert Assignment.objects.filter(status="submitted").count() == 4
    assert not Assignment.objects.filter(status="claimed").exists()
    monkeypatch.undo()
    call_command("seed_demo")
    assert Assignment.objects.filter(status="submitted").count() == 16
    assert Trajectory.objects.count() == 17
    assert Release.objects.count() == 1


def test_a_part_that_fails_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annotator.demo._label", lambda project, judgements: None)
    with pytest.raises(CommandError, match="The demo is incomplete, because its release failed: There is nothing"):
        call_command("seed_demo")


def test_the_published_passwords_can_be_taken_away_and_changed_ones_stay() -> None:
    call_command("seed_demo")
    changed = User.objects.get(username="admin")
    changed.set_password("only we know this")
    changed.save()
    demo.close_accounts()
    for username, password, _ in demo.ACCOUNTS:
        assert authenticate(username=username, password=password) is None
    assert authenticate(username="admin", password="only we know this") == changed
