"""A trained scorer on disk: model.safetensors with all its numbers, and scorer.json that says how they came about."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pydantic import JsonValue
from safetensors import SafetensorError
from safetensors.torch import load, save

from workers.prm.encoder import Vectors
from workers.prm.errors import ScorerError
from workers.prm.model import Shape, StepScorer

FORMAT_VERSION = 1
WEIGHTS, STORY = "model.safetensors", "scorer.json"
_MODEL = "model."


@dataclass(frozen=True)
class Checkpoint:
    """What scoring needs beside the encoder's own files."""

    model: StepScorer
    rarity: Vectors  # of the hashed encoder's buckets; empty for another encoder
    temperature: float

    def weights(self) -> bytes:
        """The same scorer gives the same bytes."""
        tensors = {_MODEL + name: tensor.contiguous() for name, tensor in self.model.state_dict().items()}
        tensors["encoder.rarity"] = torch.from_numpy(self.rarity)
        tensors["temperature"] = torch.tensor(self.temperature, dtype=torch.float64)
        return save(tensors)


def sha256_of(weights: bytes) -> str:
    return hashlib.sha256(weights).hexdigest()


def write(folder: Path, made: Checkpoint, story: dict[str, JsonValue]) -> None:
    """Each file is whole or not there; the story goes last, for without it the weights cannot be loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    weights, shape = made.weights(), asdict(made.model.shape)
    told = {"format_version": FORMAT_VERSION, "weights_sha256": sha256_of(weights), "shape": shape, **story}
    replace_file(folder / WEIGHTS, weights)
    replace_file(folder / STORY, (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode())


def replace_file(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


def version_folder(folder: Path, weights_sha256: str) -> Path:
    """Where one version of a scorer lies that has others beside it: only the model file says which is in use."""
    return folder / weights_sha256[:16]


def read(folder: Path, weights_sha256: str) -> Checkpoint:
    """The scorer whose weights have this hash. Raises ScorerError where the folder holds another one or none."""
    name = folder.name
    if version_folder(folder, weights_sha256).is_dir():
        folder = version_folder(folder, weights_sha256)
    if not (folder / WEIGHTS).is_file() or not (folder / STORY).is_file():
        raise ScorerError(
            f"This worker has no weights of the scorer {name}: it was trained on another machine. Copy the "
            f"folder checkpoints/{name} of that machine's models to this one's. Where it is lost for good, remove "
            f"{name}.yaml from the models, then train it anew."
        )
    weights = (folder / WEIGHTS).read_bytes()
    story = json.loads((folder / STORY).read_text(encoding="utf-8"))
    if sha256_of(weights) != weights_sha256 or story.get("weights_sha256") != weights_sha256:
        raise ScorerError(
            f"The weights in checkpoints/{name} are not those that the model file names: another training has "
            "replaced them, or only a part was copied. Copy model file and folder together, or train it again."
        )
    if story.get("format_version") != FORMAT_VERSION:
        raise ScorerError(
            f"checkpoints/{name} has the format version {story.get('format_version')}; this worker reads "
            f"{FORMAT_VERSION}. Train the scorer again."
        )
    model = StepScorer(Shape(**story["shape"]))
    try:
        tensors = load(weights)
        state = {name.removeprefix(_MODEL): tensor for name, tensor in tensors.items() if name.startswith(_MODEL)}
        model.load_state_dict(state)
        return Checkpoint(model.eval(), tensors["encoder.rarity"].numpy(), float(tensors["temperature"]))
    except (SafetensorError, RuntimeError, KeyError) as error:
        raise ScorerError(f"The weights in checkpoints/{name} cannot be used: {error}") from None
