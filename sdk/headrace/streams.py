"""Streams: finite sequences of records, opened by URI, read without loading them."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, BinaryIO, cast

from headrace import datasets, formats
from headrace.errors import MalformedStream, SourceError
from headrace.files import FileGuard
from headrace.urls import UrlGuard

MAX_MANIFEST = 64 * 1024 * 1024
MAX_NESTING = 8
"""How deep datasets may refer to datasets."""

_FORMATS = {"ndjson": formats.ndjson, "json": formats.json, "csv": formats.csv}
_BY_EXTENSION = {"ndjson": "ndjson", "jsonl": "ndjson", "json": "json", "csv": "csv", "tsv": "csv"}
_BY_TYPE = {
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/json": "json",
    "text/csv": "csv",
    "text/tab-separated-values": "csv",
}


class Stream:
    """A finite stream of records. Iterate it as often as needed; every iteration begins at the front."""

    def __init__(self, uri: str, total: int | None, read: Callable[[int], Iterator[Any]]) -> None:
        self.uri = uri
        self.total = total
        """How many records it holds; None where only reading tells."""
        self._read = read

    def __iter__(self) -> Iterator[Any]:
        """The records. Raises MalformedRecord at one that is not valid; returned from `configure` it only
        fails that."""
        for record in self._read(0):
            if isinstance(record, formats.Bad):
                raise record.error
            yield record

    def read(self, skip: int = 0) -> Iterator[Any]:
        """The records after the first `skip`, one that is not valid as a `formats.Bad`. Whole parts are
        skipped unread."""
        return self._read(skip)

    def __repr__(self) -> str:
        return f"Stream({self.uri!r}, total={self.total})"


class Opener:
    """Opens URIs behind the guards."""

    def __init__(self, files: FileGuard, urls: UrlGuard) -> None:
        self._files = files
        self._urls = urls

    def open(self, uri: str, *, format: str | None = None, _depth: int = 0) -> Stream:
        """A stream over a file, a dataset or a URL. `format`: ndjson, json or csv where neither name nor
        content tells.

        Raises SourceError and its kinds; for http(s) an error of the server shows at the first record.
        """
        base, start, stop = datasets.split_uri(uri)
        if _is_http(base):
            self._urls.check(base)
        else:
            manifest = self._manifest(base)
            if manifest is not None:
                return self._dataset(uri, base, manifest, (start, stop), _depth)

        def read(skip: int) -> Iterator[Any]:
            return islice(
                self._records(base, start + skip, format), None if stop is None else _left(start, stop, skip)
            )

        return Stream(uri, None, read)

    def binary(self, uri: str) -> tuple[BinaryIO, str, str]:
        """The bytes behind a URI, with its file name and content type (which may be empty). Close it after
        use."""
        base = uri.partition("#")[0]
        if _is_http(base):
            response = self._urls.get(base)
            body = cast("BinaryIO", io.BufferedReader(_Body(response), formats.CHUNK))
            content_type = str(response.headers.get("Content-Type", "")).partition(";")[0].strip().lower()
            return body, base.partition("?")[0], content_type
        raw, path = self._files.open(base)
        return cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", raw), formats.CHUNK)), path.name, ""

    def _manifest(self, base: str) -> datasets.Manifest | None:
        """The manifest in a file, or None where the file is data itself."""
        raw, _ = self._files.open(base)
        with io.BufferedReader(cast("io.RawIOBase", raw)) as file:
            head = file.read(len(datasets.MAGIC))
            return datasets.parse(head + file.read(MAX_MANIFEST)) if head == datasets.MAGIC else None

    def _dataset(
        self, uri: str, base: str, manifest: datasets.Manifest, cut: tuple[int, int | None], depth: int
    ) -> Stream:
        if depth >= MAX_NESTING:
            raise MalformedStream("datasets refer to each other too deeply")
        start, stop = cut
        end = manifest.records if stop is None else min(stop, manifest.records)
        folder = base.rpartition("/")[0]

        def read(skip: int) -> Iterator[Any]:
            for part, first, count in datasets.window(manifest.parts, start + skip, end):
                if part.uri is not None:
                    yield from islice(self.open(part.uri, _depth=depth + 1).read(first), count)
                else:
                    yield from islice(self._part(f"{folder}/{part.path}", part, first), count)

        return Stream(uri, max(0, end - start), read)

    def _part(self, uri: str, part: datasets.Part, skip: int) -> Iterator[Any]:
        file, _, _ = self.binary(uri)
        with file:
            if part.bytes is not None and os.fstat(file.fileno()).st_size < part.bytes:
                raise SourceError(f"a part is shorter than its dataset says: {part.path}")
            yield from formats.ndjson(file, skip, part.bytes)

    def _records(self, uri: str, skip: int, format: str | None) -> Iterator[Any]:
        try:
            file, name, content_type = self.binary(uri)
            with file:
                plain, name = _decompressed(file, name)
                chosen = format or _format_of(name, content_type, plain)
                if chosen not in _FORMATS:
                    raise MalformedStream(f"unknown format {chosen!r}: use ndjson, json or csv")
                yield from _FORMATS[chosen](plain, skip)
        except (OSError, EOFError, zlib.error) as error:
            raise SourceError(f"reading broke off: {type(error).__name__}") from error


def _left(start: int, stop: int, skip: int) -> int:
    return max(0, stop - start - skip)


def _is_http(uri: str) -> bool:
    scheme = uri.partition(":")[0].lower()
    if scheme not in ("http", "https", "file"):
        raise MalformedStream("a URI begins with file:, http:// or https://")
    return scheme != "file"


def _decompressed(file: BinaryIO, name: str) -> tuple[BinaryIO, str]:
    """The file, unpacked if its content is gzip, and its name without .gz."""
    if cast("io.BufferedReader", file).peek(2)[:2] != b"\x1f\x8b":
        return file, name
    import gzip

    plain = io.BufferedReader(cast("io.RawIOBase", gzip.GzipFile(fileobj=file)), formats.CHUNK)
    return cast("BinaryIO", plain), name.removesuffix(".gz")


def _format_of(name: str, content_type: str, file: BinaryIO) -> str:
    """The format by extension, else by content type, else by the first character."""
    known = _BY_EXTENSION.get(name.rpartition(".")[2].lower()) or _BY_TYPE.get(content_type)
    if known:
        return known
    head = cast("io.BufferedReader", file).peek(1024).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return {b"[": "json", b"{": "ndjson"}.get(head, "csv")


class _Body(io.RawIOBase):
    """The body of a response as a raw file; a broken connection is an OSError."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        import urllib3

        try:
            data = self._response.read(len(buffer))
        except urllib3.exceptions.HTTPError as error:
            raise OSError("the connection broke") from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._response.close()
        super().close()
