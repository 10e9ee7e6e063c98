"""`manage.py prelabel SLUG --model NAME`"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotator.management.commands._arguments import find_project, positive, refusals
from annotator.management.commands._watching import watch
from annotator.models import Job
from annotator.prelabelling import actions, catalogue, reading
from annotator.prelabelling.actions import Selection


class Command(BaseCommand):
    help = "Start a model over a project's trajectories and watch it; workers do the scoring."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", metavar="SLUG")
        parser.add_argument("--model", required=True, metavar="NAME", help="the name in the model file")
        parser.add_argument(
            "--gold", choices=["any", "with", "without"], default="any", help="only trajectories … gold"
        )
        parser.add_argument("--ids", default="", metavar="TEXT", help="only external ids that contain this")
        parser.add_argument("--limit", type=positive, metavar="N", help="only the first N that are left to score")
        parser.add_argument("--estimate", action="store_true", help="only say what it would take")
        parser.add_argument("--no-wait", action="store_true", help="start it and return")

    @refusals()
    def handle(self, *args: Any, **options: Any) -> None:
        project = find_project(options["project"])
        config = catalogue.read(project.slug).get(options["model"])
        selection = Selection(gold=options["gold"], ids=options["ids"], limit=options["limit"])
        estimate = reading.estimate(project, config, selection)
        self.stdout.write(_words(estimate))
        if options["estimate"]:
            return
        run = actions.start(project, config, selection, estimate=estimate, user=None)
        self.stdout.write(f"Started as run {run.pk}, job {run.job_id}.")
        if not options["no_wait"]:
            self._tell(watch(self, run.job_id))

    def _tell(self, job: Job) -> None:
        if job.result:
            result = job.result
            self.stdout.write(
                f"{result['version']}: {result['n_trajectories']} trajectories with {result['n_steps']} steps scored, "
                f"{result['n_failed']} failed; {result['n_tokens']} tokens read, {result['n_dropped_tokens']} cut away"
            )
        if job.status != Job.Status.DONE:
            raise CommandError(job.error or "The run was cancelled. What is scored stays; start it again to go on.")
        if not job.result["n_trajectories"] + job.result["n_failed"]:
            version = job.result["version"]
            raise CommandError(f"Nothing was left to score: {version} has scored all of these trajectories already.")


def _words(estimate: dict[str, Any]) -> str:
    money = f", about {estimate['money']} {estimate['currency']}" if estimate["money"] else ""
    seconds = estimate["seconds"]
    time_ = f", about {seconds} s at the pace of the last run" if seconds is not None else ""
    tokens = f", about {estimate['n_tokens']} tokens" if estimate["n_tokens"] else ""
    n = estimate["n_unasked"]
    unasked = f"; on {n} of them it abstains unasked, for they have neither a reference nor an outcome" if n else ""
    return f"{estimate['n_trajectories']} trajectories with {estimate['n_steps']} steps{tokens}{money}{time_}{unasked}"
