"""Bytes in chunks to lines and to text, with a bound on the length of one record."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator

from headrace.errors import MalformedStream
from headrace_nodes.products import BadRecord

MAX_RECORD = 16 * 1024 * 1024
"""The longest record read, in bytes: a file that is no catalog must not fill the memory."""


class FormatError(MalformedStream):
    """A file is not in the format it is read as: the whole node fails, not one record."""


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a file without their ends, empty ones left out; the byte order mark is dropped.

    Raises FormatError for a line longer than MAX_RECORD.
    """
    rest = b""
    for chunk in without_mark(chunks):
        parts = (rest + chunk).split(b"\n")
        rest = parts.pop()
        if len(rest) > MAX_RECORD:
            raise FormatError(f"a line is longer than {MAX_RECORD} bytes")
        for part in parts:
            line = part.strip()
            if line:
                yield line
    if rest.strip():
        yield rest.strip()


def without_mark(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks without a UTF-8 byte order mark at the very beginning."""
    head: bytes | None = b""
    for chunk in chunks:
        if head is None:
            yield chunk
            continue
        head += chunk
        if len(head) >= len(codecs.BOM_UTF8):
            yield head.removeprefix(codecs.BOM_UTF8)
            head = None
    if head:
        yield head.removeprefix(codecs.BOM_UTF8)


def texts(chunks: Iterable[bytes]) -> Iterator[str]:
    """The file as pieces of text of any length. Bytes that are no UTF-8 become U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for chunk in without_mark(chunks):
        if text := decoder.decode(chunk):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text


def text_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """The file as lines of text *with* their ends, for csv.reader. Raises FormatError like `lines`."""
    rest = ""
    for text in texts(chunks):
        parts = (rest + text).split("\n")
        rest = parts.pop()
        if len(rest) > MAX_RECORD:
            raise FormatError(f"a line is longer than {MAX_RECORD} characters")
        for part in parts:
            yield part + "\n"
    if rest:
        yield rest


def decode(line: bytes) -> str:
    """A line as text. Raises BadRecord where it is no UTF-8."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise BadRecord(f"not UTF-8 at byte {error.start}") from None
