"""What every benchmark shares: its frame, a durable database of its own, the table, profiles and percentiles."""

import argparse
import cProfile
import json
import math
import os
import pstats
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from textwrap import wrap
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = ROOT.parent / "shared/data/agentprocessbench"
SAMPLES = ROOT / "samples/trajectories.jsonl"


@dataclass(frozen=True)
class Figure:
    """One line of the table. Without an aim it is a baseline or a fact."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    bound: str = ""
    also: Mapping[str, float] = field(default_factory=dict)  # what `bound` says in words, for the JSON

    @property
    def is_met(self) -> bool | None:
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least

    @property
    def aim(self) -> str:
        if self.at_most is not None:
            return f"≤ {self.at_most:g}"
        return "" if self.at_least is None else f"≥ {self.at_least:g}"


# A folder of its own, one of data, and whether only to show that it runs; facts and figures come back.
Measure = Callable[[Path, Path, bool], tuple[list[str], list[Figure]]]


def run(title: str, description: str | None, measure: Measure) -> None:
    """One benchmark from its command line to its table."""
    chosen = options(description)
    with own_home() as home:
        facts, figures = measure(home, chosen.data, chosen.quick)
    report(title, facts, figures, chosen.json)


def options(description: str | None, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What every benchmark takes: `quick`, `json` and `data`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a tiny size: only shows that it runs")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures to this file, too")
    parser.add_argument(
        "--data", type=Path, default=REAL_DATA, metavar="DIR", help="JSONL files of trajectories (default: %(default)s)"
    )
    return parser.parse_args(arguments)


@contextmanager
def own_home() -> Iterator[Path]:
    """A new folder with a durable PostgreSQL and Django on it; both are gone afterwards."""
    from annotator import embedded

    home = Path(tempfile.mkdtemp(prefix="stepmark-benchmark-"))
    try:
        os.environ["STEPMARK_HOME"] = str(home)
        os.environ["SECRET_KEY"] = embedded.secret_key(home)
        os.environ["DATABASE_URL"] = embedded.start_postgres(home)
        os.environ["LOG_LEVEL"] = "WARNING"
        os.environ["DJANGO_SETTINGS_MODULE"] = "annotator.settings"
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # playwright runs an event loop in this thread
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", interactive=False, verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        yield home
    finally:
        from django.db import connections

        connections.close_all()
        embedded.stop_postgres(home)
        shutil.rmtree(home, ignore_errors=True)


def report(title: str, facts: Sequence[str], figures: Sequence[Figure], out: Path | None) -> None:
    """Prints the table and, if asked, writes it as JSON."""
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    facts = [*facts, f"{os.cpu_count()} cores; load average at the end: {load} (1, 5, 15 min)."]
    head = ("figure", "measured", "unit", "aim", "met?")
    rows = [(f.name, _number(f.value), f.unit, f.aim, {True: "yes", False: "NO", None: ""}[f.is_met]) for f in figures]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    say(f"\n{title}")
    for fact in facts:
        say(f"  {fact}")
    say("")
    indent = sum(widths) + 2 * len(widths)
    for row, bound in zip([head, *rows], ["what bounds it", *(f.bound for f in figures)], strict=True):
        name, value, *others = row
        cells = [name.ljust(widths[0]), value.rjust(widths[1])]
        cells += [cell.ljust(width) for cell, width in zip(others, widths[2:], strict=True)]
        first, *rest = wrap(bound, 70) or [""]
        say("  ".join([*cells, first]).rstrip())
        for line in rest:
            say(" " * indent + line)
    if out:
        rows_json = [_storable(asdict(f) | {"is_met": f.is_met}) for f in figures]
        out.write_text(json.dumps({"title": title, "facts": facts, "figures": rows_json}, indent=2) + "\n")


def _storable(value: Any) -> Any:
    """JSON has no NaN: null."""
    if isinstance(value, dict):
        return {key: _storable(one) for key, one in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Gives a function that tells the seconds: so far, and after the block those of the block."""
    start = time.perf_counter()
    end: list[float] = []
    yield lambda: (end[0] if end else time.perf_counter()) - start
    end.append(time.perf_counter())


def peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


def memory_mb() -> float:
    import psutil  # type: ignore[import-untyped]

    return float(psutil.Process().memory_info().rss) / 1024**2


# A profile in one line

_PLACES = (
    ("PostgreSQL and its driver", ("psycopg",)),
    ("JSON", ("json/", "_json", "json.")),
    ("hashing", ("hashlib", "_hashlib", "openssl", "HASH")),
    ("templates", ("django/template", "template_partials", "django/utils/html", "django/utils/safestring")),
    ("Django's ORM", ("django/db",)),
    ("pydantic", ("pydantic",)),
    ("numpy", ("numpy",)),
    ("REST framework", ("rest_framework", "knox")),
    ("rest of Django", ("django/", "csp/", "whitenoise")),
    ("Stepmark's Python", (str(ROOT / "annotator"), str(ROOT / "templates"))),
)
_Function = tuple[str, int, str]


def _place_of(function: _Function) -> str | None:
    file, _, name = function
    text = name if file == "~" else file
    return next((place for place, words in _PLACES if any(word in text for word in words)), None)


def profile(work: Callable[[], object], *, dump: Path | None = None) -> str:
    """Where the time of `work` goes, e.g. `JSON 41 %, hashing 12 %`; what a builtin takes counts for its caller.

    The profiler makes many small calls look dearer than they are: read it as an order, not as figures.
    """
    profiler = cProfile.Profile()
    profiler.runcall(work)
    if dump:
        profiler.dump_stats(dump)
    shares: Counter[str] = Counter()
    functions = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    for function, (_, _, own, _, callers) in functions.items():
        place = _place_of(function)
        if place or function[0] != "~" or not callers:
            shares[place or "other"] += own
            continue
        for caller, (_, _, own_for_caller, _) in callers.items():
            shares[_place_of(caller) or "other"] += own_for_caller
    total = sum(shares.values()) or 1.0
    parts = [f"{place} {100 * own / total:.0f} %" for place, own in shares.most_common(5) if own / total >= 0.03]
    return "profile: " + ", ".join(parts)
