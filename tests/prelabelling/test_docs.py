"""The page on pre-labelling names every field of a model file and every ready model."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from annotator.prelabelling import discriminative as schema

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/prelabelling.md").read_text(encoding="utf-8")
FIRST_COLUMN = " ".join(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE))
PARTS = [
    schema.DiscriminativeConfig,
    schema.Backbone,
    schema.TokensHead,
    schema.LayersHead,
    schema.Render,
    schema.Read,
    schema.Mapping,
    schema.Limits,
]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_every_field_has_its_line(part: type[BaseModel]) -> None:
    named = set(re.findall(r"`(\w+)", FIRST_COLUMN))
    assert set(part.model_fields) - named == set()


def test_every_ready_model_has_its_line() -> None:
    files = (ROOT / "workers/prelabel/models").glob("*.yaml")
    ends = [path.stem for path in files if "kind: discriminative" in path.read_text()]
    missing = [name for name in ends if f"`{name}`" not in PAGE and f"`-{name.rsplit('-', 1)[1]}`" not in PAGE]
    assert missing == []
