"""A checkpoint in a local directory: its hash, its keys, and the decoder and head made from it.

Only safetensors are read, only onto decoders of transformers that the model file names, and never through a hub or code
that came with the weights. The keys must be exactly the expected ones: a weight that is missing or left over means that
the model file describes another model, and its scores would be noise.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from math import prod
from pathlib import Path

import torch
from pydantic import JsonValue
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from annotator.prelabelling import discriminative as schema
from annotator.prelabelling.configs import json_sha256
from annotator.prelabelling.discriminative import DiscriminativeConfig
from workers.prelabel.discriminative import heads
from workers.prelabel.discriminative.errors import ModelError

_SHOWN = 8  # keys named in an error
_hashes: dict[Path, tuple[int, int, str]] = {}  # path -> size, modification time in ns, SHA-256


@dataclass(frozen=True)
class Checkpoint:
    """The files of a checkpoint, opened only where they are needed."""

    folder: Path
    settings: dict[str, JsonValue]  # config.json
    file_of: dict[str, Path]  # key of a weight -> its file
    shapes: dict[str, tuple[int, ...]]

    @property
    def n_parameters(self) -> int:
        return sum(prod(shape) for shape in self.shapes.values())

    def weights_sha256(self) -> str:
        """SHA-256 over config.json, tokenizer and weights: names and contents, whatever the folder is called."""
        settings = json_sha256(self.settings)
        names = {path.name: path for path in [*self.file_of.values(), self.folder / "tokenizer.json"]}
        return json_sha256([settings, *([name, file_sha256(names[name])] for name in sorted(names))])

    def read(self, keys: list[str]) -> Iterator[tuple[str, Tensor]]:
        """The weights of these keys, file by file."""
        for path in sorted({self.file_of[key] for key in keys}):
            with safe_open(path, framework="pt") as file:
                for key in keys:
                    if self.file_of[key] == path:
                        yield key, file.get_tensor(key)

    def rows(self, key: str, rows: list[int]) -> Tensor:
        """(len(rows), width): some rows of a large matrix, without reading the rest."""
        with safe_open(self.file_of[key], framework="pt") as file:
            part = file.get_slice(key)
            return torch.cat([part[row : row + 1] for row in rows])


def open_checkpoint(folder: Path) -> Checkpoint:
    """Reads the names and shapes of all weights. Raises ModelError where the folder holds no usable checkpoint."""
    if not folder.is_dir():
        raise ModelError(
            f"There is no folder {folder.name} with the model's weights; copy the published checkpoint to "
            f"checkpoints/{folder.name} in the MODELS_FOLDER of this machine, where workers look. Nothing is "
            "fetched from a hub."
        )
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise ModelError(f"The folder {folder.name} has no {name}; save model and tokenizer with save_pretrained.")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        paths = [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    else:
        paths = [folder / "model.safetensors"]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise ModelError(
            f"The folder {folder.name} lacks {_listed(missing)}. Only safetensors are read: load other formats where "
            "you trust them, and save them again with save_pretrained."
        )
    file_of: dict[str, Path] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for path in paths:
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118  (not a dict)
                    file_of[key] = path
                    shapes[key] = tuple(file.get_slice(key).get_shape())
        except SafetensorError as error:
            raise ModelError(f"{path.name} is no complete safetensors file ({error}); copy it again.") from None
    return Checkpoint(folder, json.loads((folder / "config.json").read_text()), file_of, shapes)


def file_sha256(path: Path) -> str:
    """Read once per size and modification time, and remembered by this process only."""
    status = path.stat()
    known = _hashes.get(path)
    if known is None or known[:2] != (status.st_size, status.st_mtime_ns):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        known = _hashes[path] = (status.st_size, status.st_mtime_ns, digest)
    return known[2]


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer exactly as tokenizer.json describes it."""
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    return tokenizer


def backbone_config(checkpoint: Checkpoint, backbone: schema.Backbone) -> PreTrainedConfig:
    """Raises ModelError where config.json is that of another architecture."""
    found = checkpoint.settings.get("model_type")
    if found != backbone.model_type:
        raise ModelError(f"config.json says model_type {found}; the model file says {backbone.model_type}.")
    settings = {key: value for key, value in checkpoint.settings.items() if key != "auto_map"}
    return CONFIG_MAPPING[backbone.model_type].from_dict(settings)


def checkpoint_dtype(checkpoint: Checkpoint) -> torch.dtype:
    named = checkpoint.settings.get("dtype") or checkpoint.settings.get("torch_dtype")
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    return known.get(str(named), torch.float32)


