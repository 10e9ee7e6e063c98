"""Publishing a release of 10,000 trajectories and exporting it in every format: MB/s and memory.

.venv/bin/python -m benchmarks.exporting [--quick] [--json OUT] [--data DIR]
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench import Figure, memory_mb, peak_memory_mb, profile, run, stopwatch

if TYPE_CHECKING:
    from annotator.models import Project, Release


def measure(home: Path, folder: Path, quick: bool) -> tuple[list[str], list[Figure]]:
    from annotator.models import Release, Step
    from annotator.releases import files
    from annotator.releases.exporters import EXPORTERS
    from benchmarks import data

    n = 60 if quick else 10_000
    records, fact = data.load(folder)
    path = home / "trajectories.jsonl"
    small, project = data.make_project("small", overlap=2), data.make_project("export", overlap=2)
    data.write_jsonl(path, data.repeated(records, min(len(records), n)))
    for each, size in ((small, min(n, 1000)), (project, n)):
        data.import_file(each, path)
        data.grow(each, size)
        data.judge_everything(each)
        data.settle_everything(each)
        data.tidy()
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
    exports = {}
    for name in EXPORTERS:
        with stopwatch() as exporting, target.open("wb") as out:
            result = files.export(release, name, out)
        with target.open("wb") as out:
            where = profile(lambda name=name, out=out: files.export(sample, name, out))  # type: ignore[misc]
        exports[name] = result, exporting(), where
    peak = peak_memory_mb()
    with stopwatch() as reading:
        n_rows = sum(1 for _ in files.records(release))
    whole = list(files.records(sample))
    with stopwatch() as encoding:
        size = sum(len(json.dumps(record, ensure_ascii=False)) for record in whole)
    stored = size / len(whole) * n_rows / 1e6
    for name, (result, seconds, where) in exports.items():
        megabytes = result.n_bytes / 1e6
        bound = f"{megabytes:.0f} MB, {result.n_rows:,} rows, from {stored / seconds:.0f} MB/s of the release; {where}"
        figures.append(Figure(f"export {name}", megabytes / seconds, "MB/s", at_least=20, bound=bound))
    n_steps = Step.objects.filter(trajectory__project=project).count()
    figures += [
        Figure("baseline: read the rows, write nothing", stored / reading(), "MB/s", bound="PostgreSQL unpacks JSONB"),
        Figure("baseline: json.dumps only", size / 1e6 / encoding(), "MB/s", bound="Python's JSON encoder"),
        Figure("peak memory of publishing", peak_of_publishing, "MB", bound=f"{before:.0f} MB of it before"),
        Figure("peak memory with the exports", peak, "MB", bound="one record at a time, 50 rows per fetch"),
    ]
    facts = [fact, f"{n_rows:,} trajectories, {n_steps:,} steps, two unanimous judgements of each; fsync on."]
    return facts, figures


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
    run("Release and export", __doc__, measure)
