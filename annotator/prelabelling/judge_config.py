"""The model file of a generative judge: any chat model behind an OpenAI-compatible endpoint.

The file never holds a secret: it names the environment variables in which a worker finds the address and the key.
"""

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

Variant = Literal["evidence", "first_error", "both_sides"]
EnvName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$", max_length=100)]

_OWN_FIELDS = (
    "messages model n stream response_format logprobs top_logprobs temperature top_p max_tokens max_completion_tokens"
)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Endpoint(_Section):
    """Where the judge answers, by the names of environment variables."""

    base_url_env: EnvName
    api_key_env: EnvName | None = None


class Votes(_Section):
    """Each variant of the prompt is asked `per_variant` times; every answer is one vote."""

    variants: Annotated[tuple[Variant, ...], Field(min_length=1)] = ("evidence",)
    per_variant: Annotated[int, Field(ge=1, le=32)] = 1
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 0.0  # null: not sent, the endpoint decides
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None

    @model_validator(mode="after")
    def _votes_can_differ(self) -> Self:
        if len(set(self.variants)) < len(self.variants):
            raise ValueError("names a variant twice; raise per_variant to ask one variant more than once")
        if self.per_variant > 1 and self.temperature == 0:
            raise ValueError("asks one variant more than once at temperature 0, where every answer is the same")
        return self

    @property
    def n(self) -> int:
        return len(self.variants) * self.per_variant


class Output(_Section):
    """What is asked of the answer's form."""

    format: Literal["json_schema", "json_object", "text"] = "json_schema"
    reason_limit_in_schema: bool = True  # false for endpoints that refuse maxLength in a strict schema
    max_tokens: Annotated[int, Field(ge=64, le=1_000_000)] = 8192
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    thinking_tokens: Annotated[int, Field(ge=0)] = 0  # expected before the answer; only the estimate uses it
    top_logprobs: Annotated[int, Field(ge=0, le=20)] = 0  # 0: not asked for


class Price(_Section):
    """Money per million tokens."""

    input: Annotated[Decimal, Field(ge=0)]
    output: Annotated[Decimal, Field(ge=0)]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"

    def of(self, input_tokens: int, output_tokens: int) -> Decimal:
        return (self.input * input_tokens + self.output * output_tokens) / 1_000_000


class Limits(_Section):
    """How the endpoint is treated; nothing here changes what the judge says."""

    concurrency: Annotated[int, Field(ge=1, le=256)] = 8  # trajectories at a time
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 300.0  # for one answer
    max_attempts: Annotated[int, Field(ge=1, le=20)] = 6
    spending_cap: Annotated[Decimal, Field(gt=0)] | None = None  # of one run, in the price's currency


class JudgeConfig(_Section):
    """One judge. Blind and with-reference are two models: two files."""

    kind: Literal["judge"]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
    title: str = ""
    endpoint: Endpoint
    model: Annotated[str, Field(min_length=1, max_length=200)]
    mode: Literal["blind", "with_reference"]
    votes: Votes = Votes()
    output: Output = Output()
    context_tokens: Annotated[int, Field(ge=1024)] | None = None  # null: the endpoint says when it is too much
    extra_body: dict[str, JsonValue] = {}  # further fields of the request, as this endpoint knows them
    price: Price | None = None
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _sections_fit_together(self) -> Self:
        if self.limits.spending_cap is not None and self.price is None:
            raise ValueError("limits.spending_cap needs a price, or nothing could be counted against it")
        if taken := sorted(set(self.extra_body) & set(_OWN_FIELDS.split())):
            raise ValueError(f"extra_body must not set {', '.join(taken)}: the judge sets them itself")
        if self.context_tokens is not None and self.context_tokens <= self.output.max_tokens:
            raise ValueError("context_tokens leaves no room for a prompt beside output.max_tokens")
        return self

    def identity(self) -> dict[str, JsonValue]:
        """The part of the file that decides what the judge says: what a model version is known by."""
        return self.model_dump(mode="json", exclude={"title", "price", "limits"})
