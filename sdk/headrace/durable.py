"""Files and directories that survive a power loss."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class Directories:
    """The directories below a data root: made as needed, their names made durable together.

    Names are synced after the file in them, not as they are made: on a journalling file system the first sync
    then
    carries them all, and the others have nothing left to do.
    """

    def __init__(self, top: Path) -> None:
        """`top`: the data root; its own name is the operator's."""
        self._top = top
        self._settled: set[Path] = set()

    def make(self, path: Path) -> None:
        """Like mkdir -p; not yet durable."""
        missing: list[Path] = []
        while not path.is_dir():
            missing.append(path)
            path = path.parent
        for directory in reversed(missing):
            directory.mkdir(exist_ok=True)
            self._settled.discard(directory.parent)

    def settle(self, path: Path) -> None:
        """Make the names in a directory durable, and its own up to the data root."""
        _sync(path)
        self._settled.add(path)
        while path != self._top and self._top in path.parents:
            path = path.parent
            if path not in self._settled:
                _sync(path)
                self._settled.add(path)

    def write(self, path: Path, content: bytes | IO[bytes]) -> int:
        """Write a file so that readers and crashes see either the old or the new one, whole.

        Returns its size in bytes.
        """
        self.make(path.parent)
        temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
        size = 0
        try:
            with open(temporary, "xb", buffering=0) as file:
                for chunk in (content,) if isinstance(content, bytes) else _chunks(content):
                    view = memoryview(chunk)
                    size += len(view)
                    while view:
                        view = view[file.write(view) :]
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self.settle(path.parent)
        return size


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _chunks(file: IO[bytes], size: int = 1024 * 1024) -> Iterator[bytes]:
    while chunk := file.read(size):
        yield chunk


@contextmanager
def locked(directory: Path) -> Generator[None]:
    """Hold the directory's lock against the other processes of the same node run."""
    import fcntl

    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
