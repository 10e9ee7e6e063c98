"""A name belongs to one model of a project: nobody else gets it, so that no model silences another."""

import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django.fixtures import Settings

from annotator.errors import InvalidInput, InvalidSettings, JobFailed
from annotator.models import Job, ModelVersion, Prediction
from annotator.prelabelling import actions, learning, names, training
from annotator.prelabelling.actions import Identity, Selection
from annotator.prelabelling.rules_config import RulesConfig
from annotator.raters.actions import latest_versions
from tests.factories import World, make_trajectory, make_world, predict
from tests.prelabelling.test_training import add_scorer, publish

pytestmark = pytest.mark.django_db

Kind = ModelVersion.Kind
IMPORTED = r"The name j0 belongs to another model of this project \(imported judgements\)\. Choose another one\."


@pytest.fixture(autouse=True)
def models(settings: Settings, tmp_path: Path) -> Path:
    settings.MODELS_FOLDER = tmp_path
    return tmp_path


@pytest.fixture
def judged(world: World) -> World:
    """Somebody has imported what the judge j0 says."""
    predict(make_trajectory(world.project, external_id="t"), [1, 1, -1], model="j0", kind=Kind.IMPORTED)
    return world


def versions() -> list[tuple[str, str]]:
    return [(str(each), each.kind) for each in ModelVersion.objects.order_by("name", "number")]


def test_a_scorer_may_not_have_the_name_of_an_imported_judge(client: Client, judged: World) -> None:
    publish(judged.project)
    with pytest.raises(InvalidSettings, match=IMPORTED):
        learning.change_policy(judged.project, {"name": "j0"}, user=judged.admin)
    judged.project.refresh_from_db()
    assert judged.project.learning.name is None
    with pytest.raises(InvalidInput, match=IMPORTED):
        training.start(judged.project, training.parse({"release": 1, "name": "j0"}), user=judged.admin)
    with pytest.raises(JobFailed, match=IMPORTED):  # it was imported since the training was started
        names.check_scorer(judged.project, "j0", in_loop=True)
    client.force_login(judged.admin)
    form = {"every": 25, "at_least": 50, "encoder": "hashed", "name": "j0"}
    page = client.post("/projects/demo/learning/", form)
    assert page.status_code == 422
    assert "belongs to another model of this project (imported judgements)" in page.content.decode()
    assert Job.objects.count() == 0


def test_a_model_file_with_the_name_of_an_imported_judge_is_not_started(judged: World) -> None:
    with pytest.raises(InvalidInput, match=f"Nothing was started: {IMPORTED}"):
        actions.start(judged.project, RulesConfig(name="j0"), Selection(), estimate={}, user=judged.admin)
    assert Job.objects.count() == 0


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("demo-scorer", r"demo-scorer belongs to another model of this project \(the project's own step scorer\)"),
        ("not-run-yet", "not-run-yet belongs to a model that can be started here"),
        ("rules", "rules belongs to a model that can be started here"),
        ("all-raters", "all-raters is what the fusion of all raters is called"),
    ],
)
def test_judgements_are_not_imported_under_the_name_of_another_model(
    world: World, models: Path, tmp_path: Path, name: str, sentence: str
) -> None:
    predict(make_trajectory(world.project, external_id="t"), [1, 1, -1], model="demo-scorer", kind=Kind.SCORER)
    add_scorer(models, "not-run-yet", "demo")
    add_scorer(models, "theirs", "elsewhere")
    file = tmp_path / "j.jsonl"
    file.write_text(json.dumps({"record_id": "t", "step_labels": {"2": 1}}))
    with pytest.raises(CommandError, match=sentence):
        call_command("import_predictions", "demo", str(file), model=name)
    assert versions() == [("demo-scorer v1", "scorer")]
    assert (Prediction.objects.count(), Job.objects.count()) == (1, 0)
    call_command("import_predictions", "demo", str(file), model="theirs")  # another project's: nobody has to know
    assert versions() == [("demo-scorer v1", "scorer"), ("theirs v1", "imported")]


def test_who_comes_second_at_the_same_moment_fails_and_the_first_is_still_heard(judged: World) -> None:
    with pytest.raises(JobFailed, match=IMPORTED):
        actions.version_of(judged.project.pk, Kind.SCORER, "j0", {}, Identity("c"), sees_reference=False)
    again = actions.version_of(judged.project.pk, Kind.IMPORTED, "j0", {}, Identity("d"), sees_reference=False)
    assert latest_versions(judged.project) == [again]
    assert versions() == [("j0 v1", "imported"), ("j0 v2", "imported")]


def test_projects_do_not_share_names(judged: World) -> None:
    other = make_world("other")
    learning.change_policy(other.project, {"name": "j0"}, user=other.admin)
    assert other.project.learning.name == "j0"
