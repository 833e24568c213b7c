"""A JSON array of products (or an object with one such array), read element by element."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from headrace_nodes.formats.lines import MAX_RECORD, FormatError, texts

_SKIP = re.compile(r"[\s,]*")
_START = re.compile(r'\s*(?:\[|\{\s*"(?:products|items|data)"\s*:\s*\[)')


def elements(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Each element of the array as JSON bytes, holding one element in memory.

    The array is the whole file, or the first field "products", "items" or "data" of an object. Raises
    FormatError when the file is neither, or breaks off.
    """
    decoder = json.JSONDecoder()
    source = texts(chunks)
    buffer = _first(source)
    match = _START.match(buffer)
    if match is None:
        raise FormatError("not a JSON array of products, nor an object that begins with one")
    position = match.end()
    while True:
        space = _SKIP.match(buffer, position)
        position = space.end() if space else position
        if buffer.startswith("]", position):
            return
        try:
            _, end = decoder.raw_decode(buffer, position)
            complete = end < len(buffer)
        except json.JSONDecodeError:
            end, complete = position, False
        if not complete:
            buffer, position = _more(buffer[position:], source), 0
            continue
        yield buffer[position:end].encode("utf-8", "replace")
        position = end


def _first(source: Iterator[str]) -> str:
    buffer = ""
    for block in source:
        buffer += block
        if len(buffer) > 64:
            break
    return buffer


def _more(rest: str, source: Iterator[str]) -> str:
    """`rest` and at least as much again, so that a long element costs linear time over all."""
    if len(rest) > MAX_RECORD:
        raise FormatError("one element is not JSON, or longer than the bound")
    wanted = max(2 * len(rest), 1)
    blocks = [rest]
    size = len(rest)
    for block in source:
        blocks.append(block)
        size += len(block)
        if size >= wanted:
            return "".join(blocks)
    if size == len(rest):
        raise FormatError("the JSON array breaks off, or one of its elements is not JSON")
    return "".join(blocks)
