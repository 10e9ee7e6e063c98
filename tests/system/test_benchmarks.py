"""Every benchmark runs at a tiny size and prints its table; what it measures there means nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# It shall make its own database and use no services of the tests.
ENVIRONMENT = {
    key: value
    for key, value in os.environ.items()
    if key not in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "STEPMARK_HOME")
}


@pytest.mark.parametrize(
    ("name", "title", "figure"),
    [
        ("importing", "Import", "import, slots included"),
        ("exporting", "Release and export", "export trl_stepwise"),
        ("opening", "Opening and claiming", "claim at 60: p50"),
        ("agreement", "Agreement", "agreement page at 60"),
        ("saving", "Saving labels", "API, 4 annotators: rate"),
        ("prelabel", "Pre-labelling with discriminative models", "tiniest, real lengths: (c) over (a)"),
    ],
)
def test_a_benchmark_runs_and_prints_its_table(name: str, title: str, figure: str, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json", str(out), "--data", str(tmp_path)]

    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    assert title in done.stdout.splitlines()
    assert "what bounds it" in done.stdout
    assert "samples of the repository" in done.stdout
    assert figure in {row["name"] for row in json.loads(out.read_text())["figures"]}
