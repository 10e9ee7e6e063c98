"""Every benchmark runs at a tiny size and prints its table; what it measures there means nothing."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from annotator.fusion.panel import MISSING
from benchmarks import acceptance, effort, fusion, panels
from benchmarks.bench import Figure
from tests.workers.prm import toy

ROOT = Path(__file__).parents[2]
# It shall make its own database and use no services of the tests.
ENVIRONMENT = {
    key: value
    for key, value in os.environ.items()
    if key not in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "STEPMARK_HOME")
}


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
            # Of a sixth sample, and of one step, there is no text.
            without = {**record, "sample_index": 5, "step_labels": labels}
            gold.write(json.dumps(without if number else {**without, "step_labels": {"999": 1}}) + "\n")
            judge.write(json.dumps({**record, "step_labels": dict.fromkeys(steps, -1)}) + "\n")
    out = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.scorer", "--quick", "--json", str(out), "--data", str(tmp_path)]

    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    values = [value for number in range(24) for value in toy.values_of(number)]
    figures = {row["name"]: row["value"] for row in json.loads(out.read_text())["figures"]}
    assert figures["hotpotqa: always +1: steps right"] == pytest.approx(100 * values.count(1) / len(values))
    assert figures["hotpotqa: best judge of 1: strict: steps right"] == pytest.approx(
        100 * values.count(-1) / len(values)
    )
    assert "hotpotqa: scorer prefix blind hashed seed 0: steps right" in figures
    assert 0 < figures["hotpotqa: weakest judge (strict), fused: steps right"] < 100  # one fold alone
    assert "hotpotqa: weakest judge (strict) and scorer, fused: steps right" in figures
    assert "hotpotqa: learnt from all of the other folds: steps right" in figures


def make_judges(folder: Path, n: int, of_set: str = "toys") -> None:
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
    (folder / f"gold_{of_set}.jsonl").write_text("\n".join(rows.pop("gold")))
    for name, lines in rows.items():
        (folder / "judges" / name).mkdir(parents=True, exist_ok=True)
        (folder / "judges" / name / f"{of_set}.jsonl").write_text("\n".join(lines))


def test_a_panel_holds_what_its_own_judges_said_and_nothing_of_the_others(tmp_path: Path) -> None:
    about = {"query_index": 0, "sample_index": 0, "updated_at": "2026-01-01"}
    (tmp_path / "gold_toys.jsonl").write_text(json.dumps({**about, "step_labels": {"2": 1, "4": -1}}))
    for judge, value, outcome in (("mild", 1, 1), ("strict", -1, -1)):
        (tmp_path / "judges" / judge).mkdir(parents=True)
        why = {"steps": {"2": judge, "4": f"{judge} too"}}
        said = {**about, "step_labels": {"2": value, "4": value}, "final_label": outcome, "explanations": why}
        (tmp_path / "judges" / judge / "toys.jsonl").write_text(json.dumps(said))

    data = panels.read(tmp_path)
    both, strict = data.panel(), data.panel(["strict"])

    assert (both.raters, both.votes.tolist()) == (("mild", "strict"), [[1, -1], [1, -1]])
    assert (both.outcome.tolist(), both.texts) == ([0.0], ["mild strict", "mild too strict too"])
    assert (strict.raters, strict.votes.tolist()) == (("strict",), [[-1], [-1]])
    assert (strict.outcome.tolist(), strict.texts) == ([-1.0], ["strict", "strict too"])


def make_texts(folder: Path, of_set: str = "toys") -> None:
    """The trajectories that make_judges made labels of: whoever gave a wrong last step gave a wrong answer, too."""
    rows = []
    for line in (folder / f"gold_{of_set}.jsonl").read_text().splitlines():
        gold = json.loads(line)
        messages = [{"role": "system", "content": "Help."}, {"role": "user", "content": "Which city?"}]
        for message in gold["step_labels"]:
            is_right = message != "8" or gold["step_labels"][message] == 1
            messages.append({"role": "assistant", "content": "Rome" if is_right else "Oslo"})
            messages.append({"role": "user", "content": "?"})
        about = {name: gold[name] for name in ("query_index", "sample_index")}
        rows.append(json.dumps({**about, "data_source": "x", "messages": messages[:-1], "ground_truth": "Rome"}))
    (folder / f"{of_set}.jsonl").write_text("\n".join(rows))


def test_rules_are_heard_where_the_trajectories_are_there(tmp_path: Path) -> None:
    make_judges(tmp_path, 40)
    make_judges(tmp_path, 40, "without_text")
    out, quick = tmp_path / "figures.json", ["--quick", "--data", str(tmp_path)]
    assert not panels.read(tmp_path).has_rules

    make_texts(tmp_path)
    data = panels.read(tmp_path)
    panel, without = data.panel(rules=True), data.panel()

    assert (data.has_rules, without.context.shape) == (True, (320, 0))
    is_last = (panel.place == 3) & (panel.owner < 40)
    leans = np.where(panel.gold[is_last, None] == 1, [0, 0, 1], [1, 0, 0])
    np.testing.assert_array_equal(panel.context[is_last], leans)
    assert not panel.context[~is_last].any()
    np.testing.assert_array_equal(panel.probs, without.probs)

    fusion.main([*quick, "--json", str(out), "--no-scale", "--panel", "strong, 2"])
    figures = {one["name"]: one for one in json.loads(out.read_text())["figures"]}
    name = "all gold of the other folds"
    for part in ("", ", toys"):
        ours, single = (figures[f"strong, 2{part}: {who}, {name}"] for who in ("ours with rules", "best single"))
        assert ours["also"]["gain"] == pytest.approx(ours["value"] - single["value"])
    assert "strong, 2: ours with rules, all gold, ECE" in figures
    assert "strong, 2, toys: ours with rules, learnt on the other sets, ECE" in figures


def row(query: int, labels: dict[str, object], **more: object) -> str:
    """One line of a file. U+2028 and U+0085 end a line in Python, but neither in JSON nor in a file."""
    about = {"query_index": query, "sample_index": 0, "comment": "a\u2028b\x85c", "step_labels": labels}
    return json.dumps({**about, **more}, ensure_ascii=False)


def write(path: Path, *lines: str, start: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(start + "\n".join([*lines, "  "]), encoding="utf-8")


def test_files_that_are_not_as_they_should_be_are_read_as_far_as_they_can_be(tmp_path: Path) -> None:
    gold = [
        row(0, {"2": 1, "4": None, "10": -1}, data_source="a"),
        row(0, {"2": 0}, data_source="b"),  # the numbers begin again
        row(1, {"2": 0}, data_source="b", updated_at=None),
        row(1, {"2": 1}, data_source="b", updated_at="2026-01-01"),  # the last word on it
        row(2, {"2": None}, data_source="b"),
        row(3, {"2": 2}, data_source="b"),
    ]
    write(tmp_path / "gold_odd.jsonl", *gold, start="\ufeff")
    write(tmp_path / "gold_none.jsonl")
    said = [
        row(0, {"2": -1, "4": 1}, data_source="a", comment=None, explanations={"steps": {"10": "why", "4": "what"}}),
        row(0, {"2": 1}, data_source="b"),
        row(1, {"2": -2}, data_source="b"),
    ]
    write(tmp_path / "judges/one/odd.jsonl", *said, said[1][:-5])
    write(tmp_path / "judges/mute/odd.jsonl", row(9, {"2": 1}, data_source="a"))

    data = panels.read(tmp_path)
    panel = data.panel()

    assert (data.names, list(data.judges), len(set(panel.groups.tolist()))) == (["odd"], ["one"], 3)
    assert (panel.starts.tolist(), panel.gold.tolist()) == ([0, 2, 3, 4], [1, -1, 0, 1])
    assert panel.votes[:, 0].tolist() == [-1, MISSING, 1, MISSING]
    assert panel.texts == ["", "why", "", ""]
    assert list(data.notes) == [
        "gold_none.jsonl: 0 of 0 trajectories have no label and are left out.",
        f"{tmp_path.name}/gold_odd.jsonl: 1 rows cannot be read and are left out; the first is line 6, "
        "step_labels.2: must be -1, 0, 1 or null.",
        "gold_odd.jsonl: 1 of 4 trajectories have no label and are left out.",
        "mute says nothing of odd.",
        "one/odd.jsonl: 2 rows cannot be read and are left out; the first is line 3, step_labels.2: must be -1, 0, 1 "
        "or null.",
    ]


def test_where_questions_are_numbered_through_the_source_does_not_matter(tmp_path: Path) -> None:
    write(tmp_path / "gold_odd.jsonl", row(0, {"2": 1}, data_source="a"), row(1, {"2": 1}, data_source="b"))
    write(tmp_path / "judges/one/odd.jsonl", row(0, {"2": -1}), row(1, {"2": 0}, data_source="c"))
    assert panels.read(tmp_path).panel().votes[:, 0].tolist() == [-1, 0]


@pytest.mark.parametrize("module", [fusion, effort, acceptance])
def test_without_what_is_asked_for_there_is_no_table_but_a_reason(module: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    with pytest.raises(SystemExit, match=r"There is no gold_<set>\.jsonl in .*; name the folder"):
        module.main(["--data", str(tmp_path), "--json", str(out)])
    make_judges(tmp_path, 2)
    with pytest.raises(SystemExit, match=r"There is no panel 'cheap 3' here, but: strong, 3; .*all, 3\."):
        module.main(["--data", str(tmp_path), "--panel", "cheap 3", "--quick"])
    for folder in ("DeepSeek-V3.2", "GPT-5.2-Chat"):
        (tmp_path / "judges" / folder / "toys.jsonl").unlink()
    with pytest.raises(SystemExit, match="Two judges at least are needed"):
        module.main(["--data", str(tmp_path), "--quick"])
    assert not out.exists()


def test_every_set_has_its_figures_and_an_abstention_is_wrong(tmp_path: Path) -> None:
    make_judges(tmp_path, 40)
    make_judges(tmp_path, 40, "Quiet_ones")
    for judge in (tmp_path / "judges").iterdir():
        (judge / "Quiet_ones.jsonl").unlink()
    out = tmp_path / "figures.json"
    fusion.main(["--data", str(tmp_path), "--json", str(out), "--no-scale", "--quick"])
    figures = {one["name"]: one for one in json.loads(out.read_text())["figures"]}
    best = "best single, all gold of the other folds"
    for name in ("majority", best):
        assert figures[f"cheap, 3, Quiet_ones: {name}"]["value"] == 0
        assert figures[f"cheap, 3, Quiet_ones: {name}"]["also"]["ece"] is None  # nothing was said
    assert figures[f"cheap, 3, toys: {best}"]["value"] == 100
    assert figures[f"cheap, 3: {best}"]["value"] == 50
    ours = figures["cheap, 3: ours, all gold of the other folds"]
    assert ours["also"]["gain"] == pytest.approx(ours["value"] - 50)
    assert figures["cheap, 3, toys: ours, all gold of the other folds"]["value"] == pytest.approx(100)
    assert 0 < figures["cheap, 3, Quiet_ones: ours, learnt on the other sets, ECE"]["value"] < 100

    effort.main(["--data", str(tmp_path), "--json", str(out), "--quick"])
    figures = {one["name"]: one for one in json.loads(out.read_text())["figures"]}
    for part in ("", ", toys", ", Quiet_ones"):
        assert 0 < figures[f"cheap, 3{part}: random, 99 % right"]["value"] <= 100
        assert f"cheap, 3{part}: suggestions of all judges together" in figures
    alone = [figures[f"cheap, 3{part}: suggestions of the best judge"]["value"] for part in (", toys", ", Quiet_ones")]
    assert np.mean(alone) == pytest.approx(figures["cheap, 3: suggestions of the best judge"]["value"])


def test_a_run_that_ends_early_keeps_the_figures_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_judges(tmp_path, 10)
    out = tmp_path / "figures.json"

    def measure(title: str, *_: object, quick: bool) -> list[Figure]:
        if title == "strong, 2":
            raise KeyboardInterrupt
        return [Figure(title, math.nan, "%")]

    monkeypatch.setattr(fusion, "_measure", measure)
    with pytest.raises(KeyboardInterrupt):
        fusion.main(["--data", str(tmp_path), "--json", str(out)])
    (only,) = json.loads(out.read_text())["figures"]
    assert (only["name"], only["value"]) == ("strong, 3", None)


def test_the_benchmark_of_acceptance_reads_any_set(tmp_path: Path) -> None:
    make_judges(tmp_path, 60)
    out = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.acceptance", "--quick", "--json", str(out), "--data", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    figures = {row["name"]: row["value"] for row in json.loads(out.read_text())["figures"]}
    assert figures["cheap, 3, at most 15 % wrong, 100 sampled: promise broken, proved"] == 0


# Those that need a database and no processes beside it run over one: each would make it and start PostgreSQL anew.
OVER_ONE_DATABASE = """
import runpy
import sys
from contextlib import nullcontext

from benchmarks import bench

_, folder, *names = sys.argv
with bench.own_home() as home:
    bench.own_home = lambda: nullcontext(home)
    for name in names:
        sys.argv = [name, "--quick", "--json", f"{folder}/{name}.json", "--data", folder]
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
"""


def test_benchmarks_run_and_print_their_tables(tmp_path: Path) -> None:
    titles = {
        "exporting": ("Release and export", "export trl_stepwise"),
        "opening": ("Opening and claiming", "submit, the second, which settles: p50"),
        "agreement": ("Agreement", "agreement page at 60"),
        "runs": ("Pre-label runs", "gone on with"),
        "rounds": ("Selection rounds", "60: the longest claim"),
    }
    command = [sys.executable, "-c", OVER_ONE_DATABASE, str(tmp_path), *titles]

    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for name, (title, figure) in titles.items():
        table = "\n".join(lines[lines.index(title) :])
        assert "what bounds it" in table
        assert "samples of the repository" in table
        assert figure in {row["name"] for row in json.loads((tmp_path / f"{name}.json").read_text())["figures"]}


@pytest.mark.parametrize(
    ("name", "title", "figure"),
    [
        ("importing", "Import", "import, slots included"),
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
