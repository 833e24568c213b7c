"""Records out of bytes: NDJSON, JSON and CSV, read as a stream, memory flat whatever the size.

Each reader is a generator of records; a record that is not valid is yielded as a `Bad`, so that one bad line
fails one
record and not the node. `skip` leaves out that many records from the front.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, TextIO, cast

import orjson

from headrace.errors import MalformedRecord, MalformedStream

CHUNK = 256 * 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAX_RECORD = 16 * 1024 * 1024
"""Longest record in bytes (NDJSON, CSV) or characters (JSON); a longer one ends the stream."""


class Bad(NamedTuple):
    """A record that is not valid, in its place in the stream."""

    error: MalformedRecord


def lines(file: BinaryIO, limit: int | None = None) -> Iterator[list[bytes]]:
    """Non-empty lists of lines without their ends; `limit` is in bytes. Raises MalformedStream for an endless
    line."""
    tail = b""
    while chunk := file.read(CHUNK if limit is None else min(CHUNK, limit)):
        if limit is not None:
            limit -= len(chunk)
        found = (tail + chunk).split(b"\n")
        tail = found.pop()
        if len(tail) > MAX_RECORD:
            raise MalformedStream(f"a line is longer than {MAX_RECORD} bytes")
        if found:
            yield found
    if tail:
        yield [tail]


def ndjson(file: BinaryIO, skip: int = 0, limit: int | None = None) -> Iterator[Any]:
    """One JSON value a line; blank lines do not count. Skipped lines are not parsed."""
    loads = orjson.loads
    for block in lines(file, limit):
        if skip:
            block = [line for line in block if line and not line.isspace()]
            block, skip = block[skip:], max(0, skip - len(block))
        for line in block:
            try:
                record = loads(line)
            except orjson.JSONDecodeError as error:
                if not line.strip():
                    continue
                record = _mended(line, error)
            yield record


def _mended(line: bytes, error: Exception) -> Any:
    """A bad record, unless only a byte order mark stood before it."""
    if line.startswith(_BYTE_ORDER_MARK):
        try:
            return orjson.loads(line[3:])
        except orjson.JSONDecodeError as second:
            error = second
    return Bad(MalformedRecord(f"not JSON: {error}"))


def json(file: BinaryIO, skip: int = 0) -> Iterator[Any]:
    """The elements of a JSON array, or a row of JSON values; read element by element, never the whole
    file."""
    for index, record in enumerate(_Elements(file)):
        if index >= skip:
            yield record


class _Elements:
    """Iterates over the elements of a JSON text with a window of it in memory."""

    def __init__(self, file: BinaryIO) -> None:
        from codecs import getincrementaldecoder
        from json import JSONDecoder

        self._file = file
        self._decode = getincrementaldecoder("utf-8-sig")().decode
        self._scan = JSONDecoder(parse_constant=_refuse_constant).raw_decode
        self._text = ""
        self._at = 0
        self._ended = False

    def __iter__(self) -> Iterator[Any]:
        first = self._peek()
        if first != "[":
            while self._peek():
                yield self._value()
            return
        self._at += 1
        if self._peek() == "]":
            self._at += 1
        else:
            yield self._value()
            while (mark := self._take()) == ",":
                yield self._value()
            if mark != "]":
                raise MalformedStream("the JSON array is not valid: a comma or its end is missing")
        if self._peek():
            raise MalformedStream("something follows the end of the JSON array")

    def _peek(self) -> str:
        """The next character that is not white space, or nothing at the end."""
        while True:
            text, at = self._text, self._at
            while at < len(text) and text[at] in " \t\n\r":
                at += 1
            self._at = at
            if at < len(text) or not self._fill():
                return text[at : at + 1]

    def _take(self) -> str:
        mark = self._peek()
        self._at += 1
        return mark

    def _value(self) -> Any:
        """One whole value. A value that ends at the window's edge may go on, so one more character must be
        there."""
        self._peek()
        while True:
            try:
                value, end = self._scan(self._text, self._at)
                if end < len(self._text) or self._ended:
                    self._at = end
                    return value
            except (ValueError, RecursionError) as error:
                if self._ended or isinstance(error, RecursionError):
                    raise MalformedStream(f"the JSON is not valid: {error}") from None
            if len(self._text) - self._at > MAX_RECORD:
                raise MalformedStream(f"a JSON element is not valid, or longer than {MAX_RECORD} characters")
            self._fill(max(CHUNK, len(self._text) - self._at))

    def _fill(self, size: int = CHUNK) -> bool:
        """Read on, and forget what was used up; False at the end of the file."""
        if self._ended:
            return False
        chunk = self._file.read(size)
        self._ended = not chunk
        try:
            self._text = self._text[self._at :] + self._decode(chunk, self._ended)
        except UnicodeDecodeError:
            raise MalformedStream("the JSON is not UTF-8") from None
        self._at = 0
        return True


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def csv(file: BinaryIO, skip: int = 0, delimiter: str | None = None) -> Iterator[Any]:
    """Rows as dicts of text, keys from the header; a missing field is None. The delimiter is taken from the
    header."""
    import csv as reader_of
    import io

    reader_of.field_size_limit(MAX_RECORD)
    text = io.TextIOWrapper(cast("Any", file), encoding="utf-8-sig", newline="")
    try:
        first = text.readline(MAX_RECORD)
        delimiter = delimiter or max(",;\t|", key=first.count)
        rows = reader_of.reader(_joined(first, text), delimiter=delimiter)
        header = next(rows, None)
        if header is None:
            return
        if len(set(header)) != len(header):
            raise MalformedStream("the CSV header names a column twice")
        width = len(header)
        for row in rows:
            if not row:
                continue
            if skip:
                skip -= 1
            elif len(row) > width:
                yield Bad(MalformedRecord(f"{len(row)} fields, but the header has {width}"))
            else:
                yield dict(zip(header, row + [None] * (width - len(row)), strict=True))
    except (reader_of.Error, UnicodeDecodeError) as error:
        raise MalformedStream(f"the CSV is not valid: {error}") from None
    finally:
        text.detach()


def _joined(first: str, rest: TextIO) -> Iterator[str]:
    """The lines of a text, none of them endless."""
    line = first
    while line:
        if len(line) >= MAX_RECORD and not line.endswith("\n"):
            raise MalformedStream(f"a line is longer than {MAX_RECORD} characters")
        yield line
        line = rest.readline(MAX_RECORD)
