"""Scoring: trajectories in, step scores out, batched so that the device is never idle for long."""

import os
import platform
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from transformers import PreTrainedModel

from annotator.prelabelling.configs import canonical_sha256
from annotator.prelabelling.discriminative import DiscriminativeConfig
from annotator.prelabelling.scores import ScoringError, TrajectoryScores, TrajectoryText
from workers.prelabel.discriminative import batching, checkpoint, heads
from workers.prelabel.discriminative.encoding import Encoded, Encoder, Row
from workers.prelabel.discriminative.errors import ModelError
from workers.prelabel.discriminative.mapping import probabilities

Key = TypeVar("Key")
_CHUNK = 256  # trajectories that are rendered and sorted together
_THREADS = min(4, os.cpu_count() or 1)  # that tokenise; the tokenizer lets go of Python's lock


@dataclass(frozen=True)
class Provenance:
    """What a score depends on besides the trajectory, for the record of the model version."""

    config_sha256: str
    weights_sha256: str
    render_sha256: str
    dtype: str
    device: str
    batch_invariant: bool  # false: in half precision a score moves by about 1e-2 with what shares its batch


def load(config: DiscriminativeConfig, checkpoint_dir: Path, device: str = "auto") -> "Scorer":
    """A model that is ready to score. `device` is auto, cpu, cuda or cuda:N. Raises ModelError with what to do."""
    files = checkpoint.open_checkpoint(checkpoint_dir)
    chosen = _device(config, files.n_parameters, device)
    tokenizer = checkpoint.load_tokenizer(checkpoint_dir)
    context = checkpoint.backbone_config(files, config.backbone).max_position_embeddings
    encoder = Encoder(config, tokenizer, min(config.limits.max_tokens, context))
    dtype = _dtype(config, files, chosen)
    backbone, head = checkpoint.load_weights(files, config, tokenizer, chosen, dtype)
    provenance = Provenance(
        config_sha256=canonical_sha256(config),
        weights_sha256=files.weights_sha256(),
        render_sha256=encoder.render_sha256,
        dtype=str(dtype).removeprefix("torch."),
        device=torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else platform.machine(),
        batch_invariant=dtype == torch.float32,
    )
    return Scorer(config, encoder, backbone, head, provenance)


