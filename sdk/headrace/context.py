"""Context: what a node is given in every step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from headrace import datasets
from headrace.control import Control
from headrace.durable import Directories
from headrace.errors import Fatal, MalformedStream
from headrace.files import uri_of
from headrace.inputs import Inputs
from headrace.streams import Opener, Stream

if TYPE_CHECKING:
    from logging import Logger

_SIDE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,199}){0,4}")
READ_LIMIT = 64 * 1024 * 1024


@dataclass(slots=True, frozen=True)
class Identity:
    """Which node run this is."""

    run_id: str
    node: str
    attempt: int
    epoch: int
    index: int | None


@dataclass(slots=True, frozen=True)
class Published:
    """A dataset that was written beside the results."""

    uri: str
    count: int
    digest: str | None
    """SHA-256 (hex) of its stream; None for a joined dataset."""


class Context:
    """Configuration and incoming metadata, and the doors to data."""

    def __init__(
        self,
        identity: Identity,
        *,
        config: Any,
        inputs: Inputs,
        item: Any,
        tolerate: float,
        prefix: Path,
        directories: Directories,
        opener: Opener,
        control: Control,
    ) -> None:
        self.run_id = identity.run_id
        self.node = identity.node
        self.attempt = identity.attempt
        self.epoch = identity.epoch
        self.index = identity.index
        """The item's index in a map; None elsewhere."""
        self.item = item
        """The item of a map; None elsewhere."""
        self.config = config
        """The validated `Config` instance (the plain dict where the node declares none)."""
        self.inputs = inputs
        """Metadata by upstream node."""
        self.tolerate = tolerate
        """The share of records that may fail."""
        self.data_dir = prefix
        """Directory of this node run, the same for all its attempts."""
        self.state: dict[str, Any] = {}
        """A small JSON object of the node's own, kept with every position: counters, a cursor. At most 16
        KiB."""
        self.shown: dict[str, int] | None = None
        """Progress set by `progress`, in place of the runner's own."""
        self._directories = directories
        self._opener = opener
        self._control = control
        self._log: Logger | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the run is being cancelled: a long `execute` may look at it and return."""
        return self._control.cancelled or self._control.stopping

    @property
    def prefix(self) -> str:
        """The `file:` URI of `data_dir`."""
        return uri_of(self.data_dir)

    @property
    def log(self) -> Logger:
        """A standard logger that writes to stderr."""
        if self._log is None:
            import logging

            if not logging.getLogger().handlers:
                logging.basicConfig(
                    level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
                )
            self._log = logging.getLogger(f"headrace.node.{self.node}")
        return self._log

    def open(self, uri: str, *, format: str | None = None) -> Stream:
        """A stream over `file:`, `http:` or `https:`: NDJSON, JSON, CSV (all also gzip), or a dataset of
        another node.

        `URI#records=START-END` are the records from START up to END. Raises SourceError and its kinds.
        """
        return self._opener.open(uri, format=format)

    def open_binary(self, uri: str) -> BinaryIO:
        """The bytes behind a URI as a file to read; close it after use."""
        return self._opener.binary(uri)[0]

    def read(self, uri: str, *, limit: int = READ_LIMIT) -> bytes:
        """All bytes behind a URI. Raises MalformedStream above `limit` bytes."""
        with self.open_binary(uri) as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise MalformedStream(f"longer than {limit} bytes")
        return content

    def items(self, upstream: str) -> Iterator[Any]:
        """The metadata of the items of an upstream map, in order; None for an item that failed. However many
        there are, they are read page by page."""
        return self.inputs.items_of(upstream)

    def split(self, uri: str, size: int, total: int | None = None) -> list[str]:
        """Cut a dataset, without copying, into URIs of `size` records; counts the records where nobody knows
        them."""
        if size < 1:
            raise Fatal("size must be at least 1")
        if total is None:
            total = self._count(uri)
        return datasets.cuts(uri, total, size)

    def join(self, name: str, uris: Iterable[str]) -> Published:
        """Publish one dataset that is all of `uris` one after another, without copying."""
        parts = [datasets.Part(self._count(uri), uri=uri) for uri in uris]
        count = sum(part.records for part in parts)
        path = self._side_path(name)
        datasets.write(self._directories, path, datasets.Manifest(count, None, None, parts))
        return Published(uri_of(path), count, None)

    def publish(self, name: str, records: Iterable[Any]) -> Published:
        """Write records as a dataset of its own beside the results; durable when it returns."""
        from headrace.side import write_dataset

        path = self._side_path(name)
        count, digest = write_dataset(self._directories, path, records)
        return Published(uri_of(path), count, digest)

    def write_file(self, name: str, content: bytes | IO[bytes]) -> str:
        """Write one file beside the results; durable, and whole or not at all. Returns its URI, the same
        every attempt."""
        path = self._side_path(name)
        self._directories.write(path, content)
        return uri_of(path)

    def progress(self, done: int, total: int | None = None) -> None:
        """Show another progress than the count of records."""
        self.shown = {"done": done} if total is None else {"done": done, "total": total}

    def _count(self, uri: str) -> int:
        stream = self.open(uri)
        return stream.total if stream.total is not None else sum(1 for _ in stream.read())

    def _side_path(self, name: str) -> Path:
        if not _SIDE_NAME.fullmatch(name):
            raise Fatal(f"not a usable file name: {name!r} (letters, digits, . _ - and at most 4 slashes)")
        return self.data_dir / "files" / name
