"""Every benchmark runs at a tiny size and prints its table; what it measures there means nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import panels
from tests.workers.prm import toy

ROOT = Path(__file__).parents[2]
# It shall make its own database and use no services of the tests.
ENVIRONMENT = {
    key: value
    for key, value in os.environ.items()
    if key not in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "STEPMARK_HOME")
}


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a benchmark that copies a database made once, for all that need one."""
    home = tmp_path_factory.mktemp("home")
    for command in ("migrate", "collectstatic"):
        subprocess.run(
            [sys.executable, "manage.py", command, "--no-input", "-v", "0"],
            cwd=ROOT,
            env={**ENVIRONMENT, "STEPMARK_HOME": str(home)},
            check=True,
            timeout=120,
        )
    return {**ENVIRONMENT, "BENCHMARK_HOME": str(home)}


def test_the_benchmark_of_the_scorer_compares_it_with_the_best_judge(tmp_path: Path) -> None:
    (tmp_path / "judges/strict").mkdir(parents=True)
    with (
        (tmp_path / "hotpotqa.jsonl").open("w") as data,
        (tmp_path / "gold_hotpotqa.jsonl").open("w") as gold,
        (tmp_path / "judges/strict/hotpotqa.jsonl").open("w") as judge,
    ):
        for number in range(24):
            messages = toy.messages_of(toy.values_of(number), number)
            steps = [str(i) for i, message in enumerate(messages) if message["role"] == "assistant"]
            record = {"data_source": "toys", "query_index": number, "sample_index": 0, "updated_at": "2026-01-01"}
            labels = dict(zip(steps, toy.values_of(number), strict=True))
            data.write(json.dumps({**record, "question": f"{number}?", "messages": messages, "step_labels": labels}))
            data.write("\n")
            gold.write(json.dumps({**record, "step_labels": labels}) + "\n")
            judge.write(json.dumps({**record, "step_labels": dict.fromkeys(steps, -1)}) + "\n")
    out = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.scorer", "--quick", "--json", str(out), "--data", str(tmp_path)]

    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    values = [value for number in range(24) for value in toy.values_of(number)]
    figures = {row["name"]: row["value"] for row in json.loads(out.read_text())["figures"]}
    assert figures["always +1: steps right"] == pytest.approx(100 * values.count(1) / len(values))
    assert figures["best judge of 1: strict: steps right"] == pytest.approx(100 * values.count(-1) / len(values))
    assert "scorer prefix blind hashed seed 0: steps right" in figures
    assert 0 < figures["weakest judge (strict), fused: steps right"] < 100  # one fold alone
    assert "weakest judge (strict) and scorer, fused: steps right" in figures
    assert "learnt from all of the other folds: steps right" in figures


def make_judges(folder: Path, n: int) -> None:
    """n trajectories of four steps about n / 2 questions: one judge is always right, two are now and then."""
    rng = np.random.default_rng(0)
    judges = {"DeepSeek-V3.2": 1.0, "GPT-5.2-Chat": 0.7, "Gemini-3-Flash-Preview": 0.5}
    rows: dict[str, list[str]] = {name: [] for name in ["gold", *judges]}
    for number in range(n):
        about = {"query_index": number // 2, "sample_index": number % 2, "updated_at": "2026-01-01T00:00:00+00:00"}
        truth = {str(2 * step + 2): int(rng.choice([-1, 1, 1])) for step in range(4)}
        rows["gold"].append(json.dumps({**about, "step_labels": truth, "final_label": 1}))
        for name, share in judges.items():
            said = {key: value if rng.random() < share else 1 for key, value in truth.items()}
            why = {"steps": {key: "fits" if value == 1 else "does not fit" for key, value in said.items()}}
            rows[name].append(json.dumps({**about, "step_labels": said, "final_label": 1, "explanations": why}))
    (folder / "gold_toys.jsonl").write_text("\n".join(rows.pop("gold")))
    for name, lines in rows.items():
        (folder / "judges" / name).mkdir(parents=True)
        (folder / "judges" / name / "toys.jsonl").write_text("\n".join(lines))


def test_a_panel_holds_what_its_own_judges_said_and_nothing_of_the_others(tmp_path: Path) -> None:
    about = {"query_index": 0, "sample_index": 0, "updated_at": "2026-01-01"}
    (tmp_path / "gold_toys.jsonl").write_text(json.dumps({**about, "step_labels": {"2": 1, "4": -1}}))
    for judge, value, outcome in (("mild", 1, 1), ("strict", -1, -1)):
        (tmp_path / "judges" / judge).mkdir(parents=True)
        why = {"steps": {"2": judge, "4": f"{judge} too"}}
        said = {**about, "step_labels": {"2": value, "4": value}, "final_label": outcome, "explanations": why}
        (tmp_path / "judges" / judge / "toys.jsonl").write_text(json.dumps(said))

    both, strict = panels.read(tmp_path, ["toys"]), panels.read(tmp_path, ["toys"], ["strict"])

    assert (both.raters, both.votes.tolist()) == (("mild", "strict"), [[1, -1], [1, -1]])
    assert (both.outcome.tolist(), both.texts) == ([0.0], ["mild strict", "mild too strict too"])
    assert (strict.raters, strict.votes.tolist()) == (("strict",), [[-1], [-1]])
    assert (strict.outcome.tolist(), strict.texts) == ([-1.0], ["strict", "strict too"])


@pytest.mark.parametrize(
    ("name", "figure", "right"),
    [
        ("fusion", "cheap, 3: ours, all gold of the other folds", 100.0),
        ("effort", "cheap, 3: random, 99 % right", None),
        ("acceptance", "strong, 9, at most 15 % wrong, 100 sampled: promise broken, proved", 0.0),
    ],
)
def test_the_benchmarks_of_panels_read_any_set(name: str, figure: str, right: float | None, tmp_path: Path) -> None:
    make_judges(tmp_path, 60)
    out = tmp_path / "figures.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json", str(out), "--data", str(tmp_path)]
    if name == "fusion":
        command.append("--no-scale")
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    figures = {row["name"]: row["value"] for row in json.loads(out.read_text())["figures"]}
    assert 0 <= figures[figure] <= 100
    if right is not None:
        assert figures[figure] == pytest.approx(right)


@pytest.mark.parametrize(
    ("name", "title", "figure"),
    [
        ("importing", "Import", "import, slots included"),
        ("exporting", "Release and export", "export trl_stepwise"),
        ("opening", "Opening and claiming", "claim at 60: p50"),
        ("agreement", "Agreement", "agreement page at 60"),
        ("saving", "Saving labels", "API, 4 annotators: rate"),
        ("prelabel", "Pre-labelling with discriminative models", "tiniest, real lengths: (c) over (a)"),
        ("runs", "Pre-label runs", "gone on with"),
        ("rounds", "Selection rounds", "60: the longest claim"),
    ],
)
def test_a_benchmark_runs_and_prints_its_table(
    name: str, title: str, figure: str, prepared: dict[str, str], tmp_path: Path
) -> None:
    # The first makes a database of its own, as everybody's does.
    environment = ENVIRONMENT if name == "importing" else prepared
    out = tmp_path / "figures.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json", str(out), "--data", str(tmp_path)]

    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    assert title in done.stdout.splitlines()
    assert "what bounds it" in done.stdout
    assert "samples of the repository" in done.stdout
    assert figure in {row["name"] for row in json.loads(out.read_text())["figures"]}
