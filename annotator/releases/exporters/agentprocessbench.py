"""AgentProcessBench: one record per trajectory, ternary labels by message index.

Decisions:
- the keys are those of the published records, in their order. `tool_metrics` is never written: it carries internal
  addresses of the machines that ran the tools. Other fields of the source are in the `provenance` export;
- a masked step has no key in `step_labels`; `final_label` is null while the outcome is not settled;
- a record that came from the benchmark is identified by data source, query and sample as there, so it gets no further
  key. Any other one gets `record_id`, the trajectory's external id, as the benchmark's label files have.
"""

from collections.abc import Iterator

from annotator.releases.exporters.record import (
    Exporter,
    ExportOptions,
    LeftOut,
    ReleaseRecord,
    Row,
    gold_value,
    masked,
    ordered_steps,
)

_NUMBERS = ("total_index", "query_index", "sample_index")


def export(record: ReleaseRecord, options: ExportOptions) -> Iterator[Row | LeftOut]:
    metadata = record["metadata"]
    row: Row = {key: metadata[key] for key in _NUMBERS if key in metadata}
    if not {"data_source", "query_index", "sample_index"} <= metadata.keys():
        row["record_id"] = record["external_id"]
    values = {step["message_index"]: gold_value(step) for step in ordered_steps(record)}
    yield row | {
        "question": metadata.get("question", record["instruction"]),
        "data_source": metadata.get("data_source", record["source_format"]),
        "ground_truth": record["reference"],
        "answer_text": metadata.get("answer_text"),
        "messages": record["messages"],
        "tools": record["tools"],
        "step_labels": {str(index): value for index, value in sorted(values.items()) if value is not None},
        "final_label": gold_value(record["outcome"]),
    }
    yield from masked(record)


AGENTPROCESSBENCH = Exporter(
    "agentprocessbench",
    "jsonl",
    "AgentProcessBench: messages as imported, step labels +1, 0, -1 by message index, final label.",
    export,
)
