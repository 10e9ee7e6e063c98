"""`manage.py train_scorer SLUG --release N --name NAME`"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotator.management.commands._arguments import find_project, positive, refusals
from annotator.management.commands._watching import watch
from annotator.models import Job
from annotator.prelabelling import training


class Command(BaseCommand):
    help = "Train the project's own step scorer from a release and watch it; a worker with torch does it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", metavar="SLUG")
        parser.add_argument("--release", required=True, type=positive, metavar="N", help="the number of the release")
        parser.add_argument("--name", required=True, metavar="NAME", help="what the model is to be called")
        parser.add_argument(
            "--mask", choices=["full", "prefix"], default="full", help="score a step seeing all steps, or the past only"
        )
        parser.add_argument(
            "--mode", choices=["blind", "with_reference"], default="blind", help="whether it reads the reference answer"
        )
        parser.add_argument(
            "--encoder", default="hashed", metavar="NAME", help="hashed, minilm, or a folder of MODELS_FOLDER/encoders"
        )
        parser.add_argument(
            "--class-weights", choices=["none", "sqrt"], default="none", help="sqrt: rare values count more"
        )
        parser.add_argument("--max-epochs", type=positive, default=200, metavar="N")
        parser.add_argument("--seed", type=int, default=0, metavar="S")
        parser.add_argument("--no-wait", action="store_true", help="start it and return")

    @refusals()
    def handle(self, *args: Any, **options: Any) -> None:
        project = find_project(options["project"])
        names = ("release", "name", "mask", "mode", "encoder", "class_weights", "max_epochs", "seed")
        job = training.start(project, training.parse({name: options[name] for name in names}), user=None)
        self.stdout.write(f"Started as job {job.pk}.")
        if not options["no_wait"]:
            self._tell(watch(self, job.pk))

    def _tell(self, job: Job) -> None:
        if job.status != Job.Status.DONE:
            raise CommandError(job.error or "The training was cancelled; no model was written.")
        result = job.result
        self.stdout.write(
            f"{result['model']}: learnt from {result['n_trajectories']} trajectories with {result['n_steps']} steps of "
            f"{result['n_tasks']} tasks in {result['n_epochs']} epochs."
        )
        for name, title in (("scorer", "on tasks it had not seen"), ("always_positive", "saying +1 always")):
            figure = result["held_out"][name]["step_acc"]
            self.stdout.write(f"Steps right, {title}: {_share(figure)}")
        self.stdout.write(f"Start it with: manage.py prelabel {job.project.slug} --model {result['model']}")


def _share(figure: dict[str, float | None]) -> str:
    if figure["value"] is None or figure["low"] is None or figure["high"] is None:
        return f"{figure['value'] or 0:.1%}"
    return f"{figure['value']:.1%} (95 % interval {figure['low']:.1%} to {figure['high']:.1%})"
