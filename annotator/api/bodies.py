"""Reading what a request brings: JSON, a form with a file, or choices in the query string."""

from collections.abc import Collection
from typing import cast

from django.core.files.uploadedfile import UploadedFile
from django.http import QueryDict
from pydantic import BaseModel, ConfigDict, Field
from rest_framework.exceptions import ParseError
from rest_framework.request import Request

from annotator.errors import InvalidInput, Schema, parsed
from annotator.importing.formats import FORMATS
from annotator.importing.schema import FieldError, check_storable
from annotator.releases.policy import ReleasePolicy


class Body(BaseModel):
    """A JSON object in which every unknown field is an error. As it stands: a request that brings nothing."""

    model_config = ConfigDict(extra="forbid")


class SkipIn(Body):
    """Why the annotator skips the trajectory."""

    reason: str


class ReleaseIn(Body):
    """The policy of a release; what it leaves out has the default."""

    policy: ReleasePolicy = Field(default_factory=ReleasePolicy)


def read_json(request: Request) -> object:
    """The JSON body, free of what PostgreSQL cannot hold; {} if there is none."""
    _ = request.body  # unlike DRF's own reading, this refuses what is larger than DATA_UPLOAD_MAX_MEMORY_SIZE
    try:
        data = request.data
    except RecursionError:
        raise ParseError("The JSON is nested too deeply.") from None
    try:
        check_storable(data)
    except FieldError as error:
        raise InvalidInput(f"The request does not fit. {error}", {error.field or "body": error.reason}) from None
    return {} if isinstance(data, QueryDict) else data


def parse(model: type[Schema], data: object) -> Schema:
    """Raises InvalidInput that names each wrong place, e.g. `policy.splits`."""
    return parsed(model, data, "The request does not fit.", raises=InvalidInput)


def refuse_body(request: Request) -> None:
    """For requests whose address says it all: a field that would be ignored is a mistake of the caller."""
    if request.content_type.startswith("multipart/form-data") and b"Content-Disposition" not in request.body:
        return  # what some HTTP clients send when they are told to post nothing
    parse(Body, read_json(request))


class ImportForm:
    """The fields of an import's multipart form. Raises InvalidInput that names each wrong one."""

    def __init__(self, request: Request) -> None:
        data, self._fields = cast(QueryDict, request.data), dict[str, str]()
        for name in data:
            if name not in {"file", "format", "on_error", "dry_run"}:
                self._fields[name] = "There is no such field; there are file, format, on_error and dry_run."
            elif len(data.getlist(name)) > 1:
                self._fields[name] = "Send this field once."
        file = request.FILES.get("file")
        if file is None:
            self._fields["file"] = "Send the file to import in this field, as multipart/form-data."
        self.format = self._choice(data, "format", FORMATS)
        self.on_error = self._choice(data, "on_error", ("skip", "abort")) or "skip"
        self.is_dry_run = self._choice(data, "dry_run", ("true", "false")) == "true"
        if self._fields or file is None:
            said = " ".join(f"{name}: {message}" for name, message in self._fields.items())
            raise InvalidInput(f"The file was not taken. {said}", self._fields)
        self.file = cast("UploadedFile[bytes]", file)

    def _choice(self, data: QueryDict, name: str, choices: Collection[str]) -> str | None:
        value = data.get(name)
        if not value:
            return None
        if value not in choices:
            self._fields.setdefault(name, f"Must be one of {', '.join(choices)}.")
        return str(value)


def read_choice(request: Request, name: str, choices: Collection[str]) -> str | None:
    """One of the choices from the query string, or None if it is not there."""
    value = request.query_params.get(name)
    if value is None or value in choices:
        return value
    message = f"Must be one of {', '.join(choices)}."
    raise InvalidInput(f"The address does not fit. {name}: {message}", {name: message})
