"""Stepmark's own format: the whole record, so that every value can be traced to labels, raters, versions and decisions.

Decisions:
- the fields stand in the order of `record.py`, whatever order they were stored in; unknown ones follow. What the source
  brought (messages, tools, reference, metadata) is written as it is stored;
- `metadata.tool_metrics` is left away: in AgentProcessBench it carries internal addresses;
- nothing is masked, and the policy's `error_view` changes nothing: `value` is what was settled, `counts` says what the
  policy counts.
"""

from collections.abc import Iterator, Mapping

from annotator.releases.exporters.record import (
    Decision,
    Exporter,
    ExportOptions,
    GoldOutcome,
    GoldStep,
    LeftOut,
    RawLabel,
    ReleaseRecord,
    Row,
    ordered_steps,
)


def export(record: ReleaseRecord, options: ExportOptions) -> Iterator[Row | LeftOut]:
    outcome = record["outcome"]
    yield (
        {"format": "stepmark-provenance", "format_version": options.format_version}
        | _in_order(ReleaseRecord, record)
        | {
            "metadata": {key: value for key, value in record["metadata"].items() if key != "tool_metrics"},
            "steps": [_judged(GoldStep, step) for step in ordered_steps(record)],
            "outcome": outcome and _judged(GoldOutcome, outcome),
            "reference_labels": dict(sorted(record["reference_labels"].items(), key=lambda item: int(item[0]))),
        }
    )


def _judged(kind: type, judged: GoldStep | GoldOutcome) -> Row:
    return _in_order(kind, judged) | {
        "labels": [_in_order(RawLabel, label) for label in judged["labels"]],
        "decisions": [_in_order(Decision, decision) for decision in judged["decisions"]],
    }


def _in_order(kind: type, fields: Mapping[str, object]) -> Row:
    """The fields in the order in which `kind` declares them."""
    return {key: fields[key] for key in kind.__annotations__ if key in fields} | dict(fields)


PROVENANCE = Exporter(
    "provenance",
    "jsonl",
    "Provenance: every raw label, decision and version behind every gold value.",
    export,
    has_error_view=False,
)
