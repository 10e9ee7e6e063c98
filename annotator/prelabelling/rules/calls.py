"""R1 to R3: what is wrong with a call before it is made. Pure."""

from collections.abc import Iterator

from annotator.prelabelling.rules.reading import Call, Finding, Run, json_type, plain, quoted
from annotator.prelabelling.rules.schema_check import SchemaChecker
from annotator.prelabelling.rules_config import RulesConfig


def unreadable_arguments(run: Run, settings: RulesConfig) -> Iterator[Finding]:
    """R1: the arguments are no JSON, or no object."""
    for step, call in _calls(run):
        if not call.is_json:
            sentence = f"The arguments of {quoted(call.name)} are not valid JSON."
            yield Finding(step, "R1", None, sentence, {"tool": plain(call.name), "problem": "not_json"})
        elif not isinstance(call.arguments, dict):
            found = json_type(call.arguments)
            sentence = f"The arguments of {quoted(call.name)} are {found}, but must be an object."
            yield Finding(step, "R1", None, sentence, {"tool": plain(call.name), "problem": "not_an_object"})


def unknown_tool(run: Run, settings: RulesConfig) -> Iterator[Finding]:
    """R2: a tool that the trajectory does not offer. Silent where the trajectory names no tools at all."""
    for step in run.steps if run.tools else ():
        for call in step.calls:
            if call.name not in run.tools:
                sentence = (
                    f"The call goes to {quoted(call.name)}, which is none of the {len(run.tools)} tools on offer."
                )
                yield Finding(step.index, "R2", None, sentence, {"tool": plain(call.name), "n_tools": len(run.tools)})


def schema_violation(run: Run, settings: RulesConfig) -> Iterator[Finding]:
    """R3: arguments that the tool's own JSON Schema does not allow."""
    checker = SchemaChecker()
    for step, call in _calls(run):
        if call.is_json and isinstance(call.arguments, dict) and call.name in run.tools:
            for problem in checker.problems(run.tools[call.name], call.arguments):
                sentence = f"In the call of {quoted(call.name)}, {problem.sentence}."
                evidence = {"tool": plain(call.name), "argument": problem.where, "keyword": problem.keyword}
                yield Finding(step, "R3", None, sentence, {**evidence})


def _calls(run: Run) -> Iterator[tuple[int, Call]]:
    """The calls that take JSON."""
    for step in run.steps:
        for call in step.calls:
            if not call.is_custom:
                yield step.index, call
