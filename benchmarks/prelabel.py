"""Step scores from discriminative models: one forward per prefix, one per trajectory, and batches by token budget.

Builds models of Qwen2.5-Math-PRM's architecture with random weights on the device itself (speed does not depend on
what the weights are) and scores trajectories of AgentProcessBench with them, in one run:

(a) a plain loop with one forward pass per step, over everything up to it;
(b) one forward pass per trajectory;
(c) the engine: batches by token budget over sorted lengths, tokenising in threads.

Without a GPU it measures tiny models, which only shows that it runs.
"""

import json
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import JsonValue
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoModel, PreTrainedTokenizerFast, Qwen2Config

from annotator.prelabelling.configs import read_file
from annotator.prelabelling.discriminative import DiscriminativeConfig
from annotator.prelabelling.scores import ScoringError, TrajectoryText
from benchmarks.bench import ROOT, SAMPLES, Figure, options, peak_memory_mb, report, say, stopwatch
from workers.prelabel.discriminative import Scorer
from workers.prelabel.discriminative.encoding import Encoder
from workers.prelabel.discriminative.engine import Provenance
from workers.prelabel.discriminative.heads import Layer, LinearHead
from workers.prelabel.discriminative.mapping import probabilities

MODEL_FILE = ROOT / "workers/prelabel/models/qwen2.5-math-prm-7b.yaml"
CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
SPECIAL = ("<|im_start|>", "<|im_end|>", "<extra_0>")
# Qwen's pattern: letters in words, digits one by one, punctuation, line breaks.
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
MAX_TOKENS = 16_384


@dataclass(frozen=True)
class Size:
    name: str
    width: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int


LARGE = (
    Size("1.5B", width=1536, inner=8960, layers=28, heads=12, kv_heads=2, vocabulary=151_936),
    Size("7B", width=3584, inner=18_944, layers=28, heads=28, kv_heads=4, vocabulary=152_064),
)
TINY = (Size("tiny", width=256, inner=704, layers=4, heads=4, kv_heads=2, vocabulary=32_768),)
QUICK = (Size("tiniest", width=64, inner=176, layers=2, heads=4, kv_heads=2, vocabulary=32_768),)

Way = Callable[[Sequence[TrajectoryText]], list[np.ndarray]]


