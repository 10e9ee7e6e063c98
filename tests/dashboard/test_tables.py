"""Every table as CSV and JSON."""

import csv
import io
import json
from typing import Any

import pytest
from django.apps import apps
from django.test import Client

from annotator import flow
from annotator.adjudication.actions import DecisionIn
from annotator.dashboard.tables import PIECE_CHARACTERS, TABLES, cell, in_pieces
from annotator.importing import uploads
from annotator.labelling.revisions import comment, return_annotation
from annotator.models import (
    AcceptanceAudit,
    Calibration,
    Dispute,
    Fusion,
    Job,
    LearningPoint,
    LoginAttempt,
    Membership,
    ModelVersion,
    Posterior,
    PrelabelTarget,
    ReferenceLabel,
    ReleaseRow,
    SelectionPick,
    SelectionRound,
    Trajectory,
    UploadChunk,
    User,
)
from annotator.prelabelling import actions as prelabelling
from annotator.prelabelling.actions import Selection
from annotator.prelabelling.rules_config import RulesConfig
from annotator.projects import invitations
from annotator.releases.policy import ReleasePolicy
from tests.factories import PASSWORD, World, judge, make_acceptance, make_trajectory, make_world


def fill(world: World) -> None:
    """Something in every table."""
    settled, disputed = (make_trajectory(world.project, n_steps=2) for _ in range(2))
    for annotator in (world.annotator, world.second):
        judge(settled, annotator, [1, 0])
    judge(disputed, world.annotator, [1, 1])
    late = judge(disputed, world.second, [1, -1])
    dispute = Dispute.objects.get(trajectory=disputed)
    flow.decide(dispute, world.reviewer, DecisionIn(value=1, reason_code="slip", note="=HYPERLINK(1)"))
    comment(late, disputed.steps.first(), world.reviewer, "Why?", project_id=world.project.pk)
    ReferenceLabel.objects.create(trajectory=settled, step=settled.steps.first(), value=-1)
    invitations.invite(world.project, Membership.Role.ANNOTATOR, "For Kim", user=world.admin)
    uploads.store(world.project, "runs.jsonl", [b"{}"], user=world.admin)
    flow.publish(world.project, ReleasePolicy(), user=world.admin)
    said = json.dumps({"record_id": settled.external_id, "step_labels": {"2": 1}}).encode()
    flow.import_predictions_now(world.project, io.BytesIO(said), "judge.jsonl", model="judge")
    run = prelabelling.start(world.project, RulesConfig(), Selection(limit=1), estimate={}, user=world.admin)
    version = ModelVersion.objects.get(project=world.project)
    PrelabelTarget.objects.create(run=run, trajectory=settled)
    Calibration.objects.create(
        version=version, method="temperature", parameters={"temperature": 2.0}, n_trajectories=25, n_steps=50, report={}
    )
    LearningPoint.objects.create(
        project=world.project, version=version, n_trajectories=40, n_steps=130, effort_seconds=900, metrics={}, facts={}
    )
    believed(world, settled)
    return_annotation(late.pk, world.reviewer, "Look at step 2 again.")


def believed(world: World, trajectory: Trajectory) -> None:
    """A fusion, what it believes, a promise on it, and a round that chose by it."""
    project = world.project
    fuse, select = (Job.objects.create(project=project, kind=kind, unit="trajectories") for kind in ("fuse", "select"))
    fusion = Fusion.objects.create(
        project=project, job=fuse, number=1, method="chain", reason="Because.", parameters=b"", refresh={}, report={},
        n_trajectories=1, n_steps=2, data_sha256="a" * 64, code_version="1",
    )  # fmt: skip
    Posterior.objects.create(
        trajectory=trajectory, project=project, fusion=fusion, evidence=[[0.1, 0.2, 0.7]] * 2,
        probs=[[0.1, 0.2, 0.7]] * 2, first_error=[0.1, 0.1, 0.8], expected_errors=0.6, mean_entropy=0.8,
        first_error_entropy=0.5, disagreement=0.0,
    )  # fmt: skip
    AcceptanceAudit.objects.create(acceptance=make_acceptance(project), trajectory=trajectory, values=[1, None])
    chosen = SelectionRound.objects.create(
        project=project, job=select, number=1, unit="trajectories", settings={}, seed=1, is_open=False
    )
    SelectionPick.objects.create(round=chosen, trajectory=trajectory, rank=0, strategy="random", reason="By chance.")


