"""The fixed text around question and steps, taken from the model file or from the checkpoint's own chat template."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from annotator.prelabelling.discriminative import Render
from workers.prelabel.discriminative.errors import ModelError

# Stand-ins while a chat template is rendered: private-use characters, which no template treats specially.
_QUESTION, _FIRST, _SECOND = "\ue000question\ue001", "\ue000first\ue001", "\ue000second\ue001"


@dataclass(frozen=True)
class Layout:
    """Text = `header` with its {question}, then per step `step` with its slots and the marker, `between` in between.

    What a template writes after the last step is left out: in a causal model nothing before it can depend on it.
    """

    header: str
    step: str
    marker: str
    between: str


def layout_of(rule: Render, tokenizer: PreTrainedTokenizerFast) -> Layout:
    """Raises ModelError where the chat template is missing or does not show what it is given."""
    if rule.mode == "plain":
        return Layout(rule.header, rule.step, rule.marker or "", rule.between)
    system = [{"role": "system", "content": rule.system}] if rule.system is not None else []
    user = {"role": "user", "content": _QUESTION}
    if rule.mode == "chat":
        text = _render(tokenizer, [*system, user, {"role": rule.steps_role, "content": _FIRST}])
        before, _, rest = _split(text, _QUESTION)
        middle, _, _ = _split(rest, _FIRST)
        return Layout(f"{before}{{question}}{middle}{rule.opening}", rule.step, rule.marker or "", rule.between)
    # Turns: the user says the steps (the first one after the question), the assistant answers each with the marker.
    marker = rule.marker or ""
    answer = {"role": "assistant", "content": marker}
    first = {"role": "user", "content": f"{_QUESTION} {_FIRST}"}
    text = _render(tokenizer, [*system, first, answer, {"role": "user", "content": _SECOND}, answer])
    before, _, rest = _split(text, f"{_QUESTION} {_FIRST}")
    after_first, _, after_second = _split(rest, _SECOND)
    to_marker = _common_start(after_first, after_second)
    to_marker = to_marker[: to_marker.rfind(marker)]
    if not to_marker or not after_first.startswith(to_marker + marker):
        raise ModelError("The chat template does not show two turns in the same way, so steps cannot be rendered.")
    between = after_first[len(to_marker + marker) :]
    return Layout(f"{before}{{question}} ", f"{rule.step}{to_marker}", marker, between)


def _render(tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, str]]) -> str:
    if not tokenizer.chat_template:
        raise ModelError(
            "The checkpoint has no chat template, which render.mode needs: add chat_template.jinja (or the key "
            "chat_template of tokenizer_config.json) from the published model."
        )
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False))


def _split(text: str, stand_in: str) -> tuple[str, str, str]:
    if text.count(stand_in) != 1:
        raise ModelError(f"The chat template shows a message {text.count(stand_in)} times instead of once.")
    return text.partition(stand_in)


def _common_start(a: str, b: str) -> str:
    length = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return a[:length]
