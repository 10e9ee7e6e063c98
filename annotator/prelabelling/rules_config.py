"""The model file of the rule verifiers: which rules run, and what they need to know about the agent's surroundings."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

# Counts up whenever a rule of `annotator.prelabelling.rules` may find something else than before.
RULES_VERSION = 1

RuleCode = Literal["R1", "R2", "R3", "R4", "R5", "R6", "R7", "R8", "R9", "R10", "R11", "R12"]
Pattern = Annotated[str, Field(min_length=1, max_length=200)]
Word = Annotated[str, Field(min_length=1, max_length=50, pattern=r"\S")]


class RulesConfig(BaseModel):
    """One set of rules. Tools are named by patterns in which `*` stands for any text, such as `book_*`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["rules"] = "rules"
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")] = "rules"
    title: str = ""
    off: list[RuleCode] = []
    # R4: null means that a tool changes state unless a word of its name says that it only reads (get, list, search …).
    state_changing_tools: Annotated[list[Pattern], Field(max_length=500)] | None = None
    # R4: a call is a near repeat from this share of common words on; 1 switches near repeats off.
    near_repeat: Annotated[float, Field(gt=0, le=1)] = 0.9
    # R8, R9: the final answer stands in <TAG>…</TAG>, or in \boxed{…} for the tag "\boxed". Null: it need not.
    answer_tag: Annotated[str, Field(pattern=r"^(\\boxed|[A-Za-z][A-Za-z0-9_-]{0,50})$")] | None = None
    # R10: tools that the agent may call only after the user has agreed, and what agreement sounds like.
    tools_to_confirm: Annotated[list[Pattern], Field(max_length=500)] = []
    words_of_consent: Annotated[list[Word], Field(max_length=100)] = [
        "yes",
        "yeah",
        "yep",
        "ok",
        "okay",
        "sure",
        "confirm",
        "confirmed",
        "agreed",
        "proceed",
        "go ahead",
        "please do",
        "sounds good",
        "that works",
    ]
    # R12: the number of steps after which the agent was stopped, where there is one.
    max_steps: Annotated[int, Field(ge=1)] | None = None

    def identity(self) -> dict[str, JsonValue]:
        """What decides the findings: what a model version is known by."""
        return {"rules_version": RULES_VERSION, **self.model_dump(mode="json", exclude={"title"})}
