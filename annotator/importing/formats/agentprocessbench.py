"""AgentProcessBench records: chat messages with a label per assistant message."""

from pydantic import JsonValue

from annotator.importing.formats.openai_chat import first_user_text
from annotator.importing.schema import (
    FieldError,
    TrajectoryIn,
    check_messages,
    labels_by_message,
    short_key,
    ternary,
)

NAME = "agentprocessbench"


def matches(record: JsonValue) -> bool:
    """Whether the record names its place in the benchmark; labels alone do not, other chat logs carry them too."""
    return isinstance(record, dict) and {"messages", "data_source", "query_index", "sample_index"} <= record.keys()


def to_trajectory(record: JsonValue) -> TrajectoryIn:
    """The trajectory of one record that passed `check_storable`; FieldError or ValidationError if there is none.

    The metadata keeps every field that has no place of its own, so that an exporter can rebuild the record.
    """
    if not isinstance(record, dict):
        raise FieldError("", "must be an object, as in AgentProcessBench.")
    fields = dict(record)
    # The metrics of the tools contain internal IP addresses and nothing that is judged: they are not kept.
    fields.pop("tool_metrics", None)
    messages = check_messages(fields.pop("messages", None))
    question = fields.get("question")
    if question is not None and not isinstance(question, str):
        raise FieldError("question", "must be a string.")
    source, query = _source(fields), _index(fields, "query_index")
    return TrajectoryIn.model_validate(
        {
            "external_id": f"{source}:{query}:{_index(fields, 'sample_index')}",
            "source_format": NAME,
            "instruction": question or first_user_text(messages),
            "messages": messages,
            "tools": fields.pop("tools", None) or [],
            "reference": fields.pop("ground_truth", None),
            # The samples of one query stay together even where a record leaves out the question.
            "group_key": short_key(question or f"{source}:{query}"),
            "reference_labels": labels_by_message(fields.pop("step_labels", None)),
            "reference_outcome": ternary(fields.pop("final_label", None), "final_label"),
            "metadata": fields,
        }
    )


def _source(fields: dict[str, JsonValue]) -> str:
    source = fields.get("data_source")
    if not isinstance(source, str) or not source:
        raise FieldError("data_source", "must be the name of the data set the query comes from.")
    return source


def _index(fields: dict[str, JsonValue], key: str) -> int:
    value = fields.get(key)
    if type(value) is not int or value < 0:
        raise FieldError(key, "must be an integer from 0.")
    return value
