"""The model file of a discriminative process reward model: one schema for all released families.

They differ in the head, in how steps are rendered, in the positions that are read, in what the numbers there stand for,
and in whether later tokens see the markers. `docs/prelabelling.md` explains every field; the ready files are
`workers/prelabel/models/*.yaml`. Pure data: loading and scoring are `workers.prelabel.discriminative`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Output = Literal["negative", "neutral", "positive", "non_negative"]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Backbone(Part):
    """A plain decoder of transformers, named as in the checkpoint's config.json; never code from the checkpoint."""

    model_type: Literal["qwen2", "qwen3", "llama", "mistral"]
    prefix: str = "model."  # of its weights in the checkpoint
    unused: tuple[str, ...] = ()  # patterns of weights that may be there without being used, e.g. "lm_head.*"


class Layer(Part):
    """One linear layer: `NAME.weight` and, with a bias, `NAME.bias` in the checkpoint."""

    name: str = Field(min_length=1)
    bias: bool | str = True  # a text names the key of the checkpoint's config.json that holds true or false
    activation: Literal["relu"] | None = None


class LayersHead(Part):
    """Linear layers on the hidden state: weights of shape (out, in)."""

    kind: Literal["layers"]
    layers: tuple[Layer, ...] = Field(min_length=1)


class EnsembleHead(Part):
    """Many small networks side by side: weights of shape (members, in, out), biases (members, out)."""

    kind: Literal["ensemble"]
    layers: tuple[Layer, ...] = Field(min_length=1)


class TokensHead(Part):
    """The rows of the language model's own head that belong to these tokens."""

    kind: Literal["tokens"]
    tokens: tuple[str, ...] = Field(min_length=2)


Head = Annotated[LayersHead | EnsembleHead | TokensHead, Field(discriminator="kind")]


class Render(Part):
    """How question and steps become one text, and how the text becomes tokens."""

    mode: Literal["plain", "chat", "turns"]
    system: str | None = None  # chat, turns: the system message; none without
    steps_role: Literal["assistant", "user"] = "assistant"  # chat: who says the steps
    opening: str = ""  # chat: before the first step
    header: str = "{question}"  # plain: everything before the first step
    step: str = "{context}{step}"  # `{i}` is the number of the step, from 1
    marker: str | None = None  # after every step, the last one too
    between: str = ""  # plain, chat: between a marker and the next step
    bos: Literal["never", "always", "if_defined"] = "never"  # a chat template writes its own
    tokenise: Literal["whole", "segments"] = "whole"  # one text, or header, steps and markers each on their own
    join: str = "\n"  # between the parts of the question and between the messages before a step
    strip_numbering: bool = False  # take "Step 3:" away from the beginning of a step
    replace: dict[str, str] = {}  # in everything that comes from the trajectory
    collision: Literal["error", "escape"] = "error"  # when text of the trajectory forges a marker or a special token
    marker_may_occur: bool = False  # the model learnt from text that has the marker's token elsewhere, too
    reasoning: bool = True  # what the agent thought is part of its step

    @model_validator(mode="after")
    def _holds_together(self) -> "Render":
        if self.mode == "plain" and self.header.count("{question}") != 1:
            raise ValueError("render.header must hold {question} once.")
        if self.mode == "turns" and not self.marker:
            raise ValueError("render.marker is missing: in turns it is what the assistant says after every step.")
        for slot in ("{context}", "{step}"):
            if self.step.count(slot) != 1:
                raise ValueError(f"render.step must hold {slot} once.")
        if self.marker and self.marker in self.join and not self.marker_may_occur:
            raise ValueError("render.join holds the marker; write another text between messages, such as a space.")
        for old, new in self.replace.items():
            if not old or old in new:
                raise ValueError(f"render.replace: {old!r} would come back with its replacement {new!r}.")
        return self


class Read(Part):
    """Which position belongs to a step: that of its marker, or of its last token, moved by `offset` tokens."""

    at: Literal["marker", "step_end"]
    offset: int = Field(default=0, le=0)


class Mapping(Part):
    """What the numbers of the head stand for, in their order."""

    activation: Literal["softmax", "sigmoid"]
    outputs: tuple[Output, ...]
    raw: Literal["probability", "difference"] = "probability"  # P(not negative), or P(not negative) - P(negative)

    @model_validator(mode="after")
    def _outputs_fit(self) -> "Mapping":
        fitting: dict[str, list[list[str]]] = {
            "sigmoid": [["non_negative"]],
            "softmax": [["negative", "non_negative"], ["negative", "neutral", "positive"]],
        }
        if sorted(self.outputs) not in fitting[self.activation]:
            choices = " or ".join(" + ".join(choice) for choice in fitting[self.activation])
            raise ValueError(f"map.outputs: with {self.activation} they must be {choices}, in the order of the head.")
        return self


class Limits(Part):
    """Token counts. The four caps are used only on a trajectory that would not fit otherwise."""

    max_tokens: int = Field(default=4096, ge=16)  # in one forward pass; never more than the checkpoint's own context
    too_long: Literal["window", "refuse"] = "window"
    tool_result_tokens: int = Field(default=1024, ge=8)  # three quarters from the beginning, one from the end
    system_tokens: int = Field(default=512, ge=8)
    tools_tokens: int = Field(default=256, ge=8)
    question_tokens: int = Field(default=1024, ge=8)
    batch_tokens_cuda: int = Field(default=32768, ge=1)  # padding included
    batch_tokens_cpu: int = Field(default=4096, ge=1)
    cpu_parameters: int = Field(default=1_000_000_000, ge=0)  # device "auto" runs no larger model without a GPU


class DiscriminativeConfig(Part):
    """One discriminative process reward model."""

    kind: Literal["discriminative"]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")
    title: str = ""
    repository: str = ""  # where the weights were published; for people, nothing is ever fetched
    source: str = ""  # where the rule was read
    backbone: Backbone
    head: Head
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # auto: the checkpoint's on CUDA, else float32
    render: Render
    read: Read
    map: Mapping
    markers_visible: bool = True  # false: no token attends to a marker
    trained_until_first_error: bool = True  # scores after the first predicted error are extrapolated
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _holds_together(self) -> "DiscriminativeConfig":
        if not self.render.marker and (self.read.at == "marker" or not self.markers_visible):
            raise ValueError("render.marker is missing, but read.at or markers_visible needs one.")
        if self.render.mode == "turns" and self.read.at != "marker":
            raise ValueError("read.at must be marker where render.mode is turns.")
        if self.read.at == "step_end" and (self.render.marker or self.render.tokenise != "segments"):
            raise ValueError("read.at: step_end needs render.tokenise: segments and no marker.")
        if isinstance(self.head, TokensHead) and len(self.head.tokens) != len(self.map.outputs):
            raise ValueError("head.tokens and map.outputs must have the same length, in the same order.")
        if isinstance(self.head, EnsembleHead) and self.map.activation != "sigmoid":
            raise ValueError("map.activation must be sigmoid for an ensemble.")
        return self
