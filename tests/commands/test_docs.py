import re
from pathlib import Path

import yaml

from annotator import errors
from annotator.api.errors import CODES
from annotator.errors import DomainError
from annotator.projects.actions import ProjectSettings
from annotator.releases.policy import ReleasePolicy

ROOT = Path(__file__).resolve().parents[2]


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def documented(section: str) -> set[str]:
    """The names in the first column of the section's table."""
    _, found, rest = read("docs/configuration.md").partition(f"\n## {section}\n")
    assert found, f"docs/configuration.md has no section {section!r}"
    return set(re.findall(r"^\| `(\w+)` \|", rest.split("\n## ")[0], re.MULTILINE))


def test_every_environment_variable_is_documented_and_no_other() -> None:
    read_by_settings = set(re.findall(r'env\.\w+\(\s*"(\w+)"', read("annotator/settings.py")))
    read_by_stack = set(re.findall(r'environ\.get\("(\w+)"', read("annotator/management/commands/run_stack.py")))
    assert {"SECRET_KEY", "REDIS_URL"} <= read_by_settings
    read_by_judges = {
        name
        for path in (ROOT / "workers/prelabel/models").glob("*.yaml")
        for name in re.findall(r"_env: (\w+)", path.read_text(encoding="utf-8"))
    }
    assert documented("Environment variables") == read_by_settings | read_by_stack | read_by_judges


def test_every_project_setting_is_documented_and_no_other() -> None:
    assert documented("Project settings") == set(ProjectSettings.model_fields)


def test_every_field_of_the_release_policy_is_documented_and_no_other() -> None:
    assert documented("Release policy") == set(ReleasePolicy.model_fields)


def test_every_operation_of_the_api_has_one_row_that_says_who_may() -> None:
    rows = re.findall(r"^\| `((?:GET|POST|PUT|PATCH|DELETE) [^`]+)`", read("docs/api.md"), re.MULTILINE)
    paths = yaml.safe_load(read("docs/openapi.yaml"))["paths"]
    every = [f"{verb.upper()} {path.removeprefix('/api/v1/')}" for path, verbs in paths.items() for verb in verbs]
    assert sorted(rows) == sorted(every)


def test_every_code_of_a_refusal_is_in_the_table() -> None:
    # Only pages and commands, or a job's own page, say these.
    elsewhere = {
        "refused", "account.other", "annotation.warnings", "annotation.final", "annotation.changed", "labels.outdated",
        "job.failed",
    }  # fmt: skip
    said = {each.code for each in vars(errors).values() if isinstance(each, type) and issubclass(each, DomainError)}
    said |= {*CODES.values(), *re.findall(r'refusal\(\s*\d+, "([\w.]+)"', read("annotator/api/errors.py"))}
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", read("docs/api.md").partition("\n## Errors\n")[2], re.MULTILINE)
    assert {code for _, codes in rows for code in re.findall(r"`([\w.]+)`", codes)} == said - elsewhere


def test_every_command_has_a_section_of_its_own() -> None:
    commands = {
        path.stem for path in (ROOT / "annotator/management/commands").glob("*.py") if not path.stem.startswith("_")
    }
    assert set(re.findall(r"^## `(\w+)`", read("docs/commands.md"), re.MULTILINE)) == commands
