"""The published rules, written out plainly: text, ids and positions from question and steps, one forward per prefix."""

import re
from collections.abc import Callable

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

BOXED = "Please reason step by step, and put your final answer within \\boxed{}."
SPARE = (
    "You are an expert at solving challenging math problems spanning across various categories and difficulties such "
    "as Algebra, Number Theory, Geometry, Counting and Probability, Precalculus etc. For a given math problem, your "
    "task is to generate a step-by-step reasoning-based solution providing an answer to the question. Identify the "
    "correct concepts, formulas and heuristics that needs to be applied and then derive the contents of the reasoning "
    "steps from the given contexts and accurate calculations from the previous reasoning steps."
)

# (model, tokenizer, question, steps) -> (n_steps, 3) or (n_steps, 2) or (n_steps,): see each.
Reference = Callable[[PreTrainedModel, PreTrainedTokenizerFast, str, list[str]], np.ndarray]


def at_prefixes(model: PreTrainedModel, ids: list[int], positions: list[int]) -> torch.Tensor:
    """(positions, outputs): the last output of one forward pass per prefix."""
    rows = []
    for position in positions:
        with torch.no_grad():
            output = model(torch.tensor([ids[: position + 1]]))
        logits = output if isinstance(output, torch.Tensor) else output.logits
        rows.append(logits[0, -1].double())
    return torch.stack(rows)


def found(ids: list[int], marker: int) -> list[int]:
    return [i for i, token in enumerate(ids) if token == marker]


def qwen_prm(system: str | None) -> Reference:
    """(n_steps,) softmax, class 1, at every `<extra_0>` of the chat (model card of Qwen2.5-Math-PRM)."""

    def score(model, tokenizer, question, steps):
        ids = _chat_ids(tokenizer, system, question, "<extra_0>".join(steps) + "<extra_0>", "assistant")
        logits = at_prefixes(model, ids, found(ids, tokenizer.encode("<extra_0>")[0]))
        return logits.softmax(-1)[:, 1].numpy()

    return score


def actprm(model, tokenizer, question, steps):
    """(n_steps, 32) sigmoid of every head (ActivePRM: code_snippets.py)."""
    ids = _chat_ids(tokenizer, BOXED, question, "<extra_0>".join(steps) + "<extra_0>", "assistant")
    return at_prefixes(model, ids, found(ids, tokenizer.encode("<extra_0>")[0])).sigmoid().numpy()


def skywork(model, tokenizer, question, steps):
    """(n_steps,) sigmoid at the line break after every step; question and steps tokenised on their own."""
    line_break = tokenizer.encode("\n")[-1]
    ids = tokenizer.encode(tokenizer.bos_token + question + "\n")
    positions = []
    for step in steps:
        ids += [*tokenizer.encode(step), line_break]
        positions.append(len(ids) - 1)
    return at_prefixes(model, ids, positions).sigmoid()[:, 0].numpy()


def math_shepherd(model, tokenizer, question, steps):
    """(n_steps,) softmax of `+` and `-`, `+`, at every `ки`."""
    lines = [
        f"{step} ки\n" if step.startswith("Step") else f"Step {i}: {step} ки\n" for i, step in enumerate(steps, start=1)
    ]
    ids = [tokenizer.bos_token_id, *tokenizer.encode(f"{question} {''.join(lines)}")]
    pair = [tokenizer.encode("+")[-1], tokenizer.encode("-")[-1]]
    logits = at_prefixes(model, ids, found(ids, tokenizer.encode("ки")[-1]))
    return logits[:, pair].softmax(-1)[:, 0].numpy()


def rlhflow(model, tokenizer, question, steps):
    """(n_steps,) softmax of `+` and `-`, `+`, three tokens before the end of the conversation up to every step."""
    pair = [tokenizer.encode("+")[-1], tokenizer.encode("-")[-1]]
    conversation, scores = [], []
    for number, step in enumerate(steps):
        text = f"{question} {step}" if number == 0 else step
        conversation += [{"content": text, "role": "user"}, {"content": "+", "role": "assistant"}]
        ids = tokenizer.encode(tokenizer.apply_chat_template(conversation, tokenize=False))
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -3, pair].double()
        scores.append(logits.softmax(-1)[0].item())
    return np.array(scores)


