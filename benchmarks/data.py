"""Trajectories to measure with: real ones repeated under new ids, and projects of any size made from them."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from django.db import connection
from django.utils.timezone import now

from annotator import flow
from annotator.models import Assignment, GoldLabel, Guideline, Job, Membership, Project, Step, Trajectory, User
from annotator.projects import actions as projects
from annotator.projects.actions import ProjectSettings
from benchmarks.bench import SAMPLES

Record = dict[str, Any]


def load(folder: Path) -> tuple[list[Record], str]:
    """The records of the folder's JSONL files that hold messages, else our samples; and a sentence that says which."""
    paths = sorted(folder.glob("*.jsonl")) if folder.is_dir() else []
    found = {path.name: _records(path) for path in paths}
    found = {name: records for name, records in found.items() if records}
    if not found:
        records = _records(SAMPLES)
        return records, f"Data: the {len(records)} samples of the repository ({folder.name} is not there)."
    records = [record for part in found.values() for record in part]
    return records, f"Data: {len(records)} real trajectories ({', '.join(found)}), repeated under new ids."


def _records(path: Path) -> list[Record]:
    with path.open(encoding="utf-8") as file:
        records = [json.loads(line) for line in file if line.strip()]
    return [record for record in records if isinstance(record, dict) and record.get("messages")]


def repeated(records: list[Record], n: int) -> Iterator[Record]:
    """`n` records: from the second round on with a new id, and with a mark in a message, for equal runs are
    duplicates."""
    for number in range(n):
        copy, which = divmod(number, len(records))
        record = records[which]
        yield record if copy == 0 else _copy(record, copy)


def _copy(record: Mapping[str, Any], copy: int) -> Record:
    changed = dict(record)
    if "sample_index" in record:
        changed["sample_index"] = record["sample_index"] + 1000 * copy
    else:
        key = next(key for key in ("external_id", "trajectory_id", "id") if key in record)
        changed[key] = f"{record[key]}/{copy}"
    messages = list(record["messages"])
    place = next(i for i, message in enumerate(messages) if isinstance(message.get("content"), str))
    messages[place] = {**messages[place], "content": f"{messages[place]['content']} (copy {copy})"}
    return changed | {"messages": messages}


def write_jsonl(path: Path, records: Iterator[Record]) -> int:
    """Writes one record per line; returns the bytes written."""
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")
    return path.stat().st_size


def make_project(slug: str, **settings: Any) -> Project:
    about = ProjectSettings(guideline="Judge **every** step.", **settings)
    return projects.create_project(slug, about, user=None)


def make_member(project: Project, username: str, role: str = "annotator") -> User:
    user = User.objects.create(username=username)
    projects.add_member(project, user, Membership.Role(role), user=None)
    return user


def import_file(project: Project, path: Path) -> Job:
    """Imports as the command line does; returns the finished job."""
    params = {"name": path.name, "format": None, "on_error": "skip"}
    with path.open("rb") as file:
        job = flow.import_now(project, file, params, kind=Job.Kind.IMPORT, n_total=path.stat().st_size)
    if job.status != Job.Status.DONE or job.result["n_bad"]:
        raise RuntimeError(f"The import failed: {job.error} {job.result}")
    return job


