"""Model files: one YAML file describes one model, whatever its kind. Pure: reading and checking, no weights.

Every kind has its own schema module; `ModelConfig` joins them, told apart by the field `kind`.
"""

import hashlib
import json
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

from annotator.importing.schema import first_error
from annotator.prelabelling.discriminative import DiscriminativeConfig
from annotator.prelabelling.judge_config import JudgeConfig
from annotator.prelabelling.rules_config import RulesConfig
from annotator.prelabelling.scorer_config import ScorerConfig

ModelConfig = DiscriminativeConfig | JudgeConfig | RulesConfig | ScorerConfig
_SCHEMAS: dict[str, type[ModelConfig]] = {
    "discriminative": DiscriminativeConfig,
    "judge": JudgeConfig,
    "rules": RulesConfig,
    "scorer": ScorerConfig,
}


class ConfigError(ValueError):
    """A model file that cannot be used; the text names the file and the field."""


def parse(text: str, file_name: str) -> ModelConfig:
    """The model that the YAML text describes. Raises ConfigError with file and field."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{file_name} is not valid YAML: {error}") from None
    return from_data(data, file_name)


def from_data(data: object, where: str) -> ModelConfig:
    """The model that a mapping describes, as `model_dump(mode="json")` gives it. Raises ConfigError."""
    schema = _SCHEMAS.get(str(data.get("kind"))) if isinstance(data, dict) else None
    if schema is None:
        raise ConfigError(f"{where}: kind: must be one of {', '.join(_SCHEMAS)}.")
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{where}: {first_error(error)}") from None


def read_file(path: Path) -> ModelConfig:
    """The model of one file. Raises ConfigError, also where the file is not there."""
    try:
        return parse(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The model file {path.name} cannot be read: {error}") from None


def read_folder(folder: Path) -> dict[str, ModelConfig]:
    """All models of a folder's `*.yaml` files by name. Raises ConfigError; two files of one name are one, too."""
    found: dict[str, ModelConfig] = {}
    for path in sorted(folder.glob("*.yaml")):
        config = read_file(path)
        if config.name in found:
            raise ConfigError(f"{path.name}: another file of the folder already describes a model named {config.name}.")
        found[config.name] = config
    return found


def known_by(config: ModelConfig) -> dict[str, str]:
    """What a model file says of the version that it makes; the other hashes are known once a worker has loaded it."""
    if isinstance(config, DiscriminativeConfig):
        return {"config_sha256": canonical_sha256(config)}
    found = {"config_sha256": json_sha256(config.identity())}
    return found | {"weights_sha256": config.weights_sha256} if isinstance(config, ScorerConfig) else found


def canonical_sha256(config: BaseModel) -> str:
    """SHA-256 of a config, or of a part of one, as canonical JSON: defaults filled in, keys sorted."""
    return json_sha256(config.model_dump(mode="json"))


def json_sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