def main(arguments: list[str] | None = None) -> None:
    opts = options(__doc__, arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = device.type == "cuda"
    large = on_gpu and not opts.quick
    real, source = _read(opts.data)
    tokenizer = _train_tokenizer(real)
    peak = matmul_peak(device)
    name = torch.cuda.get_device_name(device) if on_gpu else f"{platform.machine()}, {torch.get_num_threads()} threads"
    facts = [
        f"{name}; torch {torch.__version__}; {'bf16' if on_gpu else 'fp32'}, random weights.",
        source,
        "Tokens are those of a byte-level BPE with 32,000 entries, trained on the same texts: near to Qwen's.",
    ]
    figures = [Figure("matrix multiplication, measured peak", peak / 1e12, "TFLOP/s")]
    for size in QUICK if opts.quick else LARGE if on_gpu else TINY:
        say(f"Building {size.name} …")
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        scorer = build(size, tokenizer, device)
        n_real = 96 if large else 8
        lengths = (256, 1024) if opts.quick else (4096, 16_384)
        texts = {"real lengths": _spread(real, scorer, n_real)}
        for length in lengths:
            texts[f"{length:,} tokens"] = _of_length(real, scorer, length, 8 if large else 2)
        for what, trajectories in texts.items():
            figures += measure(size, what, scorer, trajectories, peak, aims=large)
        memory = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else peak_memory_mb() / 1024
        figures.append(Figure(f"{size.name}: memory, highest", memory, "GiB"))
        del scorer
    report("Pre-labelling with discriminative models", facts, figures, opts.json)


def build(size: Size, tokenizer: PreTrainedTokenizerFast, device: torch.device) -> Scorer:
    """A scorer with random weights, made where it runs."""
    settings = Qwen2Config(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        max_position_embeddings=2 * MAX_TOKENS,
    )
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModel.from_config(settings, dtype=dtype, attn_implementation="sdpa")  # type: ignore[no-untyped-call]
        backbone = model.train(False)
        widths = ((size.width, size.width), (2, size.width))
        layers = [
            Layer(torch.randn(shape) / shape[1] ** 0.5, torch.zeros(shape[0]), i == 0) for i, shape in enumerate(widths)
        ]
    config = read_file(MODEL_FILE)
    config = DiscriminativeConfig.model_validate(
        config.model_dump() | {"limits": {"max_tokens": MAX_TOKENS, "batch_tokens_cpu": 8192}}
    )
    provenance = Provenance("", "", "", str(dtype), device.type, batch_invariant=False)
    return Scorer(config, Encoder(config, tokenizer, MAX_TOKENS), backbone, LinearHead(tuple(layers)), provenance)


def measure(
    size: Size, what: str, scorer: Scorer, trajectories: Sequence[TrajectoryText], peak: float, aims: bool
) -> list[Figure]:
    """The three ways over the same trajectories; how far (a) and (c) differ is among the figures."""
    rows = [row for trajectory in trajectories for row in scorer.encoder.encode(trajectory).rows]
    lengths = [len(row.ids) for row in rows]
    n_tokens = sum(lengths)
    flops = sum(_flops(scorer, length) for length in lengths)
    ways: dict[str, Way] = {
        "(a) a forward per prefix": lambda some: _prefix_loop(scorer, some),
        "(b) a forward per trajectory": lambda some: _engine(scorer, some, budget=1),
        "(c) the engine": lambda some: _engine(scorer, some, budget=None),
    }
    figures, seconds_of, results = [], {}, {}
    for way, run in ways.items():
        run(trajectories[:1])
        with stopwatch() as seconds:
            results[way] = run(trajectories)
        seconds_of[way] = took = seconds()
        label = f"{size.name}, {what}: {way}"
        figures.append(Figure(f"{label}, speed", n_tokens / took, "tokens/s"))
        figures.append(Figure(f"{label}, speed", len(trajectories) / took, "trajectories/s"))
        aim = 55.0 if aims and way.startswith("(c)") and size.name == "7B" and "4,096" in what else None
        if not way.startswith("(a)"):  # (a) reads most tokens several times
            figures.append(Figure(f"{label}, of the peak", 100 * flops / took / peak, "%", at_least=aim))
        say(f"  {label}: {took:.1f} s")
    a, _, c = ways
    aim = 10.0 if aims and what == "real lengths" else None
    reread = sum(int(read) + 1 for row in rows for read in row.reads) / n_tokens
    figures.append(
        Figure(
            f"{size.name}, {what}: (c) over (a)",
            seconds_of[a] / seconds_of[c],
            "times",
            at_least=aim,
            bound=f"(a) reads {reread:.1f} times the tokens of (c)",
        )
    )
    apart = max(np.abs(x - y).max() for x, y in zip(results[a], results[c], strict=True))
    figures.append(Figure(f"{size.name}, {what}: (a) and (c) differ by at most", float(apart), "P"))
    say(f"  {len(trajectories)} trajectories, {n_tokens:,} tokens, longest {max(lengths):,}")
    return figures


def matmul_peak(device: torch.device) -> float:
    """FLOP/s of the best of several products of square matrices: what the tensor cores reach, not the datasheet."""
    on_gpu = device.type == "cuda"
    n = 8192 if on_gpu else 1024
    x = torch.randn((n, n), device=device, dtype=torch.bfloat16 if on_gpu else torch.float32)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(5):
            x @ x
        if on_gpu:
            torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - start) / 5)
    return float(2 * n**3 / best)


