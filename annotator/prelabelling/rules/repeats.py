"""R4 and R6: the same call again, and what the agent does after an error. Pure."""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from pydantic import JsonValue

from annotator.prelabelling.rules.errors import error_in
from annotator.prelabelling.rules.reading import Call, Finding, Run, plain, quoted
from annotator.prelabelling.rules_config import RulesConfig

_LOOK_BACK = 50  # earlier calls of the same tool
_MIN_WORDS, _MAX_WORDS = 3, 500  # of a query: two short ones are alike by chance, a file that is written is no query
_READS = re.compile(
    "browse|calc|calculate|check|compare|compute|count|describe|display|estimate|evaluate|fetch|filter|find|get|grep|"
    "head|inspect|is|list|look|lookup|ls|open|pwd|query|read|retrieve|scan|search|show|sort|stat|tail|think|translate|"
    "tree|validate|verify|view|wc|weather",
    re.IGNORECASE,
)
_WORD_OF_NAME = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_WORD = re.compile(r"\w+")


def repeat(run: Run, settings: RulesConfig) -> Iterator[Finding]:
    """R4: the same call with the same result, or a query in nearly the same words; nothing changed state in between.

    A call that failed before is R6's.
    """
    since: dict[str, deque[tuple[int, Call]]] = {}  # tool -> its calls since the last one that changed state
    for step in run.steps:
        for call in step.calls:
            before = since.setdefault(call.name, deque(maxlen=_LOOK_BACK))
            if (found := _repeated(call, before, settings.near_repeat)) is not None:
                earlier, kind = found
                how = "with the same arguments and the same result" if kind == "exact" else "in nearly the same words"
                at = f"in step {earlier + 1}" if earlier < step.index else "earlier in this step"
                sentence = f"{quoted(call.name)} was called {how} {at}; nothing changed in between."
                evidence: dict[str, JsonValue] = {"tool": plain(call.name), "kind": kind, "earlier_step": earlier}
                yield Finding(step.index, "R4", 0, sentence, evidence)
            if changes_state(call.name, settings.state_changing_tools):
                since = {call.name: deque(maxlen=_LOOK_BACK)}
                before = since[call.name]
            before.append((step.index, call))


def retry(run: Run, settings: RulesConfig) -> Iterator[Finding]:
    """R6: the next call of a tool after it failed. Unchanged it fails again, unless the cause lay outside the agent;
    changed it may be the repair, unless it fails once more."""
    last: dict[str, tuple[int, Call]] = {}
    for step in run.steps:
        for call in step.calls:
            earlier, failed = last.get(call.name, (step.index, None))
            error = error_in(failed.result) if failed and earlier < step.index else None
            if failed and error:
                fails_again = error_in(call.result) is not None
                changed = call.canonical != failed.canonical
                leaning = (None if fails_again else 1) if changed else 0 if error.cause == "external" else -1
                how = "with other arguments" if changed else "with the same arguments"
                then = "and failed again" if fails_again else "and did not fail" if call.result else "without a result"
                sentence = f"After the error in step {earlier + 1}, {quoted(call.name)} was called again {how} {then}."
                evidence: dict[str, JsonValue] = {
                    "tool": plain(call.name),
                    "changed": changed,
                    "fails_again": fails_again,
                    "earlier_step": earlier,
                    "cause": error.cause,
                }
                yield Finding(step.index, "R6", leaning, sentence, evidence)
        last.update({call.name: (step.index, call) for call in step.calls})


def changes_state(name: str, patterns: Sequence[str] | None) -> bool:
    """As the settings say; by default unless the name has a word for reading, such as getUser or order_list."""
    if patterns is not None:
        return any(fnmatchcase(name, pattern) for pattern in patterns)
    return not any(_READS.fullmatch(word) for word in _WORD_OF_NAME.findall(name[:200]))


def _repeated(call: Call, before: Sequence[tuple[int, Call]], threshold: float) -> tuple[int, str] | None:
    """The step of the latest like call, and how it is alike."""
    for step, earlier in reversed(before):
        if error_in(earlier.result):
            continue
        if call.canonical == earlier.canonical:
            return (step, "exact") if call.result and call.result == earlier.result else None
        if threshold < 1 and _nearly_alike(call.arguments, earlier.arguments, threshold):
            return step, "near"
    return None


def _nearly_alike(a: JsonValue, b: JsonValue, threshold: float) -> bool:
    """Texts of nearly the same words, with the same numbers: the next page is not a repeat of this one."""
    if not (isinstance(a, dict) and isinstance(b, dict)) or a.keys() != b.keys():
        return False
    words_a, words_b = _words(a), _words(b)
    if not all(_MIN_WORDS <= len(words) <= _MAX_WORDS for words in (words_a, words_b)):
        return False
    differ = words_a ^ words_b
    common = len(words_a & words_b)
    return common >= threshold * (common + len(differ)) and not any(letter.isdigit() for letter in "".join(differ))


def _words(arguments: JsonValue) -> set[str]:
    """Every word and number in the values, walked without recursion."""
    words: set[str] = set()
    stack = [arguments]
    while stack and len(words) <= _MAX_WORDS:
        value = stack.pop()
        if isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
        else:
            words.update(_WORD.findall(str(value)[:10_000].lower()))
    return words