def load_weights(
    checkpoint: Checkpoint,
    config: DiscriminativeConfig,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[PreTrainedModel, heads.Head]:
    """The decoder in `dtype` and the head in fp32, both on `device`. Raises ModelError naming every wrong key."""
    settings = backbone_config(checkpoint, config.backbone)
    with torch.device("meta"):
        backbone: PreTrainedModel = AutoModel.from_config(  # type: ignore[no-untyped-call]
            settings, dtype=dtype, attn_implementation="sdpa"
        )
    prefix = config.backbone.prefix
    wanted = {prefix + name: tuple(weight.shape) for name, weight in backbone.state_dict().items()}
    head_keys = _head_keys(checkpoint, config)
    _check_keys(checkpoint, wanted, head_keys, config.backbone.unused)
    weights = {key.removeprefix(prefix): weight.to(device, dtype) for key, weight in checkpoint.read(list(wanted))}
    backbone.load_state_dict(weights, assign=True)
    # The angles of the rotary embedding are computed, not stored.
    rotary = type(backbone.get_submodule("rotary_emb"))
    backbone.set_submodule("rotary_emb", rotary(config=settings).to(device))
    left = [name for name, tensor in [*backbone.named_parameters(), *backbone.named_buffers()] if tensor.is_meta]
    if left:
        raise ModelError(f"The decoder {config.backbone.model_type} has parts that no weight fills: {_listed(left)}.")
    backbone.train(False).requires_grad_(False)
    return backbone, _load_head(checkpoint, config, tokenizer, device)


def _head_keys(checkpoint: Checkpoint, config: DiscriminativeConfig) -> list[str]:
    if isinstance(config.head, schema.TokensHead):
        tied = checkpoint.settings.get("tie_word_embeddings") and "lm_head.weight" not in checkpoint.shapes
        return [f"{config.backbone.prefix}embed_tokens.weight" if tied else "lm_head.weight"]
    keys = []
    for layer in config.head.layers:
        keys.append(f"{layer.name}.weight")
        keys += [f"{layer.name}.bias"] if _has_bias(checkpoint, layer) else []
    return keys


def _has_bias(checkpoint: Checkpoint, layer: schema.Layer) -> bool:
    if isinstance(layer.bias, bool):
        return layer.bias
    answer = checkpoint.settings.get(layer.bias)
    if not isinstance(answer, bool):
        raise ModelError(f"config.json has no {layer.bias} that is true or false, which the layer {layer.name} needs.")
    return answer


def _check_keys(
    checkpoint: Checkpoint, wanted: dict[str, tuple[int, ...]], head_keys: list[str], unused: tuple[str, ...]
) -> None:
    found = checkpoint.shapes
    missing = [key for key in [*wanted, *head_keys] if key not in found]
    known = {*wanted, *head_keys}
    extra = [key for key in found if key not in known and not any(fnmatch(key, pattern) for pattern in unused)]
    shapes = [
        f"{key} {found[key]} instead of {shape}" for key, shape in wanted.items() if found.get(key, shape) != shape
    ]
    problems = [("missing", missing), ("unexpected", extra), ("of another shape", shapes)]
    told = "; ".join(f"{what}: {_listed(keys)}" for what, keys in problems if keys)
    if told:
        raise ModelError(f"The weights in {checkpoint.folder.name} do not fit the model file. {told}.")


def _load_head(
    checkpoint: Checkpoint, config: DiscriminativeConfig, tokenizer: PreTrainedTokenizerFast, device: torch.device
) -> heads.Head:
    keys = _head_keys(checkpoint, config)
    if isinstance(config.head, schema.TokensHead):
        ids = [_single_token(tokenizer, token) for token in config.head.tokens]
        weight = checkpoint.rows(keys[0], ids)  # (outputs, width)
        return heads.LinearHead((heads.Layer(weight.to(device, torch.float32), None, relu=False),))
    weights = {key: weight.to(device, torch.float32) for key, weight in checkpoint.read(keys)}
    layers = tuple(
        heads.Layer(weights[f"{x.name}.weight"], weights.get(f"{x.name}.bias"), x.activation == "relu")
        for x in config.head.layers
    )
    ensemble = isinstance(config.head, schema.EnsembleHead)
    last = layers[-1].weight.shape
    dimensions, n_outputs = (3, last[-1]) if ensemble else (2, last[0])
    if any(layer.weight.dim() != dimensions for layer in layers) or n_outputs != len(config.map.outputs):
        raise ModelError(
            f"The head's last layer {config.head.layers[-1].name} has the shape {tuple(last)}, which does not give the "
            f"{len(config.map.outputs)} numbers that map.outputs names."
        )
    return heads.EnsembleHead(layers) if ensemble else heads.LinearHead(layers)


def _single_token(tokenizer: PreTrainedTokenizerFast, text: str) -> int:
    ids = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
    if len(ids) != 1:
        raise ModelError(f"head.tokens: {text!r} is {len(ids)} tokens for this checkpoint's tokenizer, not one.")
    return int(ids[0])


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
