"""What the scorer sees of every step: two texts for the encoder, and numbers about calls, results and repetition.

With the mask `prefix` a step is described from the trajectory cut off after its own message, so that nothing that came
later, not even what its calls brought back, can reach its score. Names and widths of the numbers are `WIDTHS`; what
they mean is in docs/scorer.md.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import log1p
from zlib import crc32

import numpy as np

from annotator.importing.chat import message_text, reasoning_of, role_of
from annotator.prelabelling.rules import RULES, Finding, find
from annotator.prelabelling.rules.errors import Cause, error_in
from annotator.prelabelling.rules.reading import Result, Run, Step, read_run
from annotator.prelabelling.rules_config import RuleCode, RulesConfig
from annotator.prelabelling.scorer_config import TEXTS, Feature, Mask, Mode
from annotator.prelabelling.scores import TrajectoryText
from workers.prm.encoder import Encoder, Vectors

_TOOL_SLOTS, _DETAIL_SLOTS = 64, 32
_WORD = re.compile(r"\w+")
_MOST_WORDS = 5_000  # of one text: enough for overlaps, and no hostile text can take minutes
_CAUSES: tuple[Cause, ...] = ("external", "caused", "unclear")
_BLIND_TO: tuple[RuleCode, ...] = ("R9",)  # it reads the reference


@dataclass(frozen=True)
class Described:
    """A trajectory of n steps before it is encoded: one text of each kind and one row of numbers per step."""

    step_texts: list[str]
    context_texts: list[str]
    numbers: dict[Feature, Vectors]  # (n, WIDTHS[name])


@dataclass(frozen=True)
class _Seen:
    """All that is seen when a step is described."""

    trajectory: TrajectoryText
    run: Run
    findings: Sequence[Finding]
    starts: Sequence[int]  # message of each step
    words: Sequence[frozenset[str]]  # of each step's text and calls


def describe(trajectory: TrajectoryText, *, mask: Mask, mode: Mode) -> Described:
    """Raises RecursionError for a trajectory that is nested too deep for the rules."""
    starts = [i for i, message in enumerate(trajectory.messages) if role_of(message) == "assistant"]
    steps = range(len(starts))
    if mask == "full":
        views = [_look(trajectory, mode)] * len(starts)
    else:
        views = [_look(replace(trajectory, messages=trajectory.messages[: start + 1]), mode) for start in starts]
    rows = {name: [block(view, t) for view, t in zip(views, steps, strict=True)] for name, block in _BLOCKS.items()}
    return Described(
        [_step_text(view.run.steps[t]) for view, t in zip(views, steps, strict=True)],
        [_context_text(view, t) for view, t in zip(views, steps, strict=True)],
        {name: np.array(found, np.float32).reshape(len(starts), WIDTHS[name]) for name, found in rows.items()},
    )


def inputs_of(described: Sequence[Described], encoder: Encoder | None, features: Sequence[Feature]) -> "list[Inputs]":
    """(n_steps, `width`) for each trajectory: the named features side by side."""
    texts = {"step_text": [d.step_texts for d in described], "context_text": [d.context_texts for d in described]}
    encoded = {
        name: encoder.encode([text for of_one in texts[name] for text in of_one])
        for name in texts
        if encoder is not None and name in features
    }
    found, begin = [], 0
    for each in described:
        rows = slice(begin, begin + len(each.step_texts))
        begin = rows.stop
        columns = [encoded[name][0][rows] if name in encoded else each.numbers[name] for name in features]
        read = [sum(tokens) for tokens in zip(*(tokens[rows] for _, tokens, _ in encoded.values()), strict=True)]
        dropped = [sum(tokens) for tokens in zip(*(tokens[rows] for _, _, tokens in encoded.values()), strict=True)]
        found.append(Inputs(np.hstack(columns).astype(np.float32), sum(read), dropped))
    return found


@dataclass(frozen=True)
class Inputs:
    values: Vectors  # (n_steps, width)
    n_tokens: int
    dropped: list[int]  # tokens cut away from the texts of each step


def vectors(features: Sequence[Feature], encoder: Encoder) -> list[slice]:
    """The columns of each encoded text."""
    ends = np.cumsum([WIDTHS.get(name, encoder.width) for name in features]).tolist()
    encoded = zip(ends, features, strict=True)
    return [slice(end - encoder.width, end) for end, name in encoded if name in TEXTS]


def _look(trajectory: TrajectoryText, mode: Mode) -> _Seen:
    reference = trajectory.reference if mode == "with_reference" else None
    off = [] if mode == "with_reference" else list(_BLIND_TO)
    run = read_run(trajectory.messages, trajectory.tools, reference)
    findings = find(trajectory.messages, trajectory.tools, reference, RulesConfig(off=off))
    starts = [i for i, message in enumerate(trajectory.messages) if role_of(message) == "assistant"]
    return _Seen(trajectory, run, findings, starts, [_words(_step_text(step)) for step in run.steps])


def _step_text(step: Step) -> str:
    """What the agent says without its thinking, and its calls."""
    return "\n".join(filter(None, [step.text.strip(), *(f"{call.name} {call.canonical}" for call in step.calls)]))


def _between(view: _Seen, t: int, roles: Sequence[str]) -> str:
    """What was said to the agent since its last step."""
    begin = view.starts[t - 1] + 1 if t else 0
    messages = view.trajectory.messages[begin : view.starts[t]]
    return "\n".join(message_text(message) for message in messages if role_of(message) in roles)


def _context_text(view: _Seen, t: int) -> str:
    return _between(view, t, ("user", "tool"))


@lru_cache(maxsize=256)
def _words(text: str) -> frozenset[str]:
    found = set()
    for number, match in enumerate(_WORD.finditer(text.lower())):
        if number == _MOST_WORDS:
            break
        if len(word := match[0]) > 3 or word.isdigit():
            found.add(word)
    return frozenset(found)


# The numbers, one function per feature.


def _place(view: _Seen, t: int) -> list[float]:
    n, step = len(view.starts), view.run.steps[t]
    before = role_of(view.trajectory.messages[view.starts[t] - 1]) if view.starts[t] else ""
    return [
        log1p(t),
        (t + 1) / n,
        log1p(n),
        float(t == 0),
        float(t == n - 1),
        float(before == "user"),
        float(before == "tool"),
        float(bool(step.text.strip())),
        float(bool(step.calls)),
    ]


def _sizes(view: _Seen, t: int) -> list[float]:
    step = view.run.steps[t]
    whole = message_text(step.message)
    texts = [
        step.text,
        whole,
        reasoning_of(step.message),
        "".join(call.canonical for call in step.calls),
        _between(view, t, ("tool",)),
        _between(view, t, ("user",)),
        "".join(result.text for result in step.results),
    ]
    return [log1p(len(text)) for text in texts]


def _calls(view: _Seen, t: int) -> list[float]:
    step, earlier = view.run.steps[t], view.run.steps[:t]
    made = {(call.name, call.canonical) for before in earlier for call in before.calls}
    names = {call.name for before in earlier for call in before.calls}
    return [
        log1p(len(step.calls)),
        log1p(len({call.name for call in step.calls})),
        log1p(len(made)),
        log1p(len(step.results)),
        float(any((call.name, call.canonical) in made for call in step.calls)),
        float(any(call.name in names for call in step.calls)),
        float(any(not call.is_json and not call.is_custom for call in step.calls)),
        float(any(call.name not in view.run.tools for call in step.calls)),
    ]


def _tools(view: _Seen, t: int) -> list[float]:
    counts = Counter(crc32(call.name.encode("utf-8", "replace")) % _TOOL_SLOTS for call in view.run.steps[t].calls)
    return [log1p(counts[slot]) for slot in range(_TOOL_SLOTS)]


def _rules(view: _Seen, t: int) -> list[float]:
    """How often each rule speaks at the step, which way it leans, and the kind of its finding in hashed slots."""
    here = [finding for finding in view.findings if finding.step == t]
    counts = Counter((finding.code, finding.leaning) for finding in here)
    numbers = [log1p(counts[code, leaning]) for code in RULES for leaning in (None, -1, 0, 1)]
    kinds = {f"{f.code} {f.evidence.get(key)}" for f in here for key in ("match", "kind", "cause", "limit", "changed")}
    slots = {crc32(kind.encode("utf-8", "replace")) % _DETAIL_SLOTS for kind in kinds if not kind.endswith(" None")}
    return numbers + [float(slot in slots) for slot in range(_DETAIL_SLOTS)]


def _errors(view: _Seen, t: int) -> list[float]:
    """Errors in the results just before the step, in its own, and in all earlier ones; by cause."""
    steps = view.run.steps
    last = steps[t - 1].results if t else []
    earlier = [result for step in steps[:t] for result in step.results]
    return [log1p(count) for results in (last, steps[t].results, earlier) for count in _by_cause(results)]


def _by_cause(results: Sequence[Result]) -> list[int]:
    causes = [error.cause for result in results if (error := error_in(result)) is not None]
    return [causes.count(cause) for cause in _CAUSES]


def _overlap(view: _Seen, t: int) -> list[float]:
    """Shares of common words: of the step with the task, with results, with earlier steps and with the last step."""
    own, earlier = view.words[t], view.words[:t]
    task = _words(view.trajectory.instruction)
    last = _words(_between(view, t, ("tool",)))
    read = last.union(*(_words(result.text) for step in view.run.steps[:t] for result in step.results))
    back = _words("\n".join(result.text for result in view.run.steps[t].results))
    alike = [len(own & words) / max(len(own | words), 1) for words in earlier]
    return [
        _share(own, task),
        _share(task, own),
        _share(own, last),
        _share(own, read),
        _share(own, read | task),
        max(alike, default=0.0),
        alike[-1] if alike else 0.0,
        _share(own, back),
        _share(task, back),
        _share(view.words[-1], back),
        _share(view.words[-1], own),
    ]


def _share(part: frozenset[str], of: frozenset[str]) -> float:
    return len(part & of) / max(len(part), 1)


_BLOCKS: dict[Feature, Callable[[_Seen, int], list[float]]] = {
    "place": _place,
    "sizes": _sizes,
    "calls": _calls,
    "tools": _tools,
    "rules": _rules,
    "errors": _errors,
    "overlap": _overlap,
}
WIDTHS: dict[Feature, int] = {
    "place": 9,
    "sizes": 7,
    "calls": 8,
    "tools": _TOOL_SLOTS,
    "rules": 4 * len(RULES) + _DETAIL_SLOTS,
    "errors": 3 * len(_CAUSES),
    "overlap": 11,
}