def download(client: Client, name: str, format: str) -> str:
    response = client.get(f"/projects/demo/data/{name}.{format}")
    assert response.status_code == 200
    assert response["Content-Disposition"] == f'attachment; filename="demo-{name}.{format}"'
    return response.getvalue().decode()


def rows_of(client: Client, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(download(client, name, "json"))
    return rows


def test_both_formats_hold_the_same_rows_of_this_project_only(client: Client, transactional_db: None) -> None:
    world, other = make_world(), make_world("other")
    fill(world)
    client.force_login(world.admin)
    alone = {name: rows_of(client, name) for name in TABLES}
    fill(other)
    assert all(alone.values())
    for name, table in TABLES.items():
        assert rows_of(client, name) == alone[name]
        sheet = list(csv.DictReader(io.StringIO(download(client, name, "csv"))))
        assert [row["id"] for row in sheet] == [str(row["id"]) for row in alone[name]]
        assert list(sheet[0]) == list(table.columns)
    everything = json.dumps(alone)
    for secret in (world.admin.password, PASSWORD, "@example", "pbkdf2", "sha256$"):
        assert secret not in everything
    assert alone["trajectories"][0]["messages"][0]["role"] == "system"
    assert [row["value"] for row in alone["labels"]][:3] == [1, 0, 1]


def test_a_formula_from_people_is_text_in_csv(client: Client, world: World) -> None:
    make_trajectory(world.project, external_id="=1+1", instruction="@SUM(A1)", outcome=-1.5)
    client.force_login(world.admin)
    row = next(csv.DictReader(io.StringIO(download(client, "trajectories", "csv"))))
    assert (row["external_id"], row["instruction"], row["outcome"]) == ("'=1+1", "'@SUM(A1)", "-1.5")
    assert rows_of(client, "trajectories")[0]["external_id"] == "=1+1"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (-1, -1),
        (0.5, 0.5),
        (None, ""),
        (True, "true"),
        ("-1", "'-1"),
        ("+x", "'+x"),
        ("\t=1", "'\t=1"),
        ("a=1", "a=1"),
        ({"a": [1]}, '{"a": [1]}'),
        ([], "[]"),
    ],
    ids=repr,
)
def test_a_cell_is_safe_and_numbers_stay_numbers(value: object, expected: object) -> None:
    assert cell(value) == expected
    assert type(cell(value)) is type(expected)


def test_an_empty_table_is_an_empty_list(client: Client, world: World) -> None:
    client.force_login(world.admin)
    assert rows_of(client, "releases") == []
    assert download(client, "disputes", "csv") == "id,trajectory,step,severity,created_at,decided_at\r\n"


def test_an_invitation_is_listed_without_its_secret(client: Client, world: World) -> None:
    invitation, secret = invitations.invite(world.project, Membership.Role.ANNOTATOR, "For Kim", user=world.admin)
    client.force_login(world.admin)
    (row,) = rows_of(client, "invitations")
    assert (row["role"], row["note"], row["created_by"]) == ("annotator", "For Kim", world.admin.username)
    for text in (json.dumps(row), download(client, "audit-events", "json")):
        assert secret not in text
        assert invitation.secret_sha256 not in text


def test_every_model_with_rows_of_a_project_is_a_table(world: World) -> None:
    listed = {table.rows(world.project).model for table in TABLES.values()}
    # People and their attempts to sign in belong to no project; a release has its rows on its own page.
    assert set(apps.get_app_config("annotator").get_models()) - listed == {User, LoginAttempt, ReleaseRow, UploadChunk}


@pytest.mark.parametrize("name", ["users.csv", "labels.xml", "login-attempts.json"])
def test_what_is_no_table_is_not_found(client: Client, world: World, name: str) -> None:
    client.force_login(world.admin)
    assert client.get(f"/projects/demo/data/{name}").status_code == 404


def test_short_lines_go_out_together(client: Client, world: World) -> None:
    make_trajectory(world.project, n_steps=300)
    client.force_login(world.admin)
    response = client.get("/projects/demo/data/steps.json")
    pieces = list(response)
    assert len(pieces) == 1
    assert len(json.loads(pieces[0])) == 300


def test_pieces_are_the_same_text() -> None:
    lines = [f"{number}," + "x" * 1000 + "\n" for number in range(200)]
    pieces = list(in_pieces(iter(lines)))
    assert "".join(pieces) == "".join(lines)
    assert len(pieces) == 4
    assert all(len(piece) < PIECE_CHARACTERS + 1010 for piece in pieces)
