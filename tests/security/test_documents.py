"""The threat model names its proofs; they are there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODEL = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")


def test_every_threat_has_a_defence_and_a_test_that_exists() -> None:
    _, _, rest = MODEL.partition("\n## What stands against what\n")
    rows = [line.strip("| ").split(" | ") for line in rest.partition("\n## ")[0].splitlines() if line.startswith("| ")]
    assert [len(row) for row in rows] == [3] * len(rows)
    for threat, _, proofs in rows[2:]:
        named = re.findall(r"`(tests/\w+/test_\w+\.py)`", proofs)
        assert named, threat
        assert [path for path in named if not (ROOT / path).is_file()] == [], threat
    assert len(rows) > 10
