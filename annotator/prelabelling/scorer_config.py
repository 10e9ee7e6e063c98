"""The project's own step scorer: what it is trained with, and the model file that training writes. Pure data."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

# Counts up whenever the numbers that `workers.prm.features` makes of a step may differ from before.
FEATURES_VERSION = 1
MAX_STEPS = 128
# With gold, to learn from.
MIN_TRAJECTORIES = 10

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,99}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Mask = Literal["full", "prefix"]  # whether a step is scored with the whole trajectory in view, or with the past only
Mode = Literal["blind", "with_reference"]
Feature = Literal["step_text", "context_text", "place", "sizes", "calls", "tools", "rules", "errors", "overlap"]
FEATURES: tuple[Feature, ...] = (
    "step_text",
    "context_text",
    "place",
    "sizes",
    "calls",
    "tools",
    "rules",
    "errors",
    "overlap",
)
TEXTS: tuple[Feature, ...] = ("step_text", "context_text")  # what an encoder is needed for


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HashedEncoder(_Part):
    """Texts as hashed groups of 3 to 5 characters, weighted by rarity and projected at random; needs no files."""

    kind: Literal["hashed"] = "hashed"
    width: Annotated[int, Field(ge=64, le=1024, multiple_of=64)] = 256


class SentenceEncoder(_Part):
    """A frozen sentence encoder on the worker's disk: mean of the last layer's tokens, normalised."""

    kind: Literal["sentence"] = "sentence"
    name: Name
    sha256: str  # of its config.json, tokenizer.json and model.safetensors
    max_tokens: Annotated[int, Field(ge=8, le=8192)] = 256  # what is beyond is cut away, and counted


Encoder = Annotated[HashedEncoder | SentenceEncoder, Field(discriminator="kind")]


class ScorerConfig(_Part):
    """A trained scorer. Its weights lie in `checkpoints/NAME/`, beside how they came about (scorer.json)."""

    kind: Literal["scorer"]
    name: Name
    title: str = ""
    project: str | None  # only its admins see the model; null: everybody's
    release: int | None  # that it learnt from; null: it learns in the loop, from the project's gold as it was then
    mask: Mask
    mode: Mode
    encoder: Encoder | None  # null: the texts did not help, and are no feature
    features: Annotated[tuple[Feature, ...], Field(min_length=1)]
    features_version: int
    rules_version: int
    is_calibrated: bool  # its temperature was fitted on scores of tasks that it had not seen
    data_sha256: str  # of the rows that it learnt from
    weights_sha256: str

    def identity(self) -> dict[str, JsonValue]:
        """The part of the file that a model version is known by, beside its weights."""
        return self.model_dump(mode="json", exclude={"title", "weights_sha256"})


class ScorerOptions(_Part):
    """What decides how a scorer is trained."""

    name: Name
    release: int | None = None  # its number
    mask: Mask = "full"
    mode: Mode = "blind"
    encoder: Name = "hashed"  # or "minilm", or a folder of MODELS_FOLDER/encoders
    class_weights: Literal["none", "sqrt"] = "none"  # sqrt: a value counts 1 / √(its share), so rare ones count more
    max_epochs: Annotated[int, Field(ge=1, le=2000)] = 200
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class TrainingOptions(ScorerOptions):
    """What a person chooses when a scorer is trained from a release."""

    release: Annotated[int, Field(ge=1)]
