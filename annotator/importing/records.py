"""The JSON records of a file, one at a time, in memory that does not grow with the file.

Three containers: one record per line (JSONL), one array of records, or whole (pretty-printed) documents one after the
other. Python's own decoder reads all three, so that numbers and text follow the same rules in each; a streaming
parser would bring a second set (Decimal numbers, 64-bit integers only, NaN ends the file).
"""

import codecs
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from pydantic import JsonValue

from annotator.importing.schema import FieldError, Unit

RECORD_LIMIT = 64 * 2**20  # characters of one record
_LIMIT_TEXT = "64 million characters"
_CHUNK = 256 * 2**10
_SPACE = re.compile(r"[ \t\r\n]*")


def _integer(digits: str) -> int | float:
    # An integer beyond the range of a float becomes infinite here and is refused later, with its place.
    return int(digits) if len(digits) < 309 else math.inf


_JSON = json.JSONDecoder(parse_int=_integer)

# First characters of files that are no JSON text; "\udc.." stands for a byte that is not UTF-8.
_FOREIGN = (
    ("\x1f\udc8b", "a gzip archive; unpack it first"),
    ("PK\x03\x04", "a zip archive; unpack it first"),
    ("PAR1", "a Parquet file; convert it to JSONL first"),
    ("\udcff\udcfe", "UTF-16 text; save it as UTF-8"),
    ("\udcfe\udcff", "UTF-16 text; save it as UTF-8"),
)


@dataclass(frozen=True)
class Record:
    """One record, or why there is none; `number` counts lines or records, as `unit` says, from 1."""

    number: int
    unit: Unit
    value: JsonValue | FieldError


def read_records(file: BinaryIO) -> Iterator[Record]:
    """Every record of the file. In a JSONL file a broken line is one bad record and the next line is read;
    in any other container what follows the first broken record cannot be trusted and is left unread."""
    text = _Text(file)
    container = _container(text)
    foreign = next((what for start, what in _FOREIGN if text.buffer.startswith(start)), None)
    if foreign is not None:
        yield Record(1, "record", FieldError("", f"the file is {foreign}."))
    elif container == "lines":
        for number, line in enumerate(text.lines(), start=text.n_lines_skipped + 1):
            if line is None or line.strip():
                yield Record(number, "line", _parse(line))
    else:
        values = text.array() if container == "array" else text.documents()
        for number, value in enumerate(values, start=1):
            yield Record(number, "record", value)


def _parse(line: str | None) -> JsonValue | FieldError:
    if line is None:
        return FieldError("", f"is longer than {_LIMIT_TEXT}; split it or leave it out.")
    try:
        value: JsonValue = _JSON.decode(line)
    except json.JSONDecodeError as error:
        return FieldError("", f"is not valid JSON: {error.msg} at character {error.pos + 1}.")
    except RecursionError:
        return FieldError("", "is nested too deep to be read.")
    return value


def _space_end(text: str, start: int) -> int:
    match = _SPACE.match(text, start)
    return match.end() if match else start


