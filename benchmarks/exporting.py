"""Publishing a release of 10,000 trajectories and exporting it in every format: MB/s and memory.

.venv/bin/python -m benchmarks.exporting [--quick] [--json OUT] [--data DIR]
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench import Figure, memory_mb, options, own_home, peak_memory_mb, profile, report, stopwatch

if TYPE_CHECKING:
    from annotator.models import Project, Release


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = options(__doc__, arguments)
    with own_home() as home:
        facts, figures = measure(home, chosen.data, n=60 if chosen.quick else 10_000)
    report("Release and export", facts, figures, chosen.json)
    return 0


def measure(home: Path, folder: Path, *, n: int) -> tuple[list[str], list[Figure]]:
    from annotator.models import Release, Step
    from annotator.releases import actions as releases
    from annotator.releases.exporters import EXPORTERS
    from benchmarks import data

    records, fact = data.load(folder)
    path = home / "trajectories.jsonl"
    small, project = data.make_project("small", overlap=2), data.make_project("export", overlap=2)
    data.write_jsonl(path, data.repeated(records, min(len(records), n)))
    for each, size in ((small, min(n, 1000)), (project, n)):
        data.import_file(each, path)
        data.grow(each, size)
        _judge_everything(each)
    before = memory_mb()
    where_publishing = profile(lambda: _publish(small))
    sample = Release.objects.get(project=small)
    with stopwatch() as publishing:
        release = _publish(project)
    peak_of_publishing = peak_memory_mb()
    written = sum(file["n_bytes"] for file in release.manifest["files"].values()) / 1e6

    figures = [
        Figure("publish: freeze, agreement, hash of every file", publishing(), "s", bound=where_publishing),
        Figure("publish: bytes of all files", written / publishing(), "MB/s", at_least=20),
    ]
    target = home / "export"
    for name in EXPORTERS:
        with stopwatch() as exporting, target.open("wb") as out:
            result = releases.export(release, name, out)
        with target.open("wb") as out:
            where = profile(lambda name=name, out=out: releases.export(sample, name, out))  # type: ignore[misc]
        megabytes = result.n_bytes / 1e6
        bound = f"{megabytes:.0f} MB, {result.n_rows:,} rows; {where}"
        figures.append(Figure(f"export {name}", megabytes / exporting(), "MB/s", at_least=20, bound=bound))
    peak = peak_memory_mb()
    with stopwatch() as reading:
        n_rows = sum(1 for _ in releases.records(release))
    whole = list(releases.records(sample))
    with stopwatch() as encoding:
        size = sum(len(json.dumps(record, ensure_ascii=False)) for record in whole)
    stored = size / len(whole) * n_rows / 1e6
    n_steps = Step.objects.filter(trajectory__project=project).count()
    figures += [
        Figure("baseline: read the rows, write nothing", stored / reading(), "MB/s", bound="PostgreSQL unpacks JSONB"),
        Figure("baseline: json.dumps only", size / 1e6 / encoding(), "MB/s", bound="Python's JSON encoder"),
        Figure("peak memory of publishing", peak_of_publishing, "MB", bound=f"{before:.0f} MB of it before"),
        Figure("peak memory with the exports", peak, "MB", bound="one record at a time, 50 rows per fetch"),
    ]
    facts = [fact, f"{n_rows:,} trajectories, {n_steps:,} steps, two unanimous judgements of each; fsync on."]
    return facts, figures


def _judge_everything(project: "Project") -> None:
    """Two people submit the same values for every step and outcome, and all of it is gold; made inside PostgreSQL."""
    from django.db import connection

    from annotator.models import Annotation, Assignment, GoldLabel, Guideline
    from benchmarks import data

    guideline = Guideline.objects.get(project=project)
    wanted = Assignment.objects.filter(project=project)
    for slot in (0, 1):
        annotator = data.make_member(project, f"{project.slug}-{slot}")
        wanted.filter(slot=slot).update(status="submitted", annotator=annotator)
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        at = cursor.fetchone()[0]
    Annotation.objects.bulk_create(
        Annotation(assignment_id=pk, trajectory_id=trajectory_id, annotator_id=annotator_id, created_at=at)
        for pk, trajectory_id, annotator_id in wanted.values_list("pk", "trajectory_id", "annotator_id")
    )
    judged = """
        SELECT {columns} FROM (
            SELECT id AS trajectory_id, NULL::bigint AS step_id, 1 AS value FROM annotator_trajectory
            WHERE project_id = %(project)s
            UNION ALL
            SELECT step.trajectory_id, step.id, (ARRAY[1, 1, 0, -1])[1 + step.id %% 4] FROM annotator_step step
            JOIN annotator_trajectory t ON t.id = step.trajectory_id WHERE t.project_id = %(project)s
        ) judged {join}
    """
    labels = judged.format(
        columns="annotation.id, step_id, value, %(guideline)s, %(at)s, '', '{{}}', false, false, 0, true, false",
        join="JOIN annotator_annotation annotation USING (trajectory_id)",
    ).replace("'{{}}'", "'{}'")
    golds = judged.format(columns="trajectory_id, step_id, value, %(provenance)s, %(at)s", join="")
    values = {
        "project": project.pk,
        "guideline": guideline.pk,
        "at": at,
        "provenance": GoldLabel.Provenance.UNANIMOUS.value,
    }
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO annotator_label (annotation_id, step_id, value, guideline_id, labelled_at, exit_reason,"
            f" extras, is_after_reveal, is_after_hint, active_ms, is_seen, has_opened) {labels}",
            values,
        )
        cursor.execute(
            f"INSERT INTO annotator_goldlabel (trajectory_id, step_id, value, provenance, settled_at) {golds}", values
        )
    Annotation.objects.filter(assignment__project=project).update(submitted_at=at)
    data.tidy()


def _publish(project: "Project") -> "Release":
    """As the worker does it."""
    from annotator import flow, jobs
    from annotator.models import Job, Release
    from annotator.releases.policy import ReleasePolicy

    params = {"policy": ReleasePolicy().model_dump(mode="json")}
    job = jobs.create(project, Job.Kind.PUBLISH, params, unit="files", n_total=None, user=None)
    flow.run_job(job.pk)
    job.refresh_from_db()
    if job.status != Job.Status.DONE:
        raise RuntimeError(job.error)
    return Release.objects.get(pk=job.result["release"])


if __name__ == "__main__":
    sys.exit(main())
