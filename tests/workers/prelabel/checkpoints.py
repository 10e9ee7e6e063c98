"""Tiny checkpoints of the real architectures: random weights, a real tokenizer made here, saved as published ones."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    LlamaPreTrainedModel,
    MistralConfig,
    MistralForCausalLM,
    MistralModel,
    MistralPreTrainedModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2ForTokenClassification,
    Qwen2Model,
    Qwen2PreTrainedModel,
)

CORPUS = [
    "Step 1: Add 2 and 3. The answer is 5. ки\nStep 2: Hence 2 + 3 = 5, and 5 - 3 = 2. ки\n",
    "Question:\nHow many?\nAnswer:\nLet's think step by step.\n + - o + - o + - o ки ки ки",
    "First sentence. \n\n\n\n\n Step 2: second sentence. \n\n\n\n\n Step 3: \n\n\n\n\n",
    "A paragraph.\n\nAnother one\n\nand a third\nline\n\n\n",
    'system user assistant [tool:search] [assistant] <tool_call>search({"query": "Paris"})</tool_call>',
]
CHAT_ML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA_3 = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
    "{{ message.content | trim }}<|eot_id|>{% endfor %}"
)
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "initializer_range": 0.2,  # far from 0, so that the scores of steps differ
}


@cache
def _byte_pairs() -> str:
    """Byte-level BPE that splits words as Qwen's and Llama 3's tokenizers do, as JSON."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(_WORDS), "isolated")
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_only])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    return tokenizer.to_str()


def byte_level_tokenizer(special: Sequence[str], chat_template: str, **tokens: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer.from_str(_byte_pairs())
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens)
    wrapped.chat_template = chat_template
    return wrapped


def qwen_tokenizer(**tokens: str) -> PreTrainedTokenizerFast:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<extra_0>"]
    return byte_level_tokenizer(special, CHAT_ML, eos_token="<|im_end|>", **tokens)


