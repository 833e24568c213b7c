"""A dataset: many files that are one stream of records, named by one small manifest.

    {"headrace": "dataset/1", "format": "ndjson", "records": 3, "bytes": 30, "sha256": "…",
     "parts": [{"path": "parts/1-1/000000.ndjson", "records": 2, "bytes": 20},
               {"uri": "file:///…/manifest.json#records=0-1", "records": 1}]}

A part is a file of its own (`path`, relative to the manifest; the first `bytes` of it count) or records of
another
source (`uri`). So a dataset can be cut and joined without copying: `URI#records=START-END` names the records
from
START up to, not including, END. `sha256` is of the bytes of all parts one after another, however they are
cut.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from headrace.durable import Directories
from headrace.errors import MalformedStream

MAGIC = b'{"headrace":"dataset/1",'
"""How every manifest begins; so a manifest is known by its content."""
_RANGE = re.compile(r"records=(\d{1,18})-(\d{0,18})")


class Part(NamedTuple):
    """A run of records of one source. Exactly one of `path` and `uri` is set."""

    records: int
    path: str | None = None
    bytes: int | None = None
    uri: str | None = None


class Manifest(NamedTuple):
    """The content of a manifest file."""

    records: int
    bytes: int | None
    sha256: str | None
    parts: list[Part]


def write(directories: Directories, path: Path, manifest: Manifest) -> None:
    """Publish a manifest, whole or not at all."""
    body: dict[str, Any] = {
        "headrace": "dataset/1",
        "format": "ndjson",
        "records": manifest.records,
        "bytes": manifest.bytes,
        "sha256": manifest.sha256,
        "parts": [{k: v for k, v in part._asdict().items() if v is not None} for part in manifest.parts],
    }
    directories.write(path, orjson.dumps(body))


def parse(content: bytes) -> Manifest:
    """Read a manifest. Raises MalformedStream."""
    try:
        body = orjson.loads(content)
        parts = [Part(**part) for part in body["parts"]]
        if any((part.path is None) == (part.uri is None) or part.records < 0 for part in parts):
            raise ValueError("a part has a path or a uri")
        return Manifest(body["records"], body["bytes"], body["sha256"], parts)
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedStream("the manifest of the dataset is not valid") from error


def split_uri(uri: str) -> tuple[str, int, int | None]:
    """A URI, the first record meant, and the record to stop before (None: to the end). Raises
    MalformedStream."""
    base, mark, fragment = uri.partition("#")
    if not mark:
        return base, 0, None
    match = _RANGE.fullmatch(fragment)
    if match is None:
        raise MalformedStream("after # only records=START-END is understood")
    start, stop = int(match[1]), int(match[2]) if match[2] else None
    return base, start, None if stop is None else max(start, stop)


def cut(uri: str, start: int, stop: int) -> str:
    """The URI of the records from `start` up to `stop` of `uri`, which may itself be a cut."""
    base, offset, end = split_uri(uri)
    stop = offset + stop if end is None else min(end, offset + stop)
    return f"{base}#records={offset + start}-{max(offset + start, stop)}"


def cuts(uri: str, total: int, size: int) -> list[str]:
    """URIs of `size` records each (the last may have fewer) that together are `uri`."""
    return [cut(uri, start, min(total, start + size)) for start in range(0, total, size)]


def window(parts: Sequence[Part], start: int, stop: int | None) -> list[tuple[Part, int, int]]:
    """The parts that hold the records from `start` to `stop`: each with what to skip and how many to take."""
    chosen: list[tuple[Part, int, int]] = []
    at = 0
    for part in parts:
        first, last = max(start, at), at + part.records if stop is None else min(stop, at + part.records)
        if first < last:
            chosen.append((part, first - at, last - first))
        at += part.records
    return chosen