def grow(project: Project, n: int) -> None:
    """Copies the project's first trajectories inside PostgreSQL until there are `n`, each with its open slots."""
    n_now = project.trajectories.count()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE TEMP TABLE copies AS
            SELECT nextval(pg_get_serial_sequence('annotator_trajectory', 'id')) AS id, base_id, number FROM (
                SELECT base.id AS base_id, number
                FROM generate_series(%(n_now)s + 1, %(n)s) AS number
                JOIN (SELECT id, row_number() OVER (ORDER BY id) - 1 AS place, count(*) OVER () AS n_base
                      FROM annotator_trajectory WHERE project_id = %(project)s AND external_id NOT LIKE '%%#copy-%%')
                     AS base ON base.place = number %% base.n_base
                ORDER BY number) AS wanted
            """,
            {"n_now": n_now, "n": n, "project": project.pk},
        )
        own = {
            "id": "copies.id",
            "external_id": "base.external_id || '#copy-' || copies.number",
            "content_sha256": "encode(sha256((base.content_sha256 || copies.number)::bytea), 'hex')",
        }
        _copy_rows(cursor, Trajectory, own, "copies JOIN annotator_trajectory base ON base.id = copies.base_id")
        # Without its id the copy gets the next one.
        source = "copies JOIN annotator_step base ON base.trajectory_id = copies.base_id"
        _copy_rows(cursor, Step, {"id": "", "trajectory_id": "copies.id"}, source)
        source = "copies JOIN annotator_assignment base ON base.trajectory_id = copies.base_id"
        fresh = {"id": "", "trajectory_id": "copies.id", "status": "'open'", "slot": "base.slot"}
        fresh |= dict.fromkeys(("annotator_id", "claimed_at", "lease_expires_at", "finished_at"), "NULL")
        _copy_rows(cursor, Assignment, fresh, source)
        cursor.execute("DROP TABLE copies")
    tidy()


def _copy_rows(
    cursor: Any, model: type[Trajectory] | type[Step] | type[Assignment], own: Mapping[str, str], source: str
) -> None:
    columns = [str(field.column) for field in model._meta.concrete_fields]
    columns = [column for column in columns if own.get(column, "kept") != ""]
    values = [own.get(column, f'base."{column}"') for column in columns]
    names = ", ".join(f'"{column}"' for column in columns)
    table = model._meta.db_table
    cursor.execute(
        f"INSERT INTO {table} ({names}) SELECT {', '.join(values)} FROM {source} ORDER BY copies.id, base.id"
    )


def judge_everything(
    project: Project, *, value: str = "(ARRAY[1, 1, 0, -1])[1 + step_id %% 4]", submitted_at: str = "%(at)s"
) -> None:
    """Two people submit a value for every step and +1 for the outcome; made inside PostgreSQL.

    `value` and `submitted_at` are SQL expressions over `annotation` and, for the value, its `step_id`.
    """
    guideline = Guideline.objects.get(project=project)
    wanted = Assignment.objects.filter(project=project)
    for slot in (0, 1):
        annotator = make_member(project, f"{project.slug}-{slot}")
        wanted.filter(slot=slot).update(status=Assignment.Status.SUBMITTED, annotator=annotator)
    # Labels go into drafts: what is submitted takes none any more.
    statements = (
        """
        INSERT INTO annotator_annotation
            (assignment_id, trajectory_id, annotator_id, created_at, revision, is_superseded)
        SELECT id, trajectory_id, annotator_id, now(), 1, false FROM annotator_assignment
        WHERE project_id = %(project)s
        """,
        f"""
        INSERT INTO annotator_label
            (annotation_id, step_id, value, guideline_id, labelled_at, exit_reason, extras, is_after_reveal,
             is_after_hint, active_ms, is_seen, has_opened)
        SELECT annotation.id, step_id, CASE WHEN step_id IS NULL THEN 1 ELSE {value} END, %(guideline)s, %(at)s, '',
               '{{}}', false, false, 1000 + 37 * annotation.id %% 20000, true, false
        FROM annotator_annotation annotation
        JOIN annotator_assignment assignment ON assignment.id = annotation.assignment_id
        JOIN (SELECT trajectory_id, id AS step_id FROM annotator_step
              UNION ALL SELECT id, NULL FROM annotator_trajectory) judged
             ON judged.trajectory_id = annotation.trajectory_id
        WHERE assignment.project_id = %(project)s
        """,
        f"""
        UPDATE annotator_annotation annotation SET submitted_at = {submitted_at} FROM annotator_assignment assignment
        WHERE assignment.id = annotation.assignment_id AND assignment.project_id = %(project)s
        """,
    )
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement, {"project": project.pk, "guideline": guideline.pk, "at": now()})


def settle_everything(project: Project) -> None:
    """All that two people judged alike is gold; for labels on which they agree."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO annotator_goldlabel (trajectory_id, step_id, value, provenance, settled_at)
            SELECT DISTINCT annotation.trajectory_id, label.step_id, label.value, %(provenance)s, now()
            FROM annotator_label label
            JOIN annotator_annotation annotation ON annotation.id = label.annotation_id
            JOIN annotator_assignment assignment ON assignment.id = annotation.assignment_id
            WHERE assignment.project_id = %(project)s
            """,
            {"project": project.pk, "provenance": GoldLabel.Provenance.UNANIMOUS.value},
        )


def tidy() -> None:
    """What autovacuum does a little later anyway, and the same for every run."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")


def round_trip_ms(n: int) -> float:
    """The median of `SELECT 1` through Django: the floor of every query."""
    return _median_ms("SELECT 1", n)


def durable_insert_ms(n: int) -> float:
    """The median of one row inserted and committed to disk: the floor of every save."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE scratch (value int)")
    try:
        return _median_ms("INSERT INTO scratch VALUES (1)", n)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE scratch")


def _median_ms(sql: str, n: int) -> float:
    from benchmarks.bench import percentile, stopwatch

    times = []
    for _ in range(n):
        with stopwatch() as seconds, connection.cursor() as cursor:
            cursor.execute(sql)
        times.append(seconds() * 1000)
    return percentile(times, 0.5)
