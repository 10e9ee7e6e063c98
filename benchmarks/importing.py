"""Import of 10,000 trajectories from one JSONL file: MB/s and memory.

.venv/bin/python -m benchmarks.importing [--quick] [--json OUT] [--data DIR]
"""

import json
import time
from pathlib import Path

from benchmarks.bench import Figure, memory_mb, peak_memory_mb, profile, run, stopwatch


def measure(home: Path, folder: Path, quick: bool) -> tuple[list[str], list[Figure]]:
    from annotator.importing.actions import import_trajectories
    from annotator.models import Step
    from benchmarks import data

    n = 100 if quick else 10_000
    records, fact = data.load(folder)
    path = home / "trajectories.jsonl"
    megabytes = data.write_jsonl(path, data.repeated(records, n)) / 1e6
    sample = home / "sample.jsonl"
    data.write_jsonl(sample, data.repeated(records, min(n, 1000)))
    project = data.make_project("import")
    before = memory_mb()

    with stopwatch() as decoding, path.open(encoding="utf-8") as file:
        for line in file:
            json.loads(line)
    with stopwatch() as checking, path.open("rb") as binary:
        import_trajectories(project, binary, name=path.name, stores=False)
    cpu_before = time.process_time()
    with stopwatch() as importing:
        job = data.import_file(project, path)
    cpu = time.process_time() - cpu_before
    peak = peak_memory_mb()
    assert job.result["n_trajectories"] == n
    n_steps = Step.objects.filter(trajectory__project=project).count()
    one_by_one = _row_by_row_seconds(sample)
    where = profile(lambda: data.import_file(data.make_project("profile"), sample))

    facts = [
        fact,
        f"{n:,} trajectories, {n_steps:,} steps, {megabytes:.0f} MB; {2 * n:,} slots opened; fsync on.",
        f"The import took {importing():.1f} s, in which the process had a core for {cpu:.1f} s.",
    ]
    return facts, [
        Figure("import, slots included", megabytes / importing(), "MB/s", at_least=20, bound=where),
        Figure("import, slots included", n / importing(), "trajectories/s"),
        Figure("baseline: json.loads only", megabytes / decoding(), "MB/s", bound="Python's JSON decoder"),
        Figure(
            "baseline: read and check, store nothing",
            megabytes / checking(),
            "MB/s",
            bound="decoding, the checks of every field, hashing of the content, asking for known ids",
        ),
        Figure(
            "baseline: one INSERT and commit per row",
            sample.stat().st_size / 1e6 / one_by_one,
            "MB/s",
            bound="one durable commit per trajectory, without its steps",
        ),
        Figure("peak memory of the process", peak, "MB", bound=f"{before:.0f} MB of it before the import began"),
    ]


def _row_by_row_seconds(path: Path) -> float:
    from annotator.importing.formats import BadRecord, read
    from annotator.importing.schema import content_sha256
    from annotator.models import Trajectory
    from benchmarks import data

    project = data.make_project("row-by-row")
    with stopwatch() as seconds, path.open("rb") as file:
        for record in read(file, format=None, name=path.name):
            assert not isinstance(record, BadRecord)
            Trajectory.objects.create(
                project=project,
                external_id=record.external_id,
                source_format=record.source_format,
                messages=record.messages,
                tools=record.tools,
                metadata=record.metadata,
                group_key=record.group_key,
                content_sha256=content_sha256(record),
                n_steps=1,
            )
    return seconds()


if __name__ == "__main__":
    run("Import", __doc__, measure)
