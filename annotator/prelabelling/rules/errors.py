"""R5: a result that reports an error, and whose fault that is. Pure."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from pydantic import JsonValue

from annotator.prelabelling.rules.reading import Finding, Result, Run, plain
from annotator.prelabelling.rules_config import RulesConfig

Cause = Literal["external", "caused", "unclear"]

_HEAD = 600  # characters of a text that may say that it is an error
_SAYS_ERROR = re.compile(
    r"""^\W{0,3}(?:
        (?:fatal\ |tool\ |execution\ |runtime\ )?error(?:\ \d{3})?\s*[:!]   # Error: …
      | error\ (?:executing|calling|running|while|during|occurred|invoking)\b
      | (?:[a-z_]{1,40}\.){0,4}[a-z_]{0,40}(?:error|exception):             # json.JSONDecodeError: …
      | traceback\ \(most\ recent\ call\ last\)
      | http(?:/[\d.]{1,3})?\ (?:error\ |status\ )?[45]\d\d\b               # HTTP 404, HTTP/1.1 404
      | [45]\d\d\ (?:bad\ request|unauthorized|forbidden|not\ found|too\ many|internal|bad\ gateway|service)
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_TRACEBACK = "Traceback (most recent call last)"
_STATUS = re.compile(r"\b(4\d\d|5\d\d)\b")
_CAUSED_STATUS = ("400", "405", "409", "411", "412", "413", "414", "415", "422")
_EXTERNAL_STATUS = ("404", "408", "410", "425", "429")
_EXTERNAL = re.compile(
    r"\btime[d-]?\s?-?out\b|\brate.?limit|too many requests|connection (?:refused|reset|error|aborted|closed)"
    r"|\btemporar|\bunavailable\b|unreachable|overloaded|server error|bad gateway|try again later",
    re.IGNORECASE,
)
_CAUSED = re.compile(
    r"\binvalid\b|\bmissing\b|\brequired\b|\bvalidation\b|\bunexpected\b|\bmalformed\b|\bmust be\b|\bnot a valid\b"
    r"|\b(?:unknown|no such|unrecognized|unsupported) (?:tool|function|argument|parameter|method|column|field)"
    r"|\b(?:tool|function) \S{1,80} (?:not found|does not exist)|(?:type|value|key|syntax|attribute|name|index)error",
    re.IGNORECASE,
)
_NOT_FOUND = re.compile(r"\bnot found\b", re.IGNORECASE)
_LEANING: dict[Cause, int | None] = {"external": 0, "caused": -1, "unclear": None}
_WHOSE: dict[Cause, str] = {
    "external": "the cause lies outside the agent",
    "caused": "the call itself is at fault",
    "unclear": "the cause is not said",
}


@dataclass(frozen=True)
class ToolError:
    cause: Cause
    excerpt: str


@lru_cache(maxsize=256)  # R4 and the step scorer ask about the same results again and again
def error_in(result: Result | None) -> ToolError | None:
    """The error that a result reports, if it does. A text that only speaks of errors further down reports none."""
    if result is None:
        return None
    text = result.text.strip()
    said = _error_of_object(text) if text.startswith("{") else None
    if said is None and (_SAYS_ERROR.match(text[:_HEAD]) or f"\n{_TRACEBACK}" in text[:_HEAD] or result.says_error):
        said = text[:_HEAD] + " … " + text[-200:] if len(text) > _HEAD + 200 else text
    return ToolError(_cause(said), plain(said, 120)) if said is not None else None


def tool_error(run: Run, settings: RulesConfig) -> Iterator[Finding]:
    """R5: the result of a call reports an error. It counts at the step that made the call."""
    for step in run.steps:
        names = {id(call.result): call.name for call in step.calls if call.result}
        of_calls = [call.result for call in step.calls if call.result]
        # A result that belongs to no call is still what this step brought about.
        strays = [result for result in step.results if result not in of_calls]
        for result in [*of_calls, *strays]:
            if error := error_in(result):
                name = plain(names.get(id(result), ""))
                of = f"The result of “{name}”" if name else "What came back"
                sentence = f"{of} is an error, and {_WHOSE[error.cause]}: “{error.excerpt}”."
                evidence: dict[str, JsonValue] = {"tool": name, "cause": error.cause, "error": error.excerpt}
                yield Finding(step.index, "R5", _LEANING[error.cause], sentence, evidence)


def _error_of_object(text: str) -> str | None:
    """The error that a JSON object names: under a key for it, as an HTTP status, or by success: false."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    lower = {key.lower(): value for key, value in found.items()}
    for key in ("error", "errors", "exception", "error_message"):
        value = lower.get(key)
        if value and not (isinstance(value, str) and value.strip().lower() in ("none", "null", "false", "")):
            return _short(value)
    status = next((lower[key] for key in ("status", "status_code", "statuscode", "code") if key in lower), None)
    is_http = type(status) in (int, str) and re.fullmatch(r"[45]\d\d", str(status)[:9]) is not None
    if is_http or (isinstance(status, str) and status.lower() in ("error", "failed", "failure")):
        return _short(found)
    if lower.get("iserror", lower.get("is_error")) is True or lower.get("success", lower.get("ok")) is False:
        return _short(found)
    return None


def _short(value: JsonValue) -> str:
    try:
        return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))[:_HEAD]
    except RecursionError:
        return "an error too deeply nested to be shown"


def _cause(said: str) -> Cause:
    """What the words point to. A status decides first, then what passes by itself, then complaints about the call."""
    for status in _STATUS.findall(said):
        if status in _CAUSED_STATUS:
            return "caused"
        if status in _EXTERNAL_STATUS or status.startswith("5"):
            return "external"
    if _EXTERNAL.search(said):
        return "external"
    if _CAUSED.search(said):
        return "caused"
    return "external" if _NOT_FOUND.search(said) else "unclear"
