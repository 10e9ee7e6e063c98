"""Which models can be started: the model files that come with Stepmark, and the operator's own beside them."""

from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from annotator.errors import InvalidInput
from annotator.prelabelling.configs import ConfigError, ModelConfig, read_file

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
            raise InvalidInput(f"There is no model {name!r}. There are: {there}.", {"model": "No such model."})
        return self.models[name]


def read() -> Catalogue:
    """Reads the folders anew: a file that was added or mended counts at once. The operator's own go first."""
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


def checkpoint_folder(name: str) -> Path:
    """Where a worker looks for the weights of a model on its own disk."""
    return Path(settings.MODELS_FOLDER) / "checkpoints" / name
