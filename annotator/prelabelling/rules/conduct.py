"""R7, R10 and R12: calls written as text, writes without consent, and runs that were cut off. Pure."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from pydantic import JsonValue

from annotator.prelabelling.rules.reading import Finding, Run, Step, listed, plain, quoted
from annotator.prelabelling.rules_config import RulesConfig

# How chat templates write a call. Where it still stands in the text, nobody has carried it out.
_MARKERS = (
    "<tool_call>",
    "<tool_call ",
    "<tool_calls>",
    "<function_call>",
    "<function_calls>",
    "<function=",
    "<invoke name=",
    "<|tool_call",
    "<|python_tag|>",
    "<｜tool▁call",
    "[TOOL_CALLS]",
    "[TOOL_CALL]",
    "```tool_call",
    "```tool_code",
)
_NAMED = re.compile(r'"(?:name|tool|tool_name|function)"\s{0,20}:\s{0,20}"([^"\\]{1,200})"')
_ARGUMENTS = re.compile(r'"(?:arguments|parameters|tool_input|action_input)"\s{0,20}:')
_WORD = re.compile(r"[\w'’]+")
_MAX_CONSENT = 5_000  # characters of what the user said
_CUT_OFF = frozenset({"length", "max_tokens", "max_output_tokens", "model_context_window_exceeded"})


def literal_call(run: Run, settings: RulesConfig) -> Iterator[Finding]:
    """R7: text that contains a call instead of making it. What the agent only thought does not count."""
    for step in run.steps:
        if not step.calls and (form := _literal_call_in(step.text, run)):
            sentence = f"The text contains a call as {quoted(form)}, but the step makes no call."
            yield Finding(step.index, "R7", -1, sentence, {"form": plain(form)})


def no_consent(run: Run, settings: RulesConfig) -> Iterator[Finding]:
    """R10: a tool of `tools_to_confirm` is called, and the user's last words are no consent to what the agent said."""
    for step in run.steps if settings.tools_to_confirm else ():
        names = [call.name for call in step.calls if _matches(call.name, settings.tools_to_confirm)]
        if names and not _consents(step, settings):
            sentence = f"{listed(list(dict.fromkeys(names)))} was called without the user's consent just before."
            evidence: dict[str, JsonValue] = {"tools": [plain(name) for name in names[:5]]}
            yield Finding(step.index, "R10", -1, sentence, {**evidence, "user": plain(step.user_before, 120)})


def cut_off(run: Run, settings: RulesConfig) -> Iterator[Finding]:
    """R12: a text that stopped at the length limit, a run that used up its steps or ends without an answer."""
    for step in run.steps:
        reason = step.message.get("finish_reason") or step.message.get("stop_reason")
        if isinstance(reason, str) and reason in _CUT_OFF:
            sentence = f"The text was cut off at the length limit ({reason})."
            yield Finding(step.index, "R12", None, sentence, {"limit": "length", "reason": reason})
    if not run.steps:
        return
    last, n = run.steps[-1], len(run.steps)
    if settings.max_steps is not None and n >= settings.max_steps:
        sentence = f"The run has {n} steps, and {settings.max_steps} were allowed."
        yield Finding(last.index, "R12", None, sentence, {"limit": "steps", "n_steps": n})
    elif last.calls:
        names = listed([call.name for call in last.calls])
        sentence = f"The run ends after the call of {names}, without an answer."
        yield Finding(last.index, "R12", None, sentence, {"limit": "no_answer", "n_steps": n})


def _literal_call_in(text: str, run: Run) -> str | None:
    """The form of the call that the text contains: a marker of a chat template, or JSON that names a tool on offer."""
    lower = text.lower()
    if marker := next((marker for marker in _MARKERS if marker.lower() in lower), None):
        return marker.strip()
    if _ARGUMENTS.search(text):
        return next((found.group() for found in _NAMED.finditer(text) if found[1] in run.tools), None)
    return None


def _consents(step: Step, settings: RulesConfig) -> bool:
    said = " ".join(_WORD.findall(step.user_before[:_MAX_CONSENT].lower()))
    return step.has_spoken and any(f" {word.lower()} " in f" {said} " for word in settings.words_of_consent)


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
