"""`manage.py publish_release SLUG`"""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotator import flow, jobs
from annotator.management.commands._arguments import find_project, read_json, refusals
from annotator.models import Job, Release
from annotator.releases.policy import ReleasePolicy


class Command(BaseCommand):
    help = "Freeze the project's settled labels as its next release. Standard output gets its number and nothing else."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", metavar="SLUG")
        parser.add_argument(
            "--policy", type=Path, metavar="FILE.json", help="release policy as docs/configuration.md lists it"
        )

    @refusals()
    def handle(self, *args: Any, **options: Any) -> None:
        project, path = find_project(options["slug"]), options["policy"]
        policy = ReleasePolicy.parse(read_json(path) if path else {})
        params = {"policy": policy.model_dump(mode="json")}
        # Not flow.publish: that hands a large release to a worker, and this command works without one.
        job = jobs.create(project, Job.Kind.PUBLISH, params, unit="files", n_total=None, user=None)
        flow.run_job(job.pk)
        job.refresh_from_db()
        if job.status != Job.Status.DONE:
            raise CommandError(job.error or "The job was cancelled, so no release was published.")
        release = Release.objects.get(pk=job.result["release"])
        counts = release.manifest["counts"]
        splits = ", ".join(f"{split} {n}" for split, n in counts["by_split"].items())
        n_trajectories, n_steps = counts["n_trajectories"], counts["n_steps"]
        self.stderr.write(f"Published {n_trajectories} trajectories with {n_steps} steps ({splits}).")
        self.stdout.write(str(release.number))
