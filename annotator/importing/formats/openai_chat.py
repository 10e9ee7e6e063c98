"""OpenAI Chat Completions messages: a bare list, an object with `messages`, or a request with its response."""

from pydantic import JsonValue

from annotator.importing.chat import role_of, text_of
from annotator.importing.schema import (
    FieldError,
    MessageIn,
    TrajectoryIn,
    check_messages,
    judged_sha256,
    labels_by_message,
    short_key,
    ternary,
)

NAME = "openai_chat"


def matches(record: JsonValue) -> bool:
    """Whether the record holds messages in the chat form."""
    if isinstance(record, list):
        return bool(record) and isinstance(record[0], dict) and "role" in record[0]
    if not isinstance(record, dict):
        return False
    request = record.get("request")
    return "messages" in record or (isinstance(request, dict) and "messages" in request)


def to_trajectory(record: JsonValue) -> TrajectoryIn:
    """The trajectory of one record that passed `check_storable`; FieldError or ValidationError if there is none.

    What has no place of its own in the schema is kept in the metadata.
    """
    fields = _flat(record)
    messages = _with_answer(fields)
    tools = fields.pop("tools", None) or []
    digest = judged_sha256(messages, tools)
    external_id = _taken_name(fields, "external_id", "trajectory_id", "id") or f"sha256:{digest[:16]}"
    question = fields.get("question")
    instruction = question if isinstance(question, str) and question else first_user_text(messages)
    return TrajectoryIn.model_validate(
        {
            "external_id": external_id,
            "source_format": NAME,
            "instruction": instruction,
            "messages": messages,
            "tools": tools,
            "group_key": short_key(_taken_name(fields, "group_key", "task_id") or instruction or external_id),
            "outcome": _taken_outcome(fields),
            "reference": _taken(fields, "reference", "ground_truth", "answer")[1],
            "reference_labels": labels_by_message(fields.pop("step_labels", None)),
            "reference_outcome": ternary(fields.pop("final_label", None), "final_label"),
            "metadata": fields,
        }
    )


def first_user_text(messages: list[MessageIn]) -> str:
    """The text of the first user message, or "" where the agent was not asked by a user."""
    return next((text_of(message.get("content")) for message in messages if role_of(message) == "user"), "")


def _flat(record: JsonValue) -> dict[str, JsonValue]:
    """The record as one object: a bare list named, a request and its response side by side with the rest."""
    if isinstance(record, list):
        return {"messages": record}
    if not isinstance(record, dict):
        raise FieldError("", "must be an object with messages or a list of messages.")
    fields = dict(record)
    if "messages" not in fields:
        for key in ("request", "response"):
            inner = fields.pop(key, None)
            if inner is not None and not isinstance(inner, dict):
                raise FieldError(key, "must be an object.")
            fields = {**(inner or {}), **fields}
    return fields


def _with_answer(fields: dict[str, JsonValue]) -> list[MessageIn]:
    """Take the messages out of the fields, the answer of `choices` last; the rest of the choice stays."""
    given = fields.pop("messages", None)
    choices = fields.get("choices")
    if choices is None or not isinstance(given, list):
        return check_messages(given)
    choice = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        raise FieldError("choices", "must hold exactly one choice with a message; write one record per answer.")
    fields["choices"] = [{key: value for key, value in choice.items() if key != "message"}]
    return check_messages([*given, choice["message"]])


def _taken(fields: dict[str, JsonValue], *keys: str) -> tuple[str, JsonValue]:
    """Take out the first of these fields that is given, with its name."""
    key = next((key for key in keys if fields.get(key) is not None), keys[0])
    return key, fields.pop(key, None)


def _taken_name(fields: dict[str, JsonValue], *keys: str) -> str:
    key, value = _taken(fields, *keys)
    if value is not None and (isinstance(value, bool) or not isinstance(value, (str, int))):
        raise FieldError(key, "must be a string or an integer.")
    return "" if value is None else str(value)


def _taken_outcome(fields: dict[str, JsonValue]) -> float | None:
    """The environment's verdict as a number; true and false count as 1 and 0."""
    key, value = _taken(fields, "outcome", "reward")
    if value is None:
        return None
    if not isinstance(value, (int, float)):
        raise FieldError(key, "must be a number; rename the key to keep it as metadata.")
    return float(value)