def spare(model, tokenizer, question, steps):
    """(n_steps,) softmax of `-` and `+`, `+`, at every ` ки` (README of SPARE)."""
    answer = "Let's think step by step.\n" + "".join(f"{step} ки\n" for step in steps)
    ids = _chat_ids(tokenizer, SPARE, question, answer, "user")
    pair = tokenizer.convert_tokens_to_ids(["-", "+"])
    logits = at_prefixes(model, ids, found(ids, tokenizer.encode(" ки")[-1]))
    return logits[:, pair].softmax(-1)[:, 1].numpy()


def pure(model, tokenizer, question, steps):
    """(n_steps,) p1 - p0 at the empty line after every step; question and steps tokenised on their own."""
    ids, positions = tokenizer.encode(question), []
    for step in steps:
        ids = [*ids, *tokenizer.encode(step), tokenizer.encode("\n\n")[0]]
        positions.append(len(ids) - 1)
    probs = at_prefixes(model, ids, positions).softmax(-1)
    return (probs[:, 1] - probs[:, 0]).numpy()


def trl(model, tokenizer, question, steps):
    """(n_steps,) softmax, class 1, at the last token of the separator (TRL: `PRMTrainer.tokenize_row`)."""
    ids, positions = tokenizer.encode(question), []
    for step in steps:
        ids = [*ids, *tokenizer.encode(step), *tokenizer.encode("\n")]
        positions.append(len(ids) - 1)
    return at_prefixes(model, ids, positions).softmax(-1)[:, 1].numpy()


def freeprm(model, tokenizer, question, steps):
    """(n_steps, 3) softmax of `+`, `-`, `o` at every marker, with the attention mask 0 at the markers."""
    marker = "\n\n\n\n\n"
    text = f" {marker} ".join(f"Step {i}: {re.sub(r'^Step [0-9]+: ', '', s)}" for i, s in enumerate(steps, start=1))
    ids = tokenizer.encode(f"{question} {text} {marker}")
    tag = tokenizer.encode(f" {marker}")[-1]
    three, rows = tokenizer.encode(" + - o"), []
    for position in found(ids, tag):
        prefix = ids[: position + 1]
        mask = [int(token != tag) for token in prefix]
        with torch.no_grad():
            logits = model(torch.tensor([prefix]), attention_mask=torch.tensor([mask])).logits[0, -1, three].double()
        rows.append(logits.softmax(-1).numpy())
    return np.stack(rows)


def reasoneval(puts_first_token_back: bool) -> Reference:
    """(n_steps, 3) negative, neutral, positive. The arithmetic with the separators is that of codes/examples.py."""

    def score(model, tokenizer, question, steps):
        prompt = f"Question:\n{question}\nAnswer:\nLet's think step by step.\n"
        # A special token cuts the text, and legacy SentencePiece tokenizers begin anew behind it.
        separator = tokenizer.pad_token_id if puts_first_token_back else -1
        tokens = [tokenizer.bos_token_id, *tokenizer.encode(prompt), separator]
        for step in steps:
            tokens += [*tokenizer.encode(step), separator]
        positions, ids, n_separators = [], [], 0
        for i, token in enumerate(tokens):
            if token == separator:
                positions.append(i - 1 - n_separators)
                n_separators += 1
            else:
                ids.append(token)
        if puts_first_token_back:
            ids, positions = [1, *ids], positions[2:]
        else:
            positions = positions[1:]
        return at_prefixes(model, ids, positions).softmax(-1).numpy()

    return score


def _chat_ids(tokenizer, system, question, answer, role):
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": "user", "content": question}, {"role": role, "content": answer}]
    return tokenizer.encode(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False))


REFERENCES: dict[str, Reference] = {
    "qwen2.5-math-prm-7b": qwen_prm(BOXED),
    "qwen2.5-math-7b-prm800k": qwen_prm(BOXED),
    "reasonflux-prm-7b": qwen_prm(None),
    "actprm": actprm,
    "actprm-x": actprm,
    "skywork-o1-open-prm-1.5b": skywork,
    "skywork-o1-open-prm-7b": skywork,
    "math-shepherd-mistral-7b": math_shepherd,
    "rlhflow-llama3.1-8b-prm-mistral": rlhflow,
    "rlhflow-llama3.1-8b-prm-deepseek": rlhflow,
    "spare-llama3-8b": spare,
    "spare-qwen2.5-3b": spare,
    "pure-prm-7b": pure,
    "trl-token-classification": trl,
    "freeprm-qwen2.5-math-7b": freeprm,
    "reasoneval-7b": reasoneval(puts_first_token_back=True),
    "reasoneval-34b": reasoneval(puts_first_token_back=False),
}
