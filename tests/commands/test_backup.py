"""`backup` and `restore`: every row comes back, a damaged archive changes nothing, and final rows are final again."""

import fcntl
import io
import json
import zipfile
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client
from knox.models import AuthToken

from annotator import audit, backup, flow
from annotator.adjudication.actions import DecisionIn
from annotator.importing import uploads
from annotator.models import AuditEvent, Dispute, Job, Label, Project, Release, ReleaseRow, User
from annotator.releases.policy import ReleasePolicy
from tests.commands.processes import manage
from tests.factories import PASSWORD, World, judge, label, make_messages, make_trajectory, make_world

pytestmark = pytest.mark.django_db(transaction=True)  # the snapshot and the restore are transactions of their own

Rows = dict[str, list[str]]
AWKWARD = 'tab\t newline\n return\r backslash \\N \\. null quote " é 漢 \U0001f600'


@pytest.fixture(autouse=True)
def _alone(transactional_db: None) -> None:
    """The live server of browser tests keeps connections for its next request, and opens new ones if they are gone."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.fixture
def world(transactional_db: None) -> World:
    """Something in every stage: a draft, submitted labels, a decided dispute, a release, an upload, a token."""
    world = make_world()
    trajectory = make_trajectory(world.project, metadata={"note": AWKWARD}, outcome=0.1)
    judge(trajectory, world.annotator, [1, 0, -1])
    judge(trajectory, world.second, [1, -1, -1])
    for dispute in Dispute.objects.all():
        flow.decide(dispute, world.reviewer, DecisionIn(value=-1, reason_code="slip", note=AWKWARD))
    assert flow.publish(world.project, ReleasePolicy(), user=world.admin).status == Job.Status.DONE
    drafted = make_trajectory(world.project, messages=make_messages(2, unique="draft"))
    label(drafted.assignments.all()[0], world.annotator, {0: 1})
    line = json.dumps({"messages": make_messages(2, unique="waiting")}).encode()
    uploads.store(world.project, "waiting.jsonl", [line, b"\n", bytes(range(256))], user=world.admin)
    return world


@pytest.fixture
def archive(world: World, tmp_path: Path) -> Path:
    path = tmp_path / "stepmark.zip"
    assert call_backup(path) == str(path)
    return path


def call_backup(path: Path) -> str:
    printed = io.StringIO()
    call_command("backup", str(path), stdout=printed)
    return printed.getvalue().removesuffix("\n")


def everything() -> Rows:
    """Every row of every table, as PostgreSQL writes it."""
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        rows = {}
        for table in tables:
            cursor.execute(f'SELECT t::text FROM "{table}" t ORDER BY 1')
            rows[table] = [row for (row,) in cursor.fetchall()]
    return rows


def empty() -> None:
    call_command("flush", interactive=False, verbosity=0)


def refusal(*arguments: str) -> str:
    with pytest.raises(CommandError) as refused:
        call_command(*arguments)
    return str(refused.value)


def test_every_table_is_the_same_row_by_row_after_a_restore(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything()
    assert len(before["annotator_label"]) == 9  # 2 × 3 steps and outcomes, and the draft's one
    for table in ("adjudication", "releaserow", "dispute", "goldlabel", "uploadchunk", "auditevent", "labelevent"):
        assert before[f"annotator_{table}"], table
    empty()
    assert everything()["annotator_user"] == []

    call_command("restore", str(archive))
    assert everything() == before
    n_rows = sum(map(len, before.values())) - len(before["django_migrations"])
    assert capsys.readouterr().out == f"{n_rows} rows of {len(before) - 2} tables restored.\n"
    assert archive.stat().st_mode & 0o777 == 0o600  # it holds everything, also hashes of passwords
    assert [path.name for path in tmp_path.iterdir()] == ["stepmark.zip"]


def test_an_archive_is_a_zip_file_with_a_manifest_that_any_tool_reads(archive: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        manifest = json.loads(file.read("manifest.json"))
        rows = file.read("tables/annotator_label.copy")
        assert file.testzip() is None
        assert "tables/django_session.copy" not in file.namelist()
    assert manifest["format"] == 1
    assert "annotator.0001_initial" in manifest["migrations"]
    assert manifest["tables"]["annotator_label"]["n_rows"] == rows.count(b"\n") == 9


def test_people_sign_in_and_tokens_open_the_api_after_a_restore(world: World, tmp_path: Path) -> None:
    client = Client()
    client.force_login(world.annotator)
    _, token = AuthToken.objects.create(world.annotator)
    path = tmp_path / "a.zip"
    call_command("backup", str(path))
    call_command("restore", str(path), "--force")
    assert client.get("/").status_code == 302  # sessions are not kept
    assert Client().login(username=world.annotator.username, password=PASSWORD)
    headers = {"Authorization": f"Token {token}"}
    assert Client().get("/api/v1/projects/demo/", headers=headers).status_code == 200


def test_a_damaged_archive_is_refused_and_nothing_changes(archive: Path) -> None:
    content, before = archive.read_bytes(), everything()
    damaged = [content[:-1], content + b"x", content[:50], b""]
    for at in (0, 10, 1000, -5000, -200, -66, -64, -1):  # a file's header, its date, rows, manifest, directory, comment
        flipped = bytearray(content)
        flipped[at] ^= 1
        damaged.append(bytes(flipped))
    for bad in damaged:
        archive.write_bytes(bad)
        assert f"{archive} is damaged, cut short or not a backup" in refusal("restore", str(archive), "--force")
    assert everything() == before


def test_every_single_byte_of_an_archive_is_guarded(archive: Path) -> None:
    content = bytearray(archive.read_bytes())
    for at in range(0, len(content), 97):
        content[at] ^= 0xFF
        archive.write_bytes(content)
        with pytest.raises(backup.BackupRefused):
            backup.verify(archive)
        content[at] ^= 0xFF


def test_a_database_that_is_not_empty_is_left_alone_without_force(world: World, archive: Path) -> None:
    judge(make_trajectory(world.project), world.annotator, [1, 1, 1])
    before = everything()
    said = refusal("restore", str(archive))
    assert said.startswith("This database is not empty: it has 5 users and 1 projects. Nothing was changed.")
    assert "--force" in said
    assert everything() == before


def test_force_replaces_what_is_there(world: World, archive: Path) -> None:
    before = everything()
    judge(make_trajectory(world.project), world.annotator, [1, 1, 1])
    Project.objects.filter(pk=world.project.pk).update(name="Another name")
    call_command("restore", str(archive), "--force")
    assert everything() == before


def test_final_rows_are_final_again_after_a_restore(archive: Path) -> None:
    call_command("restore", str(archive), "--force")
    submitted = Label.objects.submitted()
    for change in (
        lambda: submitted.update(value=0),
        lambda: submitted.delete(),
        lambda: AuditEvent.objects.all().delete(),
        lambda: Release.objects.update(number=2),
        lambda: ReleaseRow.objects.update(split="test"),
    ):
        before = everything()
        with pytest.raises(DatabaseError), transaction.atomic():
            change()
        assert everything() == before
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_trigger WHERE tgenabled <> 'O'")
        assert cursor.fetchone() == (0,)


def test_new_rows_get_new_ids_after_a_restore_even_those_of_deleted_rows(world: World, tmp_path: Path) -> None:
    gone = User.objects.create_user("gone")
    audit.log("user.created", gone, user=None, project_id=None, data={})
    gone_id = gone.pk
    gone.delete()
    path = tmp_path / "a.zip"
    call_command("backup", str(path))
    empty()
    call_command("restore", str(path))
    assert User.objects.create_user("new").pk == gone_id + 1
    judge(make_trajectory(Project.objects.get()), User.objects.get(pk=world.annotator.pk), [1, 1, 1])


def test_an_archive_of_other_migrations_is_refused_by_name(archive: Path) -> None:
    before = everything()
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('annotator', '9999_later', now())")
    try:
        said = refusal("restore", str(archive), "--force")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM django_migrations WHERE name = '9999_later'")
    assert "this database has annotator.9999_later, which the archive lacks" in said
    assert everything() == before


def test_a_sound_archive_that_breaks_a_rule_of_the_database_changes_nothing(archive: Path) -> None:
    """An archive made by hand: its labels are there, the annotations that they belong to are not."""
    with zipfile.ZipFile(archive) as file:
        members = {name: file.read(name) for name in file.namelist()}
    manifest = json.loads(members["manifest.json"])
    manifest["tables"]["annotator_annotation"] |= {
        "n_rows": 0,
        "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    }
    members |= {"manifest.json": json.dumps(manifest).encode(), "tables/annotator_annotation.copy": b""}
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
        file.comment = b"0" * backup.DIGEST_LENGTH
    with archive.open("r+b") as raw:
        digest = backup._digest(raw)
        raw.write(digest)
    before = everything()
    with pytest.raises(DatabaseError, match="foreign key"):
        call_command("restore", str(archive), "--force")
    assert everything() == before


def test_restore_refuses_while_others_use_the_database_and_backup_does_not(world: World, archive: Path) -> None:
    before = everything()
    beside = archive.with_name("beside.zip")
    ended = manage("backup", str(beside))  # another process, while this one is connected
    assert (ended.status, ended.out) == (0, f"{beside}\n")
    ended = manage("restore", str(beside), "--force")
    assert ended.status == 1
    assert "1 other connection uses this database. Stop web, worker and beat first" in ended.err
    assert everything() == before


def test_a_backup_replaces_no_file_and_leaves_no_part_behind(world: World, archive: Path, tmp_path: Path) -> None:
    content = archive.read_bytes()
    assert refusal("backup", str(archive)) == f"{archive} cannot be written: there is a file of this name already."
    assert "cannot be written: No such file or directory." in refusal("backup", str(tmp_path / "no" / "a.zip"))
    assert "cannot be read: No such file or directory." in refusal("restore", str(tmp_path / "no.zip"))
    assert archive.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["stepmark.zip"]


def test_two_backups_to_one_file_do_not_meet(world: World, tmp_path: Path) -> None:
    path, part = tmp_path / "a.zip", tmp_path / "a.zip.part"
    with part.open("wb") as other:
        other.write(b"half of it")
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)
        assert refusal("backup", str(path)) == (
            f"Another backup to {path} is running. Wait for it, or choose another name."
        )
        assert part.read_bytes() == b"half of it"
        part.rename(path)  # the other one is done, and we had its file open already
    with pytest.raises(FileExistsError), backup._alone(path, path):
        pass
    assert path.read_bytes() == b"half of it"
    path.unlink()
    part.write_bytes(b"of one that was killed" * 10**6)
    backup.verify(Path(call_backup(path)))
    assert [found.name for found in tmp_path.iterdir()] == ["a.zip"]
