"""Part files: what execute returns, appended, durable at every position, found again after any crash."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from headrace.datasets import Part
from headrace.durable import Directories, locked
from headrace.errors import SourceError, StaleEpoch
from headrace.position import Position, Segment

FLUSH_BYTES = 1024 * 1024
"""Lines are written to the file in pieces of this size."""
INDEX = "index.ndjson"
_NAME = re.compile(r"(\d+)-(\d+)(?:\.\d+)?")


def part_name(number: int) -> str:
    """The file name of a part within its directory."""
    return f"{number:06d}.ndjson"


class PartStore:
    """The directory `parts` of one node run: one directory per process that wrote."""

    def __init__(self, prefix: Path, attempt: int, epoch: int, directories: Directories) -> None:
        self.prefix = prefix
        self.root = prefix / "parts"
        self.order = (attempt, epoch)
        self.directories = directories

    def claim(self, keep: tuple[Segment, ...]) -> Path:
        """Make this process's own directory, and discard what older processes wrote but never committed.

        Raises StaleEpoch where a newer process has claimed before.
        """
        self.directories.make(self.root)
        with locked(self.prefix):
            self.check()
            kept = {segment.directory for segment in keep}
            left = [name for name, order in self._claims() if order < self.order and name not in kept]
            if left:
                self._discard(left)
            directory = self._fresh()
            self.directories.make(directory)
        return directory

    def _discard(self, names: list[str]) -> None:
        from shutil import rmtree

        for name in names:
            rmtree(self.root / name, ignore_errors=True)

    def check(self) -> None:
        """Raise StaleEpoch where a newer process of this node run writes; call it under the lock."""
        if any(order > self.order for _, order in self._claims()):
            raise StaleEpoch("a newer process of this node run writes here")

    def _claims(self) -> list[tuple[str, tuple[int, int]]]:
        try:
            names = os.listdir(self.root)
        except FileNotFoundError:
            return []
        matches = [(name, _NAME.fullmatch(name)) for name in names]
        return [(name, (int(match[1]), int(match[2]))) for name, match in matches if match]

    def _fresh(self) -> Path:
        """A name never used: an engine restored from a backup may hand out an epoch twice."""
        base = f"{self.order[0]}-{self.order[1]}"
        directory, turn = self.root / base, 1
        while directory.exists():
            turn += 1
            directory = self.root / f"{base}.{turn}"
        return directory

    def parts(self, segments: tuple[Segment, ...]) -> list[Part]:
        """The parts of a position, in order, paths relative to the prefix. Raises SourceError where one is
        lost."""
        found: list[Part] = []
        for segment in segments:
            folder = f"parts/{segment.directory}"
            for number, entry in enumerate(self._index(segment)):
                found.append(Part(entry["records"], f"{folder}/{part_name(number)}", entry["bytes"]))
            if segment.bytes:
                found.append(Part(segment.records, f"{folder}/{part_name(segment.closed)}", segment.bytes))
        return found

    def _index(self, segment: Segment) -> list[dict[str, Any]]:
        if not segment.closed:
            return []
        try:
            lines = (self.root / segment.directory / INDEX).read_bytes().splitlines()[: segment.closed]
            entries = [orjson.loads(line) for line in lines]
        except (OSError, ValueError) as error:
            raise SourceError(f"the index of {segment.directory} cannot be read") from error
        if len(entries) < segment.closed:
            raise SourceError(f"the index of {segment.directory} is shorter than its position says")
        return entries

    def digest(self, segments: tuple[Segment, ...]) -> Any:
        """A SHA-256 fed with the committed stream so far. Raises SourceError where a part is lost or cut."""
        digest = hashlib.sha256()
        for part in self.parts(segments):
            left = part.bytes or 0
            try:
                with open(self.prefix / str(part.path), "rb", buffering=0) as file:
                    while left and (chunk := file.read(min(left, FLUSH_BYTES))):
                        digest.update(chunk)
                        left -= len(chunk)
            except OSError as error:
                raise SourceError(f"a committed part cannot be read: {part.path}") from error
            if left:
                raise SourceError(f"a committed part is shorter than its position says: {part.path}")
        return digest


class PartWriter:
    """Appends lines to the parts of this process. The directory is made with the first line."""

    def __init__(self, store: PartStore, start: Position, part_bytes: int) -> None:
        self._store = store
        self._earlier = start.segments
        self._part_bytes = part_bytes
        self._digest = store.digest(start.segments)
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._directory: Path | None = None
        self._file: int | None = None
        self._index: int | None = None
        self._unsynced_names = False
        self._broken = False
        self._closed = 0
        self._records = 0
        self._bytes = 0
        self.emitted = start.emitted
        self.bytes = start.bytes

    def append(self, line: bytes) -> None:
        """Add one record: a JSON text that ends with a line feed."""
        self._buffer.append(line)
        self._buffered += len(line)
        if self._buffered >= FLUSH_BYTES:
            self._flush()

    @property
    def appended(self) -> int:
        """Records up to now, those of earlier processes and what is not written yet included."""
        return self.emitted + len(self._buffer)

    def commit(self) -> tuple[Segment, ...]:
        """Make everything appended so far durable, names included. Returns the segments that a position
        names."""
        self._flush()
        with self._whole():
            if self._file is not None:
                os.fsync(self._file)
            if self._unsynced_names and self._directory is not None:
                if self._index is not None:
                    os.fsync(self._index)
                self._store.directories.settle(self._directory)
                self._unsynced_names = False
        if self._directory is None:
            return self._earlier
        own = Segment(self._directory.name, self._closed, self._records, self._bytes)
        return (*self._earlier, own)

    def sha256(self) -> str:
        """Of the logical stream up to the last flush, in hex."""
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the files; what was not committed is forgotten."""
        for descriptor in (self._file, self._index):
            if descriptor is not None:
                os.close(descriptor)
        self._file = self._index = None

    def _flush(self) -> None:
        if not self._buffer:
            return
        content = b"".join(self._buffer)
        with self._whole():
            if self._file is None:
                self._file = self._create(part_name(self._closed))
            view = memoryview(content)
            while view:
                view = view[os.write(self._file, view) :]
            self._digest.update(content)
            self._records += len(self._buffer)
            self._bytes += len(content)
            self.emitted += len(self._buffer)
            self.bytes += len(content)
            self._buffer.clear()
            self._buffered = 0
            if self._bytes >= self._part_bytes:
                self._rotate(self._file)

    @contextmanager
    def _whole(self) -> Generator[None]:
        """A write or a sync that must succeed whole: after one that failed nothing more may be committed, for a
        piece of it may lie in the file, and a second sync may wrongly succeed."""
        if self._broken:
            raise OSError("an earlier write of this process failed")
        self._broken = True
        yield
        self._broken = False

    def _rotate(self, file: int) -> None:
        """Close the part and enter it into the index; both are durable before a position counts it."""
        os.fsync(file)
        os.close(file)
        self._file = None
        if self._index is None:
            self._index = self._create(INDEX)
        os.write(self._index, orjson.dumps({"records": self._records, "bytes": self._bytes}) + b"\n")
        self._unsynced_names = True
        self._closed += 1
        self._records = self._bytes = 0

    def _create(self, name: str) -> int:
        if self._directory is None:
            self._directory = self._store.claim(self._earlier)
        self._unsynced_names = True
        return os.open(
            self._directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644
        )