def llama_3_tokenizer() -> PreTrainedTokenizerFast:
    special = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    return byte_level_tokenizer(special, LLAMA_3, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")


def sentencepiece_tokenizer() -> PreTrainedTokenizerFast:
    """BPE over `▁` with bytes for what it does not know, as Llama 2's and Mistral's tokenizers."""
    special = ["<unk>", "<s>", "</s>"]
    alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
    characters = sorted({c for text in CORPUS for c in text if c not in " \n"} | {"▁"})
    words = sorted({f"▁{word}" for text in CORPUS for word in text.split()})
    vocabulary = [*special, *alphabet, *characters]
    merges: list[tuple[str, str]] = []
    for word in words:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                vocabulary.append(word[:end])
                merges.append((word[: end - 1], word[end - 1]))
    ids = {token: i for i, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<s>"
    )


class ProcessRewardModel(Qwen2PreTrainedModel):
    """As the code that came with Qwen2.5-Math-PRM."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        self.model = Qwen2Model(config)
        width = config.hidden_size
        self.score = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))
        self.post_init()

    def forward(self, input_ids):
        return self.score(self.model(input_ids).last_hidden_state)


class _Networks(nn.Module):
    def __init__(self, width: int, members: int, inner: int) -> None:
        super().__init__()
        for name, n_in, n_out in (("nn1", width, inner), ("nn2", inner, inner), ("nn_out", inner, 1)):
            layer = nn.Module()
            layer.weight = nn.Parameter(torch.randn(members, n_in, n_out) / n_in**0.5)
            layer.bias = nn.Parameter(torch.randn(members, n_out) / 4)
            setattr(self, name, layer)


class EnsembleModel(Qwen2PreTrainedModel):
    """As `Qwen2ForEnsemblePRM` of ActPRM: each member computed on its own."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        self.model = Qwen2Model(config)
        self.score = nn.Module()
        self.score.model = _Networks(config.hidden_size, 32, 16)
        self.score.reg_model = _Networks(config.hidden_size, 32, 16)
        self.post_init()

    def forward(self, input_ids):
        hidden = self.model(input_ids).last_hidden_state
        networks, members = self.score.model, []
        for member in range(32):
            x = (hidden @ networks.nn1.weight[member] + networks.nn1.bias[member]).relu()
            x = (x @ networks.nn2.weight[member] + networks.nn2.bias[member]).relu()
            members.append(x @ networks.nn_out.weight[member] + networks.nn_out.bias[member])
        return torch.cat(members, dim=-1)  # (batch, tokens, members)


class ValueModel(Qwen2ForCausalLM):
    """As Skywork's: a language model with a value head beside its own head."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        self.v_head = nn.Module()
        self.v_head.summary = nn.Linear(config.hidden_size, 1)
        self.post_init()

    def forward(self, input_ids):
        return self.v_head.summary(self.model(input_ids).last_hidden_state)


class ReasonEval7B(MistralPreTrainedModel):
    def __init__(self, config: MistralConfig) -> None:
        super().__init__(config)
        self.model = MistralModel(config)
        self.score_head = nn.Linear(config.hidden_size, 3, bias=config.use_bias)
        self.post_init()

    def forward(self, input_ids):
        return self.score_head(self.model(input_ids).last_hidden_state)


class ReasonEval34B(LlamaPreTrainedModel):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.model = LlamaModel(config)
        self.score_head = nn.Linear(config.hidden_size, 3, bias=config.bias)
        self.post_init()

    def forward(self, input_ids):
        return self.score_head(self.model(input_ids).last_hidden_state)


Builder = Callable[[], tuple[PreTrainedModel, PreTrainedTokenizerFast]]


def qwen(kind: type[PreTrainedModel], **settings: Any) -> Builder:
    def build() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
        tokenizer = qwen_tokenizer(**({"bos_token": "<|endoftext|>"} if kind is ValueModel else {}))
        return kind(Qwen2Config(vocab_size=len(tokenizer), **SMALL, **settings)), tokenizer

    return build


def llama_3() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = llama_3_tokenizer()
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **SMALL)), tokenizer


def mistral() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = sentencepiece_tokenizer()
    return MistralForCausalLM(MistralConfig(vocab_size=len(tokenizer), **SMALL)), tokenizer


def reasoneval_7b() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = sentencepiece_tokenizer()
    settings = {**SMALL, "use_bias": False}
    return ReasonEval7B(MistralConfig(vocab_size=len(tokenizer), **settings)), tokenizer


def reasoneval_34b() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = sentencepiece_tokenizer()
    settings = {**SMALL, "bias": True}
    return ReasonEval34B(LlamaConfig(vocab_size=len(tokenizer), **settings)), tokenizer


BUILDERS: dict[str, Builder] = {
    "qwen2.5-math-prm-7b": qwen(ProcessRewardModel),
    "qwen2.5-math-7b-prm800k": qwen(ProcessRewardModel),
    "reasonflux-prm-7b": qwen(ProcessRewardModel),
    "actprm": qwen(EnsembleModel),
    "actprm-x": qwen(EnsembleModel),
    "skywork-o1-open-prm-1.5b": qwen(ValueModel, tie_word_embeddings=False),
    "skywork-o1-open-prm-7b": qwen(ValueModel, tie_word_embeddings=False),
    "math-shepherd-mistral-7b": mistral,
    "rlhflow-llama3.1-8b-prm-mistral": llama_3,
    "rlhflow-llama3.1-8b-prm-deepseek": llama_3,
    "spare-llama3-8b": llama_3,
    "spare-qwen2.5-3b": qwen(Qwen2ForCausalLM, tie_word_embeddings=True),
    "pure-prm-7b": qwen(Qwen2ForTokenClassification, num_labels=2),
    "trl-token-classification": qwen(Qwen2ForTokenClassification, num_labels=2),
    "freeprm-qwen2.5-math-7b": qwen(Qwen2ForCausalLM),
    "reasoneval-7b": reasoneval_7b,
    "reasoneval-34b": reasoneval_34b,
}


def save(name: str, folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Builds the model of this name with random weights, saves it, and returns it for the reference."""
    torch.manual_seed(0)
    model, tokenizer = BUILDERS[name]()
    for bias in (value for key, value in model.named_parameters() if key.endswith("bias")):
        nn.init.normal_(bias, std=0.3)  # transformers starts them at 0, which would hide one that is lost
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.eval(), tokenizer