def _flops(scorer: Scorer, n: int) -> float:
    """Of one forward pass over n tokens: two per weight, and causal attention (half of all pairs)."""
    backbone = scorer.backbone
    settings = backbone.config
    weights = sum(p.numel() for p in backbone.parameters()) - settings.vocab_size * settings.hidden_size
    return float(2.0 * weights * n + 2.0 * settings.num_hidden_layers * settings.hidden_size * n**2)


@torch.inference_mode()
def _prefix_loop(scorer: Scorer, trajectories: Iterable[TrajectoryText]) -> list[np.ndarray]:
    found = []
    for trajectory in trajectories:
        logits = []
        for row in scorer.encoder.encode(trajectory).rows:
            ids = torch.from_numpy(row.ids).to(scorer.backbone.device)[None]
            for read in row.reads:
                output = scorer.backbone(ids[:, : read + 1], use_cache=False)
                logits.append(scorer.head(output.last_hidden_state[0, -1:]).cpu().numpy())
        found.append(probabilities(np.concatenate(logits, axis=1), scorer.config.map)[0])
    return found


def _engine(scorer: Scorer, trajectories: Sequence[TrajectoryText], budget: int | None) -> list[np.ndarray]:
    found: dict[int, np.ndarray] = {}
    for i, value in scorer.score(enumerate(trajectories), budget):
        if isinstance(value, ScoringError):
            raise RuntimeError(f"Trajectory {i} was not scored: {value}")
        found[i] = value.probs
    return [found[i] for i in range(len(trajectories))]


def _read(folder: Path) -> tuple[list[TrajectoryText], str]:
    path, what = folder / "hotpotqa.jsonl", "trajectories of HotpotQA"
    if not path.is_file():
        path, what = SAMPLES, "samples of the repository"
    with path.open(encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    texts = [TrajectoryText("", record["messages"], record.get("tools") or []) for record in records]
    return texts, f"Data: lengths and texts of the {len(texts)} {what}."


def _spread(real: Sequence[TrajectoryText], scorer: Scorer, n: int) -> list[TrajectoryText]:
    """`n` trajectories whose lengths are spread as those of all of them."""
    lengths = {i: sum(len(row.ids) for row in scorer.encoder.encode(text).rows) for i, text in enumerate(real)}
    ordered = sorted(lengths, key=lengths.__getitem__)
    return [real[ordered[(2 * i + 1) * len(ordered) // (2 * n)]] for i in range(n)]


def _of_length(real: Sequence[TrajectoryText], scorer: Scorer, length: int, n: int) -> list[TrajectoryText]:
    """`n` trajectories just below `length` tokens: steps of some 300 tokens, cut from real texts."""
    text = "\n".join(str(message.get("content")) for some in real for message in some.messages)
    offsets = scorer.encoder.tokenizer.encode(text[: 40 * length * n], add_special_tokens=False).offsets
    step_tokens = min(300, length // 4)
    n_steps = (length - 100) // (step_tokens + 1)
    made = []
    for i in range(n):
        cuts = [offsets[((i * n_steps + k) * step_tokens) % (len(offsets) - step_tokens)][0] for k in range(n_steps)]
        steps = [text[cut : cut + 8 * step_tokens] for cut in cuts]
        ids = [scorer.encoder.tokenizer.encode(step, add_special_tokens=False).offsets for step in steps]
        steps = [step[: places[min(step_tokens, len(places)) - 1][1]] for step, places in zip(steps, ids, strict=True)]
        messages: list[dict[str, JsonValue]] = [{"role": "user", "content": "Go on."}]
        messages += [{"role": "assistant", "content": step} for step in steps]
        made.append(TrajectoryText("", messages, []))
    return made


def _train_tokenizer(texts: Sequence[TrajectoryText]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(WORDS), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=32_000, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator((str(m.get("content")) for text in texts for m in text.messages), trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer)  # type: ignore[no-untyped-call]
    wrapped.chat_template = CHAT
    return wrapped


if __name__ == "__main__":
    main()
