"""Results: what execute has written, as `output` gets it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headrace import datasets
from headrace.durable import locked
from headrace.files import uri_of
from headrace.parts import PartStore
from headrace.position import Position
from headrace.streams import Opener

MANIFEST = "manifest.json"


class Results:
    """What execute has written: the same whether or not the node crashed on the way."""

    def __init__(
        self, store: PartStore, position: Position, opener: Opener, digest: str | None = None
    ) -> None:
        self._store = store
        self._position = position
        self._opener = opener
        self._digest = digest
        self._uri: str | None = None

    @property
    def count(self) -> int:
        """Records written."""
        return self._position.emitted

    @property
    def failed(self) -> int:
        """Records that failed."""
        return self._position.failed

    @property
    def total(self) -> int:
        """Records taken from the stream, failed ones included."""
        return self._position.consumed

    @property
    def bytes(self) -> int:
        """Length of the written stream (NDJSON)."""
        return self._position.bytes

    @property
    def state(self) -> Any:
        """What the node kept in `ctx.state` (a dict) when execute ended."""
        return self._position.state or {}

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the written stream; read anew from the parts only where execute ran in another
        process."""
        if self._digest is None:
            self._digest = self._store.digest(self._position.segments).hexdigest()
        return str(self._digest)

    @property
    def uri(self) -> str:
        """The dataset of all written records, published at first use at a name that no attempt is part of."""
        if self._uri is None:
            path = self._store.prefix / MANIFEST
            parts = self._store.parts(self._position.segments)
            manifest = datasets.Manifest(self.count, self.bytes, self.digest, parts)
            self._store.directories.make(self._store.prefix)
            with locked(self._store.prefix):
                self._store.check()
                datasets.write(self._store.directories, path, manifest)
            self._uri = uri_of(path)
        return self._uri

    def __iter__(self) -> Iterator[Any]:
        """The written records, in order."""
        return iter(self._opener.open(self.uri))

    def __len__(self) -> int:
        return self.count
