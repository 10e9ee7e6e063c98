"""What the rules of the platform refuse, said to the person who asked."""

from typing import ClassVar, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Schema = TypeVar("Schema", bound=BaseModel)


class DomainError(Exception):
    """A refusal with a code for programs and a sentence for people.

    `fields` names places in the caller's input, such as `labels[2].value`, each with its own sentence.
    """

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 400

    def __init__(self, message: str, fields: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields or {}

    def as_json(self) -> dict[str, object]:
        """The one shape in which every refusal is told to a program."""
        return {"error": {"code": self.code, "message": self.message, "fields": self.fields}}


class InvalidInput(DomainError):
    """The request's content is wrong at the named places."""

    code = "input.invalid"


class OtherAccount(DomainError):
    """Somebody else has signed in since the page that asks was opened."""

    code = "account.other"
    status = 403


class IncompleteAnnotation(DomainError):
    """Something that the assignment wants has no label yet."""

    code = "annotation.incomplete"
    status = 422


class InconsistentAnnotation(DomainError):
    """Labels of one annotation contradict each other."""

    code = "annotation.inconsistent"
    status = 422


class UnconfirmedWarnings(DomainError):
    """Labels look odd together; whoever means them may submit them all the same."""

    code = "annotation.warnings"
    status = 422


class AssignmentNotYours(DomainError):
    """The claim ended and somebody else holds the slot, or it was submitted or skipped."""

    code = "assignment.not_yours"
    status = 409


class HintsNotShown(DomainError):
    """What a model says is not to be seen here, or not before the annotator's own labels are stored."""

    code = "hints.not_shown"
    status = 409


class LabelsOutdated(DomainError):
    """A save that another one has overtaken; `n_saves` is how many there are by now, for whoever still means it."""

    code = "labels.outdated"
    status = 409

    def __init__(self, n_saves: int) -> None:
        super().__init__("Not stored: other labels of this trajectory were saved in the meantime. Send them again.")
        self.n_saves = n_saves

    def as_json(self) -> dict[str, object]:
        return {**super().as_json(), "n_saves": self.n_saves}


class AnnotationFinal(DomainError):
    """What was submitted never changes."""

    code = "annotation.final"
    status = 409


class AnnotationChanged(DomainError):
    """What the person saw when they submitted is no longer what is stored."""

    code = "annotation.changed"
    status = 409


class ReviewHeld(DomainError):
    """Another reviewer holds this trajectory's disputes."""

    code = "review.held"
    status = 409


class DecisionOutdated(DomainError):
    """The dispute no longer is what the reviewer had before them."""

    code = "decision.outdated"
    status = 409


class NothingToRelease(DomainError):
    """The policy leaves no trajectory to publish."""

    code = "release.empty"
    status = 409


class InvalidSettings(DomainError):
    """A project's settings or a release policy do not hold together."""

    code = "settings.invalid"


class JobConflict(DomainError):
    """The job is in a state in which this cannot be done."""

    code = "job.conflict"
    status = 409


class JobFailed(DomainError):
    """Background work found that it must not go on; `result` is what it can show for it."""

    code = "job.failed"

    def __init__(self, message: str, result: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.result = result or {}


def text_of(given: str, field: str, what_to_do: str, *, most: int) -> str:
    """What a person wrote, as it can be stored; raises InvalidInput if nothing is left of it, or more than `most`."""
    said = given.replace("\0", "").strip()  # PostgreSQL stores no NUL
    if not said:
        raise InvalidInput(what_to_do, {field: what_to_do})
    if len(said) > most:
        message = f"The text has {len(said)} characters; at most {most} are stored. Shorten it."
        raise InvalidInput(message, {field: message})
    return said


def message_of(refused: ErrorDetails) -> str:
    """One thing that a schema refused; a sentence of our own as we wrote it."""
    return refused["msg"].removeprefix("Value error, ")


def fields_of(error: ValidationError, whole: str = "body", within: str = "") -> dict[str, str]:
    """What a schema refused, by place; `whole` names what is wrong with all of it, `within` begins the other places."""
    return {within + ".".join(map(str, one["loc"])) if one["loc"] else whole: message_of(one) for one in error.errors()}


def parsed(
    schema: type[Schema],
    data: object,
    said: str,
    whole: str = "body",
    *,
    within: str = "",
    raises: type[DomainError] = InvalidSettings,
) -> Schema:
    """The data in the form of the schema. Raises `said`, followed by each place that is wrong, with its message."""
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        fields = fields_of(error, whole, within)
        places = "; ".join(f"{place}: {message.removesuffix('.')}" for place, message in fields.items())
        raise raises(f"{said} {places}.", fields) from None
