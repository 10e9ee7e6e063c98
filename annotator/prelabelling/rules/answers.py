"""R8, R9 and R11: the final answer, its form, the reference and what it rests on. Pure."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from annotator.prelabelling.rules.reading import Finding, Run, listed, plain
from annotator.prelabelling.rules_config import RulesConfig

Match = Literal["exact", "number", "contains", "mismatch"]

_MAX_ANSWER, _MAX_REFERENCE, _MAX_REFERENCES = 20_000, 2_000, 100  # characters, characters, accepted answers
_REFERENCE_KEYS = ("ground_truth", "target", "answers", "answer")
_BOXED = "\\boxed"
_ARTICLES = frozenset({"a", "an", "the"})
_NUMBER = re.compile(
    r"\A(?P<sign>[-+−]?)[$€£¥]?(?P<digits>\d{1,40}(?:[,\s]\d{3}){0,12}(?:\.\d{1,40})?)\s*(?P<unit>\D{0,40})\Z"
)
_LEANING: dict[Match, int] = {"exact": 1, "number": 1, "contains": 1, "mismatch": -1}
_SAID: dict[Match, str] = {
    "exact": "is the reference",
    "number": "is the same number as the reference",
    "contains": "contains, or is contained in, the reference",
    "mismatch": "is not the reference",
}
_DROPPED = re.compile(r"[^\w\s.]|_|(?<!\d)\.|\.(?!\d)")  # marks on letters are no \w either, once taken apart
_MAX_NAMES = 20
_NAME = re.compile(r"\w+(?:[.:'’-]\w+)*")
_PART = re.compile(r"\w+")
_SENTENCE_END = frozenset('.!?:;\n"“(*#')
# Words with a capital that name nothing, as the whole of an answer or its start.
_NO_NAMES = (
    "yes",
    "no",
    "none",
    "true",
    "false",
    "unknown",
    "both",
    "neither",
    "either",
    "all",
    "not",
    "insufficient",
    "i",
)


@dataclass(frozen=True)
class Answer:
    """The final answer; `is_marked`: it stood in a tag, so that nothing else is in it."""

    text: str
    is_marked: bool


def missing_tag(run: Run, settings: RulesConfig) -> Iterator[Finding]:
    """R8: the last step does not give its answer in the form that was asked for."""
    if settings.answer_tag and run.steps and marked_answer(run.steps[-1].text, settings.answer_tag) is None:
        form = _BOXED + "{…}" if settings.answer_tag == _BOXED else f"<{settings.answer_tag}>…</{settings.answer_tag}>"
        sentence = f"The last step gives no final answer in {form}."
        yield Finding(run.steps[-1].index, "R8", -1, sentence, {"tag": settings.answer_tag})


def against_reference(run: Run, settings: RulesConfig) -> Iterator[Finding]:
    """R9: the final answer against the reference. Silent without a reference that is made of texts or numbers."""
    accepted = references_of(run.reference)
    if not accepted or not run.steps:
        return
    answer = final_answer(run, settings)
    matches: list[tuple[Match, str]] = [(matched(answer.text, one), one) for one in accepted]
    # dict keeps the order of strength: the best match decides.
    match, reference = next(found for kind in _SAID for found in matches if found[0] == kind)
    sentence = f"The final answer “{plain(answer.text)}” {_SAID[match]} “{plain(reference)}”."
    if not answer.text.strip():
        sentence = f"There is no final answer; the reference is “{plain(reference)}”."
    evidence: dict[str, JsonValue] = {"match": match, "answer": plain(answer.text), "reference": plain(reference)}
    yield Finding(run.steps[-1].index, "R9", _LEANING[match], sentence, evidence)


def unsupported(run: Run, settings: RulesConfig) -> Iterator[Finding]:
    """R11: a name or a number of the final answer that is nowhere in what the agent was given to read."""
    if not run.steps or run.steps[-1].calls:
        return
    answer = final_answer(run, settings)
    # "2024-05-20" is seen as a whole and in its parts, so that an answer may write "May 20, 2024".
    seen = {word for text in run.seen for word in (*_words(text), *_PART.findall(_flat(text)))}
    wanted = ((name, _words(name), _PART.findall(_flat(name))) for name in names_of(answer))
    names = [name for name, words, parts in wanted if not (seen.issuperset(words) or seen.issuperset(parts))]
    if names:
        verb = "is" if len(names) == 1 else "are"
        sentence = f"{listed(names)} of the final answer {verb} in no result and nothing the user said."
        evidence: dict[str, JsonValue] = {"names": [plain(name) for name in names[:5]]}
        yield Finding(run.steps[-1].index, "R11", None, sentence, evidence)


def final_answer(run: Run, settings: RulesConfig) -> Answer:
    """What the last step answers: the last <answer>, \\boxed or configured tag, else all that it says.

    Nothing where a tag is required and missing, and nothing where the last step acts instead of answering.
    """
    last = run.steps[-1]
    for tag in [settings.answer_tag] if settings.answer_tag else ["answer", _BOXED]:
        if (found := marked_answer(last.text, tag)) is not None:
            return Answer(found.strip()[-_MAX_ANSWER:], True)
    return Answer("" if settings.answer_tag or last.calls else last.text.strip()[-_MAX_ANSWER:], False)


def marked_answer(text: str, tag: str) -> str | None:
    """The text within the last pair of tags, or within the braces of the last \\boxed{…}."""
    if tag != _BOXED:
        end = text.rfind(f"</{tag}>")
        start = text.rfind(f"<{tag}>", 0, max(end, 0))
        return text[start + len(tag) + 2 : end] if start >= 0 else None
    start = text.rfind(_BOXED + "{")
    depth, begin = 0, start + len(_BOXED) + 1
    for position in range(begin - 1, len(text) if start >= 0 else 0):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[begin:position]
    return None


def references_of(reference: JsonValue, depth: int = 0) -> list[str]:
    """The accepted answers of an imported reference: a text, a number, a list of them, or an object that holds one.

    A list of anything else, such as BFCL's expected calls, is no answer.
    """
    if isinstance(reference, dict) and depth < 3:
        found = (references_of(reference[key], depth + 1) for key in _REFERENCE_KEYS if key in reference)
        return next(filter(None, found), [])
    items = reference if isinstance(reference, list) else [reference]
    if not all(isinstance(item, str | int | float) and not isinstance(item, bool) for item in items):
        return []
    texts = [
        str(item)[:_MAX_REFERENCE].strip() for item in items[:_MAX_REFERENCES] if type(item) is not int or _fits(item)
    ]
    return [text for text in texts if text]


def matched(answer: str, reference: str) -> Match:
    """How an answer fits one reference, both normalised: equal, the same number, one within the other, or not."""
    a, b = normalised(answer), normalised(reference)
    (number_a, unit_a), (number_b, unit_b) = _number(answer), _number(reference)
    if number_a != number_b and number_a is not None and number_b is not None:
        return "mismatch"  # "-5" is not "5", although punctuation does not count in a text
    if a == b and (a or answer == reference):
        return "exact"
    if number_a is not None and number_b is not None:
        return "number" if unit_a == unit_b or not unit_a or not unit_b else "mismatch"
    within = a and b and (f" {b} " in f" {a} " or f" {a} " in f" {b} ")
    return "contains" if within else "mismatch"


def normalised(text: str) -> str:
    """Lower case, without punctuation, English articles and superfluous spaces (as SQuAD compares answers)."""
    return " ".join(word for word in _words(text) if word not in _ARTICLES)


def names_of(answer: Answer) -> list[str]:
    """Runs of words with a capital and numbers of two or more digits. A lone word with a capital at the start of a
    sentence counts only in a marked answer: elsewhere every sentence has one."""
    names: dict[str, None] = {}
    run: list[re.Match[str]] = []
    for found in [*_NAME.finditer(answer.text), None]:
        word = found.group() if found else ""
        continues = bool(run and found) and answer.text[run[-1].end() : found.start() if found else 0].strip(" ") == ""
        if run and not (continues and word[:1].isupper()):
            before = answer.text[: run[0].start()].rstrip(" ")[-1:]
            starts = not before or before in _SENTENCE_END
            if len(run) > 1 or not starts or answer.is_marked:
                names[answer.text[run[0].start() : run[-1].end()]] = None
            run = []
        if found and word[:1].isupper() and word.lower() not in _NO_NAMES:
            run.append(found)
        elif found and sum(letter.isdigit() for letter in word) >= 2:
            names[word] = None
    return list(names)[:_MAX_NAMES]


def _words(text: str) -> list[str]:
    """The words, without case, punctuation and marks on letters; "1,200" is one word, and so is "10.5"."""
    return _DROPPED.sub("", _flat(text)).split()


def _flat(text: str) -> str:
    return unicodedata.normalize("NFKD", text).casefold()


def _number(text: str) -> tuple[float | None, str]:
    """A number and its unit, if the text is nothing else: "5 km", "$1,200", "12.5%"."""
    if len(text) > 100 or not (found := _NUMBER.match(text.strip())):
        return None, ""
    value = float(re.sub(r"[,\s]", "", found["digits"]))
    return (-value if found["sign"] in ("-", "−") else value), normalised(found["unit"])


def _fits(number: int) -> bool:
    return abs(number) < 10**100
