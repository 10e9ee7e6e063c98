"""Every format that can be imported, and the one way to read a file of any of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from pydantic import JsonValue, ValidationError

from annotator.importing.formats import agentprocessbench, openai_chat
from annotator.importing.records import Record, read_records
from annotator.importing.schema import FieldError, TrajectoryIn, Unit, check_storable, first_error, place


class Reader(Protocol):
    """What the module of a format offers."""

    def matches(self, record: JsonValue) -> bool: ...

    def to_trajectory(self, record: JsonValue) -> TrajectoryIn: ...


# In the order in which they are tried: every AgentProcessBench record would also pass as a chat.
FORMATS: dict[str, Reader] = {agentprocessbench.NAME: agentprocessbench, openai_chat.NAME: openai_chat}


@dataclass(frozen=True)
class BadRecord:
    """A record that cannot be imported: where it is, which field, and a sentence."""

    line: int
    field: str
    reason: str
    unit: Unit = "line"

    def __str__(self) -> str:
        where = f"{self.unit} {self.line}"
        return f"{where}, {self.field}: {self.reason}" if self.field else f"{where}: {self.reason}"


def detect(first_record: JsonValue) -> str:
    """The name of the first format that fits; FieldError if none does."""
    for name, reader in FORMATS.items():
        if reader.matches(first_record):
            return name
    raise FieldError("", f"is in no known format ({', '.join(FORMATS)}): it needs a list of messages with roles.")


def read(file: BinaryIO, *, format: str | None, name: str) -> Iterator[TrajectoryIn | BadRecord]:
    """Every trajectory of the file, and every record that is none, in order; nothing in the file makes it raise.

    Without a format the first record that fits one decides for all. Memory does not grow with the file, and
    `file.tell()` says how far it was read. Raises ValueError for an unknown format, when called.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"There is no format {format!r}; there are {', '.join(FORMATS)}.")
    return _read(file, format, name)


def _read(file: BinaryIO, format_name: str | None, name: str) -> Iterator[TrajectoryIn | BadRecord]:
    is_empty = True
    for record in read_records(file):
        is_empty = False
        try:
            value = _storable(record)
            format_name = format_name or detect(value)
            trajectory = FORMATS[format_name].to_trajectory(value)
            found: TrajectoryIn | BadRecord = trajectory.model_copy(update={"line": record.number, "unit": record.unit})
        except ValidationError as error:
            found = _bad(record, first_error(error))
        except FieldError as error:
            found = _bad(record, error)
        yield found
    if is_empty:
        yield BadRecord(1, "", f"the file {place([name])} holds no records.")


def _storable(record: Record) -> JsonValue:
    if isinstance(record.value, FieldError):
        raise record.value
    check_storable(record.value)
    return record.value


def _bad(record: Record, error: FieldError) -> BadRecord:
    return BadRecord(record.number, error.field, error.reason, record.unit)