def _device(config: DiscriminativeConfig, n_parameters: int, wanted: str) -> torch.device:
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        most = config.limits.cpu_parameters
        if n_parameters > most:
            raise ModelError(
                f"{config.name} has {n_parameters / 1e9:.1f} billion parameters and this machine has no CUDA device. "
                f"Without one, models of up to {most / 1e9:.1f} billion run: start a worker on a machine with a GPU, "
                "or raise limits.cpu_parameters in the model file and wait."
            )
        return torch.device("cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise ModelError(f"The device {wanted} is none of auto, cpu, cuda, cuda:0, …") from None
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ModelError(f"There is no device {wanted} on this machine: {torch.cuda.device_count()} CUDA devices.")
    return device


def _dtype(config: DiscriminativeConfig, files: checkpoint.Checkpoint, device: torch.device) -> torch.dtype:
    if config.dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[config.dtype]
    return checkpoint.checkpoint_dtype(files) if device.type == "cuda" else torch.float32


@dataclass
class _Task(Generic[Key]):
    """A trajectory on its way: its rows, and the numbers of those that are done."""

    key: Key
    encoded: Encoded | ScoringError
    logits: dict[int, np.ndarray]  # first step of a row -> (members, steps of the row, outputs)


class Scorer:
    """A loaded model. `score` is the only thing to call; use one Scorer from one thread."""

    def __init__(
        self,
        config: DiscriminativeConfig,
        encoder: Encoder,
        backbone: PreTrainedModel,
        head: heads.Head,
        provenance: Provenance,
    ) -> None:
        self.config, self.encoder, self.backbone, self.head = config, encoder, backbone, head
        self.provenance = provenance

    def score(
        self, trajectories: Iterable[tuple[Key, TrajectoryText]], budget: int | None = None
    ) -> Iterator[tuple[Key, TrajectoryScores | ScoringError]]:
        """Scores every trajectory, in an order that suits batching; one that fails does not stop the others.

        `budget` is the number of tokens of a batch, padding included. The iterable is read in the caller's thread, a
        few hundred trajectories ahead; the next ones are tokenised in threads while the device computes.
        """
        limits = self.config.limits
        on_gpu = self.backbone.device.type == "cuda"
        tokens = batching.Budget(budget or (limits.batch_tokens_cuda if on_gpu else limits.batch_tokens_cpu))
        source = iter(trajectories)
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="tokenise")

        def submit() -> list[Future[_Task[Key]]]:
            return [pool.submit(self._encoded, key, text) for key, text in islice(source, _CHUNK)]

        try:
            ahead = submit()
            while ahead:
                chunk, ahead = ahead, submit()
                yield from self._run([future.result() for future in chunk], tokens)
        finally:
            pool.shutdown(cancel_futures=True)

    def _encoded(self, key: Key, trajectory: TrajectoryText) -> _Task[Key]:
        try:
            return _Task(key, self.encoder.encode(trajectory), {})
        except ScoringError as error:
            return _Task(key, error, {})

    def _run(
        self, tasks: list[_Task[Key]], budget: batching.Budget
    ) -> Iterator[tuple[Key, TrajectoryScores | ScoringError]]:
        """One batch computes on the device while the results of the one before it are handed out."""
        waiting: list[tuple[_Task[Key], Row]] = []
        for task in tasks:
            if isinstance(task.encoded, ScoringError):
                yield task.key, task.encoded
            else:
                waiting += [(task, row) for row in task.encoded.rows]
        flying: tuple[list[tuple[_Task[Key], Row]], torch.Tensor] | None = None
        while waiting or flying:
            landed, flying = flying, None
            if waiting:
                numbers = batching.plan([len(row.ids) for _, row in waiting], budget.tokens)[0]
                batch = [waiting[number] for number in numbers]
                logits = self._forward([row for _, row in batch])
                if logits is not None:
                    budget.succeed()
                    flying = batch, logits
                else:
                    budget.halve(len(batch) * len(batch[0][1].ids))
                if logits is not None or len(batch) == 1:
                    done = set(numbers)
                    waiting = [pair for number, pair in enumerate(waiting) if number not in done]
                if logits is None and len(batch) == 1:
                    yield from self._too_large(*batch[0])
            if landed is not None:
                yield from self._finished(*landed)

    def _too_large(self, task: _Task[Key], row: Row) -> Iterator[tuple[Key, ScoringError]]:
        if isinstance(task.encoded, Encoded):  # its other windows may have failed before
            task.encoded = ScoringError(
                f"The device has too little memory for {len(row.ids)} tokens at once; lower limits.max_tokens in the "
                "model file, or use a larger device."
            )
            yield task.key, task.encoded

    def _finished(
        self, batch: list[tuple[_Task[Key], Row]], logits: torch.Tensor
    ) -> Iterator[tuple[Key, TrajectoryScores]]:
        ends = np.cumsum([len(row.reads) for _, row in batch])
        for (task, row), part in zip(batch, np.split(logits.cpu().numpy(), ends[:-1], axis=1), strict=True):
            task.logits[row.first_step] = part
            if isinstance(task.encoded, Encoded) and len(task.logits) == len(task.encoded.rows):
                yield task.key, self._scores(task.encoded, task.logits)

    def _forward(self, rows: list[Row]) -> torch.Tensor | None:
        """(members, reads of all rows, outputs) in fp32, perhaps not computed yet; None if memory ran out."""
        try:
            return self._forward_once(rows)
        except torch.OutOfMemoryError:
            pass  # leave the handler first: its traceback holds the tensors of the failed pass
        if self.backbone.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    @torch.inference_mode()
    def _forward_once(self, rows: list[Row]) -> torch.Tensor:
        n_longest = max(len(row.ids) for row in rows)
        ids = torch.zeros((len(rows), n_longest), dtype=torch.long)  # (rows, tokens), padded on the right
        for i, row in enumerate(rows):
            ids[i, : len(row.ids)] = torch.from_numpy(row.ids)
        # Causal attention never looks to the right, so padding there needs no mask; and only without a mask tensor SDPA
        # takes its fast kernel. With a cache, transformers could mistake rows for packed sequences.
        mask = None if self.config.markers_visible else self._on_device(_mask(rows, n_longest))
        output = self.backbone(input_ids=self._on_device(ids), attention_mask=mask, use_cache=False)
        row_of = torch.cat([torch.full((len(row.reads),), i) for i, row in enumerate(rows)])  # (reads,)
        position = torch.cat([torch.from_numpy(row.reads) for row in rows])  # (reads,)
        read = output.last_hidden_state[self._on_device(row_of), self._on_device(position)]  # (reads, width)
        return self.head(read)

    def _on_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """Without waiting for what the device still computes."""
        device = self.backbone.device
        return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

    def _scores(self, encoded: Encoded, logits: dict[int, np.ndarray]) -> TrajectoryScores:
        together = np.concatenate([logits[first] for first in sorted(logits)], axis=1)  # (members, n_steps, outputs)
        if together.shape[1] != encoded.n_steps:
            raise RuntimeError(f"{together.shape[1]} scores were read for {encoded.n_steps} steps.")
        probs, raw, spread = probabilities(together, self.config.map)
        notes = [encoded.note] if encoded.note else []
        n_abstained = int(np.isnan(probs).any(axis=1).sum())
        if n_abstained:
            notes.append(f"The model gave no finite number for {n_abstained} of {encoded.n_steps} steps.")
        wrong = np.flatnonzero(probs[:, 0] > 0.5)
        later = int(wrong[0]) + 1 if len(wrong) and self.config.trained_until_first_error else encoded.n_steps
        return TrajectoryScores(
            probs=probs,
            raw=raw,
            rationales=[None] * encoded.n_steps,
            n_tokens=sum(len(row.ids) for row in encoded.rows),
            n_dropped_tokens=encoded.n_dropped_tokens,
            first_truncated_step=encoded.first_truncated_step,
            note=" ".join(notes),
            spread=spread,
            first_extrapolated_step=later if later < encoded.n_steps else None,
        )


def _mask(rows: list[Row], n_longest: int) -> torch.Tensor:
    """(rows, tokens): 0 where no token may look: at markers that the model was trained not to see, and padding."""
    mask = torch.zeros((len(rows), n_longest), dtype=torch.long)
    for i, row in enumerate(rows):
        mask[i, : len(row.ids)] = 1
        mask[i, torch.from_numpy(row.hidden)] = 0
    return mask
