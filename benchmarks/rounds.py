"""A selection round in a project of 100,000 trajectories, while somebody claims; against one over 1,000.

.venv/bin/python -m benchmarks.rounds [--quick] [--json OUT] [--data DIR]

Beliefs are drawn at random: how long a round takes does not depend on what they say. The fourth round has something to
learn: gold of every other trajectory, and five models that are right on about 85 % of the steps.
"""

import threading
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks.bench import Figure, peak_memory_mb, percentile, run, stopwatch

if TYPE_CHECKING:
    from annotator.models import Project


def measure(home: Path, folder: Path, quick: bool) -> tuple[list[str], list[Figure]]:
    from django.db import connection

    from annotator import flow
    from annotator.acceptance import sample
    from annotator.models import Assignment, Job, SelectionRound
    from annotator.projects.actions import change_settings
    from annotator.queue import actions as queue
    from annotator.selection import actions
    from benchmarks import data

    sizes, n_wanted = ((20, 60), 10) if quick else ((1_000, 100_000), 1_000)
    records, fact = data.load(folder)
    path = home / "trajectories.jsonl"
    data.write_jsonl(path, data.repeated(records, min(sizes[0], 250)))
    project = data.make_project("rounds", overlap=2)
    data.import_file(project, path)
    admin = data.make_member(project, "rounds-admin")
    annotator = data.make_member(project, "rounds-annotator")
    policy = {
        "n_wanted": n_wanted,
        "most_siblings": 1000,  # few tasks, repeated
        "shares": {"expected_errors": 50, "mean_entropy": 20, "contradiction": 10, "random": 20},
    }
    change_settings(project, {"selection_policy": policy}, user=admin)
    figures: list[Figure] = []
    for size in sizes:
        data.grow(project, size)
        _believe(project)
        data.tidy()
        claims: list[float] = []
        ended = threading.Event()

        def claim(claims: list[float] = claims, ended: threading.Event = ended) -> None:
            try:
                while not ended.wait(0.02):
                    began = perf_counter()
                    assert queue.claim_next(project, annotator) is not None
                    claims.append(1000 * (perf_counter() - began))
            finally:
                connection.close()

        for what in (
            "first round",
            "second round, which forgets the first",
            "third round, of single steps",
            "fourth round, after half of it was settled",
        ):
            if what.startswith("fourth"):
                _settle_half(project)
                data.tidy()
            unit = "steps" if "steps" in what else "trajectories"
            change_settings(project, {"selection_policy": {**policy, "unit": unit}}, user=admin)
            job = actions.start(project, user=admin)
            person = threading.Thread(target=claim)
            ended.clear()
            with stopwatch() as choosing:
                person.start()
                flow.run_job(job.pk)
                ended.set()
                person.join()
            job = Job.objects.get(pk=job.pk)
            assert job.status == Job.Status.DONE, job.error
            found = SelectionRound.objects.get(job=job)
            n = found.picks.count()
            slots = Assignment.objects.open().filter(pick__round=found).count()
            figures.append(
                Figure(
                    f"{size:,} trajectories, {what}",
                    choosing(),
                    "s",
                    at_most=600 if job.result["is_fused"] else 120,
                    bound=f"{n} chosen, {slots} slots{', fused first' if job.result['is_fused'] else ''}",
                )
            )
        with stopwatch() as looking:
            n = sample.candidates(project).count()
        figures.append(
            Figure(f"{size:,}: what an acceptance may take", looking(), "s", at_most=10, bound=f"{n} of them")
        )
        figures.append(
            Figure(f"{size:,}: claims meanwhile, p95", percentile(claims, 0.95), "ms", bound=f"{len(claims)} claims")
        )
        figures.append(Figure(f"{size:,}: the longest claim", max(claims), "ms", bound="nobody waits for a round"))
    figures.append(Figure("peak memory", peak_memory_mb(), "MB", at_most=4096, bound="of this process"))
    return [fact, f"Rounds of {n_wanted}; the smaller project is the baseline; one database, fsync on."], figures


def _believe(project: "Project") -> None:
    """A fusion that counts as trusted, with a posterior for every trajectory that has none."""
    from django.db import connection
    from django.utils.timezone import now

    from annotator.models import Fusion, Job

    about = {"kind": Job.Kind.FUSE, "unit": "trajectories", "status": Job.Status.DONE, "finished_at": now()}
    job = Job.objects.create(project=project, **about)
    fusion = Fusion.objects.create(
        project=project, job=job, number=job.pk, method=Fusion.Method.BLEND, reason="A benchmark.", parameters=b"",
        refresh={}, report={}, n_trajectories=100, n_steps=1000, data_sha256="", code_version="benchmark",
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO annotator_posterior
                   (trajectory_id, project_id, fusion_id, evidence, probs, first_error, expected_errors, mean_entropy,
                    first_error_entropy, disagreement, updated_at)
            SELECT id, project_id, %s, rows, rows, array_fill(1.0 / (n_steps + 1), ARRAY[n_steps + 1]),
                   random() * n_steps / 3, random(), random(), random(), now()
              FROM annotator_trajectory,
                   LATERAL (SELECT array_agg(ARRAY[0.1 * random(), 0.1, 0.8]) AS rows
                              FROM generate_series(1, n_steps)) AS x
             WHERE project_id = %s
               AND NOT EXISTS (SELECT FROM annotator_posterior AS p WHERE p.trajectory_id = annotator_trajectory.id)
            """,
            [fusion.pk, project.pk],
        )


def _settle_half(project: "Project") -> None:
    """Gold of every other trajectory, and the word of five models on all of them."""
    from django.db import connection

    from annotator.models import ModelVersion

    for number in range(5):
        about = {"kind": ModelVersion.Kind.JUDGE, "config_sha256": f"judge {number}"}
        version, _ = ModelVersion.objects.get_or_create(project=project, name=f"j{number}", number=1, defaults=about)
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO annotator_prediction
                       (version_id, trajectory_id, probs, rationales, findings, n_tokens, n_dropped_tokens, note,
                        created_at)
                SELECT %s, id, rows, '[]', '[]', 0, 0, '', now()
                  FROM annotator_trajectory AS t,
                       LATERAL (SELECT array_agg(
                                       CASE WHEN random() < 0.3 OR s.id %% 4 < 2 THEN ARRAY[0.1, 0.1, 0.8]
                                            WHEN s.id %% 4 = 2 THEN ARRAY[0.1, 0.8, 0.1]
                                            ELSE ARRAY[0.8, 0.1, 0.1] END ORDER BY index) AS rows
                                  FROM annotator_step AS s WHERE s.trajectory_id = t.id) AS x
                 WHERE project_id = %s
                   AND NOT EXISTS (SELECT FROM annotator_prediction AS p
                                    WHERE p.trajectory_id = t.id AND p.version_id = %s)
                """,
                [version.pk, project.pk, version.pk],
            )
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO annotator_goldlabel (trajectory_id, step_id, value, provenance, settled_at)
            SELECT t.id, s.id, (ARRAY[1, 1, 0, -1])[1 + s.id %% 4], 'unanimous', now()
              FROM annotator_trajectory AS t JOIN annotator_step AS s ON s.trajectory_id = t.id
             WHERE project_id = %s AND t.id %% 2 = 0
               AND NOT EXISTS (SELECT FROM annotator_goldlabel AS g WHERE g.trajectory_id = t.id)
            """,
            [project.pk],
        )


if __name__ == "__main__":
    run("Selection rounds", __doc__, measure)
