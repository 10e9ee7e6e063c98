"""The body of a chat-completions answer, as far as a judge reads it."""

import json

from pydantic import BaseModel, ConfigDict, ValidationError

from workers.prelabel.judge.logprobs import Token


class NoAnswer(ValueError):
    """What came back is not an answer of this protocol."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Usage(_Part):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Message(_Part):
    content: str | None = None
    refusal: str | None = None


class _Logprobs(_Part):
    content: list[Token] | None = None


class _Choice(_Part):
    message: _Message
    finish_reason: str | None = None
    logprobs: object = None


class _Completion(_Part):
    choices: list[_Choice]
    usage: Usage | None = None


class Answer:
    """One answer: its text, or in `abstains` the sentence that says why there is none."""

    def __init__(self, completion: _Completion) -> None:
        choice = completion.choices[0]
        self.usage = completion.usage
        self.text = choice.message.content or ""
        self.abstains = _why_it_abstains(choice)
        self.tokens = _tokens(choice.logprobs)


def read_answer(body: bytes) -> Answer:
    """Raises NoAnswer with a sentence."""
    try:
        completion = _Completion.model_validate(json.loads(body))
    except (ValueError, RecursionError) as error:
        what = "JSON of another form" if isinstance(error, ValidationError) else "something that is not JSON"
        raise NoAnswer(
            f"The endpoint answered with {what}; check that its address ends where /chat/completions begins."
        ) from None
    if not completion.choices:
        raise NoAnswer("The endpoint answered without any choice.")
    return Answer(completion)


def _why_it_abstains(choice: _Choice) -> str:
    if choice.message.refusal or choice.finish_reason == "content_filter":
        return "The model refused to answer."
    if choice.finish_reason == "length":
        return "The answer was cut off at output.max_tokens."
    if not (choice.message.content or "").strip():
        return "The answer was empty."
    return ""


def _tokens(logprobs: object) -> list[Token]:
    # They refine an answer; an endpoint that writes them in its own way must not cost the answer itself.
    try:
        return _Logprobs.model_validate(logprobs).content or []
    except ValidationError:
        return []
