"""Small trajectories for the tests of the rules."""

import json
from itertools import count

from annotator.prelabelling.rules import find
from annotator.prelabelling.rules_config import RulesConfig

_ids = count()

SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "parameters": {
            "type": "object",
            "properties": {
                "query": {"type": "string"},
                "limit": {"type": "integer", "minimum": 1},
                "sort": {"enum": ["date", "rank"]},
                "filters": {"type": "object", "properties": {"years": {"type": "array", "items": {"type": "integer"}}}},
            },
            "required": ["query"],
            "additionalProperties": False,
        },
    },
}
BOOK = {"name": "book_flight", "parameters": {"type": "object", "properties": {"to": {"type": "string"}}}}
TOOLS = [SEARCH, BOOK]


def user(text):
    return {"role": "user", "content": text}


def says(text, **extra):
    return {"role": "assistant", "content": text, **extra}


def calls(*made, text=""):
    """An assistant message with calls, each (name, arguments), or (name, arguments, id)."""
    shaped = []
    for name, arguments, *given in made:
        raw = arguments if isinstance(arguments, str) else json.dumps(arguments)
        shaped.append({"id": given[0] if given else f"c{next(_ids)}", "function": {"name": name, "arguments": raw}})
    return {"role": "assistant", "content": text, "tool_calls": shaped}


def result(text, **extra):
    return {"role": "tool", "content": text if isinstance(text, str) else json.dumps(text), **extra}


def found(code, messages, *, tools=TOOLS, reference=None, **settings):
    """The findings of one rule."""
    findings = find(messages, tools, reference, RulesConfig(**settings))
    return [finding for finding in findings if finding.code == code]
