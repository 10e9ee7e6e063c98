"""Check arguments against a tool's JSON Schema, however hostile the schema is.

The schema comes from an imported file, and jsonschema alone would hang or fetch on some: a `pattern` can take
Python's regular expressions forever, definitions that mention each other twice take 2^n visits, a `$ref` may name an
address, and a nested `$schema` switches to a validator of another draft with all of that. So:

- only the keywords below are looked at, with the one vocabulary built here; the others (patterns, formats,
  unevaluated and conditional parts, uniqueness) never lead to a finding;
- `$ref` is followed within the schema only, and no registry is given from which anything could be retrieved;
- every keyword visited is paid for out of a budget for the whole trajectory, more where the arguments are large.
  With an empty budget the rest goes unchecked: silence, never a wrong finding.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import referencing
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import create
from pydantic import JsonValue

from annotator.prelabelling.rules.reading import json_type, listed, plain, quoted

MAX_PROBLEMS = 3  # of one call
_MAX_SCHEMA, _MAX_ARGUMENTS = 100_000, 50_000  # characters
# A visit costs 200 and the length of the arguments, because an error message repeats them: about 0.3 s in all.
_BUDGET, _VISIT = 20_000_000, 200

# BFCL and others write Python's names.
_ALIASES = {
    "dict": "object",
    "map": "object",
    "list": "array",
    "tuple": "array",
    "str": "string",
    "int": "integer",
    "float": "number",
    "double": "number",
    "bool": "boolean",
}
_TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
_KEYWORDS: dict[str, type | tuple[type, ...]] = {
    "$ref": str,
    "type": (str, list),
    "enum": list,
    "const": (str, int, float, bool, type(None)),
    "required": list,
    "properties": dict,
    "additionalProperties": (bool, dict),
    "items": (bool, dict),
    "prefixItems": list,
    "minItems": int,
    "maxItems": int,
    "minLength": int,
    "maxLength": int,
    "minimum": (int, float),
    "maximum": (int, float),
    "exclusiveMinimum": (int, float),
    "exclusiveMaximum": (int, float),
    "minProperties": int,
    "maxProperties": int,
    "allOf": list,
    "anyOf": list,
    "oneOf": list,
    "not": (bool, dict),
}

Keyword = Callable[[Validator, JsonValue, JsonValue, JsonValue], Iterator[ValidationError] | None]


class BudgetSpentError(Exception):
    """The schemas of this trajectory cost more than a check may."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with one argument: `where` it stands, such as `filters.year`, and the keyword that says so."""

    where: str
    keyword: str
    sentence: str


class SchemaChecker:
    """Checks the calls of one trajectory out of one budget."""

    def __init__(self) -> None:
        self._left = _BUDGET
        self._price = _VISIT
        keywords = {name: self._paid(name, Draft202012Validator.VALIDATORS[name]) for name in _KEYWORDS}
        self._validator = create(meta_schema={}, validators=keywords, id_of=lambda schema: "")

    def problems(self, schema: JsonValue, arguments: JsonValue) -> list[Problem]:
        """The first problems of the arguments; none where the schema is unusable, too large or too costly."""
        if not isinstance(schema, dict) or self._left <= 0:
            return []
        try:
            size = len(json.dumps(arguments))
            if size > _MAX_ARGUMENTS or len(json.dumps(schema)) > _MAX_SCHEMA:
                return []
            self._price = _VISIT + size
            # An empty registry: without one, jsonschema fetches what a $ref names.
            validator = self._validator(_without_dialects(schema), registry=referencing.Registry())
            found = [_problem(error) for error in islice(validator.iter_errors(arguments), 4 * MAX_PROBLEMS)]
        except Exception:
            # Schemas come from anybody, and the library trusts them: a malformed one ends in whatever it runs into
            # (a missing definition, endless recursion, a list where it wants an object, an empty budget).
            return []
        return list(dict.fromkeys(found))[:MAX_PROBLEMS]  # each missing argument is an error of its own, told together

    def _paid(self, name: str, check: Keyword) -> Keyword:
        def paid(
            validator: Validator, value: JsonValue, instance: JsonValue, schema: JsonValue
        ) -> Iterator[ValidationError]:
            loops = sum(len(each) for each in (value, instance) if isinstance(each, list | dict))
            self._left -= self._price * (1 + loops)
            if self._left <= 0:
                raise BudgetSpentError
            if (usable := _usable(name, value, schema)) is not None:
                yield from check(validator, usable, instance, schema) or ()

        return paid


def _usable(name: str, value: JsonValue, schema: JsonValue) -> JsonValue:
    """The keyword's value if it is one that can be checked, else None."""
    if not isinstance(value, _KEYWORDS[name]):
        return None
    if name == "$ref":
        return value if isinstance(value, str) and value.startswith("#") and len(value) < 500 else None
    if name == "type":
        types = [
            _ALIASES.get(each, each) for each in (value if isinstance(value, list) else [value]) if type(each) is str
        ]
        return [*types] if types and _TYPES.issuperset(types) else None
    if name == "enum" and isinstance(value, list):
        return value if value and not any(isinstance(each, list | dict) for each in value) else None
    if name == "required" and isinstance(value, list):
        return [each for each in value if isinstance(each, str)]
    if name == "additionalProperties":
        return None if isinstance(schema, dict) and "patternProperties" in schema else value
    return value


def _without_dialects(schema: JsonValue) -> JsonValue:
    """A copy in which no part claims a draft of its own. (A property of that name holds an object, and stays.)"""
    if isinstance(schema, dict):
        return {
            key: _without_dialects(value)
            for key, value in schema.items()
            if not (key == "$schema" and isinstance(value, str))
        }
    return [_without_dialects(value) for value in schema] if isinstance(schema, list) else schema


def _problem(error: ValidationError) -> Problem:
    path = [part if isinstance(part, int) else plain(part) for part in islice(error.absolute_path, 8)]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
    subject = f"the argument {quoted(where)}" if where else "the arguments"
    instance, value = error.instance, error.validator_value
    match error.validator:
        case "required":
            missing = [name for name in value if isinstance(name, str) and name not in instance]
            of = f" of {quoted(where)}" if where else ""
            return Problem(where, "required", f"the required argument {listed(missing)}{of} is missing")
        case "additionalProperties" if isinstance(instance, dict) and not isinstance(value, dict):
            known = error.schema.get("properties") or {}
            extra = [name for name in instance if name not in known]
            return Problem(where, "additionalProperties", f"the tool knows no argument {listed(extra)}")
        case "type":
            wanted = value if isinstance(value, str) else " or ".join(map(str, value))
            return Problem(where, "type", f"{subject} is {json_type(instance)}, but must be of type {plain(wanted)}")
        case "enum":
            return Problem(where, "enum", f"{subject} is not one of the {len(value)} values allowed")
    return Problem(where, str(error.validator), f"{subject} does not fulfil “{error.validator}” of the tool's schema")
