"""A finished run in one value: what its hashes and its events held, without what only a live run needs.

Raw deflate behind one byte that names the format, which stands for the preset dictionary too: the events and node runs of
every run look alike, so most of a small run is in the dictionary. Three lines of JSON: the run's fields, {ref: fields of
the node run}, [[id, event], ...]. The first line can be read alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from app.core.states import NodeStatus
from app.errors import EngineFault

Fields = Mapping[bytes, bytes]
RawEvent = tuple[bytes, bytes]
"""(id in the stream, the event as JSON)"""

MOST_NODES = 256
"""Node runs of the largest run that is packed."""
MOST_BYTES = 128 * 1024
"""Size of the largest run that is packed, before compression: it is decoded whole to show a part of it."""

_LIVE_ONLY = frozenset({b"i", b"h", b"kc", b"ke", b"ko", b"kf", b"tm"})
"""Fields of a node run that fence or time a live attempt."""
_RUN_LIVE_ONLY = frozenset({b"ac"})
_FIRST = 512
"""Bytes decoded at a time to find the end of the first line."""

_FORMAT = 1
_WORDS = {
    1: b"""{"type":"run","from":null,"to":"queued","at":null}{"s":"skipped","z":"17"}{"s":"blocked","z":"17"},"u":"","t":""
{"type":"node","node":"","from":"running","to":"failed","attempt":2,"at":"2026-"}]"waiting","to":"cancelled","attempt":1,
"A1.0":"{\\"attempt\\":1,\\"started\\":\\"20","x":"{\\"type\\":\\"exit\\",\\"message\\":\\"exit code 1\\"}","g":"17","q":"
","pd":"","pt":"","fr":"","v":"{\\"uri\\":\\"","n":"","o":"","ok":"","bad":"0","j":"","ov":"[{
{"c":"17","s":"failed","x":"{\\"type\\":\\"node_failed\\",\\"node\\":\\"\\",\\"message\\":\\"node '","src":"hook:","l":"{
{"c":"17","s":"succeeded","w":"","v":"1","p":"{}","n":"5","d":"5","f":"0","k":"5","t":"t","src":"api","b":"17","z":"17"}
{"a":{"a":"1","l":"0","y":"17","s":"succeeded","b":"17","g":"17","e":"1","r":"17","p":"4","q":"1","m":"{\\"uri\\":\\"file:
/part-0.ndjson\\",\\"count\\":500}","w":"17","z":"17"},"b":{"a":"1","l":"0","y":"17
[["17-0",{"type":"run","from":"queued","to":"running","at":"2026-0T:00:00.000Z"}],["17
-1",{"type":"node","node":"a","from":"pending","to":"ready","attempt":1,"at":"2026-11-2T0:00:00.000Z"}],["17
-2",{"type":"node","node":"a","from":"ready","to":"starting","attempt":1,"at":"2026-1-2T0:00:00.000Z"}],["17
-0",{"type":"node","node":"a","from":"starting","to":"running","attempt":1,"at":"2026-1-2T00:0Z"}],["17
-0",{"type":"step","node":"a","step":"configure","attempt":1,"epoch":1,"at":"2026-1-2T0Z"}],["17
-1",{"type":"step","node":"a","step":"execute","attempt":1,"epoch":1,"at":"2026-1-2T0Z"}],["17
-2",{"type":"step","node":"a","step":"output","attempt":1,"epoch":1,"at":"2026-1-2T0Z"}],["17
-3",{"type":"step","node":"a","step":"finalize","attempt":1,"epoch":1,"at":"2026-1-2T0Z"}],["17
-0",{"type":"node","node":"a","from":"running","to":"succeeded","attempt":1,"at":"2026-1-2T0Z"}],["17
-1",{"type":"run","from":"running","to":"succeeded","at":"2026-1-2T00Z"}]]""",
}
"""Preset dictionary of each format, the likeliest last. One that was ever released never changes: make another."""


@dataclass(slots=True, frozen=True)
class Packed:
    """A packed run, decoded."""

    run: dict[bytes, bytes]
    nodes: dict[str, dict[bytes, bytes]]
    """By ref; one that never started is not there."""
    events: list[RawEvent]


def pack(run: Fields, nodes: Mapping[str, Fields], events: Sequence[RawEvent]) -> bytes | None:
    """The value; None for a run that is too large, or holds what is not text."""
    try:
        lines = [
            orjson.dumps(_text(run, _RUN_LIVE_ONLY)),
            orjson.dumps({ref: _text(_kept(node), _LIVE_ONLY) for ref, node in nodes.items()}),
            orjson.dumps([[place.decode(), orjson.Fragment(event)] for place, event in events]),
        ]
    except UnicodeDecodeError:
        return None
    if len(nodes) > MOST_NODES or sum(map(len, lines)) > MOST_BYTES:
        return None
    packer = zlib.compressobj(6, zlib.DEFLATED, -15, 9, zdict=_WORDS[_FORMAT])
    return bytes([_FORMAT]) + packer.compress(b"\n".join(lines)) + packer.flush()


def unpack(value: bytes) -> Packed:
    """Raises EngineFault for a value of a format that this release does not know, or a damaged one."""
    try:
        text = _opener(value).decompress(value[1:])
        run, nodes, events = (orjson.loads(line) for line in text.split(b"\n"))
    except (zlib.error, ValueError) as error:
        raise EngineFault("a packed run is damaged") from error
    return Packed(
        _fields(run),
        {ref: _fields(node) for ref, node in nodes.items()},
        [(place.encode(), orjson.dumps(event)) for place, event in events],
    )


def unpack_run(value: bytes) -> dict[bytes, bytes]:
    """Only the run's own fields. Raises EngineFault."""
    opener, text, rest = _opener(value), b"", value[1:]
    try:
        while b"\n" not in text and rest:
            text += opener.decompress(rest, _FIRST)
            rest = opener.unconsumed_tail
        return _fields(orjson.loads(text.split(b"\n", 1)[0]))
    except (zlib.error, ValueError) as error:
        raise EngineFault("a packed run is damaged") from error


def _opener(value: bytes) -> zlib._Decompress:  # pyright: ignore[reportPrivateUsage]
    words = _WORDS.get(value[0]) if value else None
    if words is None:
        raise EngineFault("a packed run is of a format that this release does not know")
    return zlib.decompressobj(-15, zdict=words)


def _kept(node: Fields) -> Fields:
    """A position is of use only where another attempt may go on from it."""
    if node.get(b"s") == NodeStatus.SUCCEEDED.encode():
        return {name: value for name, value in node.items() if name != b"d"}
    return node


def _text(fields: Fields, without: frozenset[bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in fields.items() if name not in without}


def _fields(row: Mapping[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in row.items()}