class _Text:
    """The file as text: `buffer[start:]` was read and is not used yet.

    Bytes that are not UTF-8 become lone surrogates, which `check_storable` refuses with their place.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self.buffer = ""
        self.start = 0
        self.n_lines_skipped = 0
        self._n_dropped = 0
        self._is_ended = False

    def grow(self) -> bool:
        """Drop what is used and read at least as much as is left, so that a long record costs few attempts."""
        if self._is_ended:
            return False
        self._n_dropped += self.start
        self.buffer, self.start = self.buffer[self.start :], 0
        chunk = self._file.read(max(_CHUNK, len(self.buffer)))
        self._is_ended = not chunk
        self.buffer += self._decoder.decode(chunk, final=self._is_ended)
        return True

    def next_char(self) -> str:
        """Move to the next character that is not a space; "" at the end of the file."""
        while True:
            end = _space_end(self.buffer, self.start)
            self.n_lines_skipped += self.buffer.count("\n", self.start, end)
            self.start = end
            if self.start < len(self.buffer) or not self.grow():
                return self.buffer[self.start : self.start + 1]

    def lines(self) -> Iterator[str | None]:
        """Every line; None for one that is too long to be held."""
        self.buffer, self.start = self.buffer[self.start :], 0
        while True:
            *lines, self.buffer = self.buffer.split("\n")
            for line in lines:
                yield line if len(line) <= RECORD_LIMIT else None
            if len(self.buffer) > RECORD_LIMIT:
                self._skip_line()
                yield None
            if not self.grow():
                break
        if self.buffer:
            yield self.buffer

    def _skip_line(self) -> None:
        while "\n" not in self.buffer:
            self.buffer = ""
            if not self.grow():
                return
        self.buffer = self.buffer.partition("\n")[2]

    def line(self, skip: int) -> str:
        """The line that begins `skip` characters on, as far as a record may be long. Uses nothing up."""
        while (end := self.buffer.find("\n", self.start + skip)) < 0:
            if len(self.buffer) - self.start - skip > RECORD_LIMIT or not self.grow():
                end = len(self.buffer)
                break
        return self.buffer[self.start + skip : end]

    def decode(self, skip: int = 0) -> tuple[JsonValue, int]:
        """The JSON value that begins `skip` characters on, and where it ends. Uses nothing up.

        Raises FieldError where there is no whole value within the limit.
        """
        while True:
            try:
                value, end = _JSON.raw_decode(self.buffer, self.start + skip)
            except json.JSONDecodeError as error:
                # Broken, or not read to its end yet: only more text can tell.
                reason = f"is not valid JSON: {error.msg} at character {self._n_dropped + error.pos + 1} of the file"
            except RecursionError:
                raise FieldError("", "is nested too deep to be read; the rest of the file was not read.") from None
            else:
                # A number at the end of the buffer may go on in the next chunk.
                if end < len(self.buffer) or not self.grow():
                    return value, end - self.start
                continue
            if len(self.buffer) - self.start > RECORD_LIMIT:
                reason += f", or longer than {_LIMIT_TEXT}"
                raise FieldError("", f"{reason}; the rest of the file was not read.")
            if not self.grow():
                raise FieldError("", f"{reason}; the rest of the file was not read.")

    def take(self) -> JsonValue:
        """The next JSON value, used up."""
        value, length = self.decode()
        self.start += length
        if length > RECORD_LIMIT:
            raise FieldError("", f"is longer than {_LIMIT_TEXT}; the rest of the file was not read.")
        return value

    def first_element(self) -> JsonValue | FieldError:
        """The first value inside the bracket that comes next. Uses nothing up."""
        skip = 1
        while True:
            skip = _space_end(self.buffer, self.start + skip) - self.start
            if self.start + skip < len(self.buffer) or skip > RECORD_LIMIT or not self.grow():
                break
        try:
            return self.decode(skip)[0]
        except FieldError as error:
            return error

    def documents(self) -> Iterator[JsonValue | FieldError]:
        """The values up to the end of the file."""
        try:
            while self.next_char():
                yield self.take()
        except FieldError as error:
            yield error

    def array(self) -> Iterator[JsonValue | FieldError]:
        """The values inside the brackets."""
        self.start += 1
        try:
            separator = "" if self.next_char() == "]" else ","
            while separator == ",":
                self.next_char()
                yield self.take()
                separator = self.next_char()
                self.start += separator == ","
            if self.next_char() != "]":
                raise FieldError("", "the array goes on without a comma or ends without a bracket before this record.")
            self.start += 1
            if self.next_char():
                raise FieldError("", "text follows the end of the array; it was not read.")
        except FieldError as error:
            yield error


def _container(text: _Text) -> Literal["lines", "array", "document"]:
    """How the records are laid out, told from the first of them. Uses nothing up but leading spaces."""
    opening = text.next_char()
    is_array = False
    if opening == "[":
        # An array of messages is one record; an array of anything else holds records.
        first = text.first_element()
        is_array = not (isinstance(first, dict) and "role" in first and "messages" not in first)
        if is_array and not isinstance(first, FieldError):
            return "array"
    if opening not in ("{", "[") or _is_one_per_line(text):
        return "lines"
    return "array" if is_array else "document"


def _is_one_per_line(text: _Text) -> bool:
    """Whether each line is a record of its own, or the first record goes on in the second line."""
    line = text.line(0)
    first = line.rstrip()
    if len(first) > RECORD_LIMIT:
        return not first.startswith("[")  # a broken array on one line: as an array it is told where it breaks
    try:
        _JSON.decode(first)
    except RecursionError:
        return True
    except json.JSONDecodeError as error:
        if error.pos < len(first):  # broken within the line: the first line of a longer record only ends too early
            return True
    else:
        return True
    try:
        text.decode()
    except FieldError:
        # Neither a line nor a document: a JSONL file whose first line was cut off, if the second line is whole.
        return isinstance(_parse(text.line(len(line) + 1)), (dict, list))
    return False
