"""docker-compose.yml, the Dockerfile and the documents beside them, as far as they can be checked without an engine."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.apps import apps

ROOT = Path(__file__).resolve().parents[2]
OURS = {"migrate", "web", "worker", "judge-worker", "beat", "gpu-worker", "cpu-worker"}


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(read("docker-compose.yml"))
    return parsed


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]
    return found


def stages() -> dict[str, str]:
    """Stage name → its instructions, with those of the stages that it is built from."""
    parts = re.split(r"^FROM (\S+) AS (\S+)\n", read("Dockerfile"), flags=re.MULTILINE)[1:]
    found: dict[str, str] = {}
    for base, name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        copied = "".join(found[stage] for stage in re.findall(r"--from=(\S+)", body))
        found[name] = found.get(base, "") + copied + body
    return found


def test_every_service_is_there_and_the_models_only_when_asked_for(services: dict[str, Any]) -> None:
    assert services.keys() == OURS | {"postgres", "redis"}
    assert {name: service["profiles"] for name, service in services.items() if "profiles" in service} == {
        "gpu-worker": ["gpu"],
        "cpu-worker": ["cpu"],
    }
    (device,) = services["gpu-worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_every_lasting_service_has_a_health_check_and_comes_back_by_itself(services: dict[str, Any]) -> None:
    for name in services.keys() - {"migrate"}:
        assert services[name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name
        assert services[name]["restart"] == "unless-stopped", name
    assert services["migrate"]["restart"] == "no"
    assert "healthcheck" not in services["migrate"]


def test_nothing_of_ours_starts_before_the_database_is_migrated(services: dict[str, Any]) -> None:
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["migrate"]["command"] == ["python", "manage.py", "migrate", "--no-input"]
    for name in OURS - {"migrate"}:
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}, name


def test_only_the_workers_of_the_gpu_queue_use_the_image_with_torch(services: dict[str, Any]) -> None:
    targets = {name: services[name]["build"]["target"] for name in OURS}
    assert {name for name, target in targets.items() if target == "worker"} == {"gpu-worker", "cpu-worker"}
    queues = {name: services[name]["command"][5] for name in OURS if "worker" in name}
    assert queues == {"worker": "default", "judge-worker": "judges", "gpu-worker": "gpu", "cpu-worker": "gpu"}


def test_only_the_web_port_is_published_and_by_default_to_this_machine_alone(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"web": ["${HOST:-127.0.0.1}:${PORT:-8000}:8000"]}


def test_the_database_is_on_a_volume_and_secrets_come_from_the_env_file(compose: dict[str, Any]) -> None:
    assert compose["services"]["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]
    assert "postgres" in compose["volumes"]
    text = read("docker-compose.yml")
    assert set(re.findall(r"\$\{(\w+):\?", text)) == {"SECRET_KEY", "POSTGRES_PASSWORD"}
    given = dict(re.findall(r"^(\w+)=(.*)$", read(".env.example"), re.MULTILINE))
    assert (given["SECRET_KEY"], given["POSTGRES_PASSWORD"]) == ("", "")
    assert "/.env" in read(".gitignore").splitlines()


def test_every_variable_of_the_compose_file_is_documented(services: dict[str, Any]) -> None:
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", read("docker-compose.yml")))
    for name in OURS:
        used |= services[name]["environment"].keys()
    used |= set(re.findall(r"^(\w+)=", read(".env.example"), re.MULTILINE))
    documented = set(re.findall(r"^\| `(\w+)` \|", read("docs/configuration.md"), re.MULTILINE))
    assert used - documented == set()


def test_every_variable_that_the_settings_read_reaches_the_containers(services: dict[str, Any]) -> None:
    read_by_settings = set(re.findall(r'env\.\w+\(\s*"(\w+)"', read("annotator/settings.py")))
    # DEBUG is never for a machine that others reach; the image sets its own home.
    # The judges' addresses and keys are read by the workers alone, under the names that the model files give.
    files = (ROOT / "workers/prelabel/models").glob("*.yaml")
    judges = {name for file in files for name in re.findall(r"_env: (\w+)", file.read_text())}
    assert judges <= services["judge-worker"]["environment"].keys()
    assert read_by_settings - {"DEBUG", "STEPMARK_HOME"} == services["web"]["environment"].keys() - judges
    assert "STEPMARK_HOME=/var/lib/stepmark" in stages()["web"]


def test_the_web_image_installs_no_torch_and_the_worker_image_does() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert not [name for name in project["dependencies"] if name.startswith("torch")]
    assert "['optional-dependencies']" not in stages()["web"]
    assert "['dependencies']" in stages()["web"]
    assert "['optional-dependencies']['worker']" in stages()["worker"]
    assert [name for name in project["optional-dependencies"]["worker"] if name.startswith("torch")]


@pytest.mark.parametrize("target", ["web", "worker"])
def test_an_image_runs_as_nobody_special_with_every_package_pinned(target: str) -> None:
    lines = stages()[target]
    assert re.findall(r"^USER (\S+)", lines, re.MULTILINE) == ["stepmark"]
    assert lines.rindex("USER stepmark") < lines.rindex("CMD [")
    installs = re.findall(r"pip install .*?(?=\n[A-Z#]|\Z)", lines, re.DOTALL)
    assert installs
    assert all("-c constraints.txt" in install for install in installs)


def test_static_files_are_collected_when_the_web_image_is_built() -> None:
    assert "manage.py collectstatic --no-input" in stages()["web"]


def test_the_build_context_has_all_that_runs_and_nothing_else() -> None:
    kept = {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")}
    assert kept == {
        "annotator", "workers", "templates", "static", "samples", "manage.py", "pyproject.toml", "constraints.txt",
    }  # fmt: skip
    assert all((ROOT / path).exists() for path in kept)
    assert "*" in read(".dockerignore").splitlines()


def test_the_data_model_page_names_every_table_with_its_links() -> None:
    page = read("docs/data-model.md")
    diagram = page.partition("```mermaid\n")[2].partition("```")[0]
    drawn = set(re.findall(r"^    \w+ \S+ (\w+) : (\w+)$", diagram, re.MULTILINE))
    tables = {model.__name__: model for model in apps.get_app_config("annotator").get_models()}
    described = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert described == tables.keys()
    links = {
        (name, field.name)
        for name, model in tables.items()
        for field in model._meta.get_fields()
        if (field.many_to_one or field.one_to_one) and field.concrete and field.related_model in tables.values()
        # Nearly every table names a person; the diagram shows the membership alone.
        if field.related_model is not tables["User"] or name == "Membership"
    }
    assert drawn == links


def test_the_tour_shows_every_picture_and_says_a_sentence_about_each() -> None:
    shown = re.findall(r"^!\[(.+?)\]\(images/(.+?)\)$", read("docs/tour.md"), re.MULTILINE)
    assert shown
    for alternative, name in shown:
        path = ROOT / "docs/images" / name
        assert path.stat().st_size < 200_000, name
        assert alternative
