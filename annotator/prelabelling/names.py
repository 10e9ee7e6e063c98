"""Who may have which name: in a project all versions of a name are versions of one model, and the latest is heard."""

import re

from annotator.errors import InvalidInput, JobFailed
from annotator.models import ModelVersion, Project
from annotator.prelabelling import catalogue
from annotator.prelabelling.scorer_config import ScorerConfig


def why_taken(project_id: int, name: str, kind: str) -> str:
    """Why a model of this kind may not have this name in the project; "" if it may."""
    if name == ModelVersion.ALL_RATERS and kind != ModelVersion.Kind.FUSION:
        return f"{name} is what the fusion of all raters is called. Choose another name."
    other = ModelVersion.objects.filter(project=project_id, name=name).exclude(kind=kind).first()
    if other is None:
        return ""
    return f"The name {name} belongs to another model of this project ({other.get_kind_display()}). Choose another one."


def why_no_scorer(project: Project, name: str, *, in_loop: bool = False) -> str:
    """Why a scorer may not have this name; "" if it may. Training under the name of an own scorer makes a version.

    One that learns in the loop and one from a release cannot be versions of each other: they hold out other tasks, so
    they could not be compared.
    """
    if taken := why_taken(project.pk, name, ModelVersion.Kind.SCORER):
        return taken
    there = catalogue.read_all().models.get(name)
    if isinstance(there, ScorerConfig) and there.project == project.slug:
        if (there.release is None) == in_loop:
            return ""
        how = "learns in the loop" if there.release is None else f"learnt from release {there.release}"
        return f"The name {name} belongs to the project's scorer that {how}. Choose another one."
    if there is None and not catalogue.model_file(name).exists():
        return ""
    return f"The name {name} belongs to another model. Choose another one."


def check_scorer(project: Project, name: str, *, in_loop: bool = False) -> None:
    """For the worker, right before it writes. Raises JobFailed."""
    if taken := why_no_scorer(project, name, in_loop=in_loop):
        raise JobFailed(taken)


def check_imported(project: Project, name: str) -> str:
    """A name that imported judgements may have. Raises InvalidInput."""
    message = why_taken(project.pk, name, ModelVersion.Kind.IMPORTED)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        message = "A model's name is made of letters, digits, dots, underscores and hyphens, 100 at most."
    elif not message and name in catalogue.read(project.slug).models:
        message = f"The name {name} belongs to a model that can be started here. Choose another one."
    if message:
        raise InvalidInput(message, {"model": message})
    return name
