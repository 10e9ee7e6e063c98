import re
from pathlib import Path

from pydantic import BaseModel

from annotator.prelabelling.judge_config import JudgeConfig

DOCS = Path(__file__).resolve().parents[2] / "docs" / "judges.md"


def fields(model, prefix=""):
    for name, field in model.model_fields.items():
        kinds = [
            kind for kind in (field.annotation, *getattr(field.annotation, "__args__", ())) if isinstance(kind, type)
        ]
        section = next((kind for kind in kinds if issubclass(kind, BaseModel)), None)
        yield from fields(section, f"{name}.") if section else [prefix + name]


def test_every_field_of_a_judges_file_is_documented_and_no_other():
    table = DOCS.read_text(encoding="utf-8").split("\n## The file\n")[1].split("\n## ")[0]
    first_cells = re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE)
    documented = {name for cell in first_cells for name in re.findall(r"`([\w.]+)`", cell)}
    assert documented == set(fields(JudgeConfig))
