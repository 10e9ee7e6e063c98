"""Which models can be started: the model files that come with Stepmark, and the operator's own beside them."""

from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from annotator.errors import InvalidInput
from annotator.prelabelling.configs import ConfigError, ModelConfig, read_file
from annotator.prelabelling.scorer_config import ScorerConfig

SHIPPED = settings.BASE_DIR / "workers/prelabel/models"


@dataclass
class Catalogue:
    """Model files by name, and what is wrong with those that cannot be read."""

    models: dict[str, ModelConfig] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def get(self, name: str) -> ModelConfig:
        """Raises InvalidInput, naming what there is."""
        if name not in self.models:
            there = ", ".join(sorted(self.models))
            wrong = "".join(f" {said}" for said in self.wrong)
            raise InvalidInput(f"There is no model {name!r}. There are: {there}.{wrong}", {"model": "No such model."})
        return self.models[name]


def read(project: str) -> Catalogue:
    """What a project may start. The operator's own files go before those that ship with the same name.

    The folders are read anew: a file that was added or mended counts at once. A scorer that another project has trained
    is left out, as all that is another project's.
    """
    catalogue = read_all()
    catalogue.models = {
        name: config
        for name, config in catalogue.models.items()
        if not isinstance(config, ScorerConfig) or config.project in (None, project)
    }
    return catalogue


def read_all() -> Catalogue:
    catalogue = Catalogue()
    for folder in (settings.MODELS_FOLDER, SHIPPED):
        for path in sorted(Path(folder).glob("*.yaml")):
            try:
                config = read_file(path)
            except ConfigError as error:
                catalogue.wrong.append(str(error))
            else:
                catalogue.models.setdefault(config.name, config)
    return catalogue


def model_file(name: str) -> Path:
    """Where a trained scorer's model file is written."""
    return Path(settings.MODELS_FOLDER) / f"{name}.yaml"


def checkpoint_folder(name: str) -> Path:
    """Where a worker looks for the weights of a model on its own disk."""
    return Path(settings.MODELS_FOLDER) / "checkpoints" / name


def encoders_folder() -> Path:
    """Where a worker looks for the sentence encoders of scorers, one folder each."""
    return Path(settings.MODELS_FOLDER) / "encoders"
