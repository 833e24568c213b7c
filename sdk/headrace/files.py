"""Files that may be read: only those below the data roots."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote, urlsplit

from headrace.errors import Blocked, SourceError, SourceMissing

_NEVER = ("/proc", "/sys", "/dev")
"""Not data, whatever the roots say: they hold environments, memory and devices."""


def path_of(uri: str) -> str:
    """The path in a `file:` URI, or of a bare path; still to be checked. Raises Blocked for another host or
    NUL."""
    if uri.startswith("file:"):
        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost"):
            raise Blocked(f"a file URI of another host: {parts.netloc}")
        if parts.query:
            raise Blocked("a file URI has no query; write ? in a file name as %3F")
        path = unquote(parts.path)
    else:
        path = uri
    if not path or "\0" in path:
        raise Blocked("not a usable file path")
    return path


def uri_of(path: Path) -> str:
    """The `file:` URI of an absolute path."""
    return "file://" + quote(str(path))


class FileGuard:
    """Opens files below the roots only, symlinks resolved."""

    def __init__(self, roots: Sequence[str]) -> None:
        """`roots`: directories as paths or `file:` URIs, the first one is searched first."""
        self.roots = [os.path.realpath(path_of(root)) for root in roots]

    def open(self, uri: str) -> tuple[BinaryIO, Path]:
        """Open a regular file for reading. Raises Blocked outside the roots, SourceMissing where there is
        none."""
        path = path_of(uri)
        real = self._locate(path)
        try:
            descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise SourceMissing(f"no such file: {uri}") from None
        except OSError as error:
            raise SourceError(f"cannot open {uri}: {error.strerror}") from error
        try:
            self._verify(descriptor, uri)
            return os.fdopen(descriptor, "rb", buffering=0), Path(real)
        except BaseException:
            os.close(descriptor)
            raise

    def _locate(self, path: str) -> str:
        """The real path of the first candidate that exists, below a root."""
        candidates = [path] if os.path.isabs(path) else [os.path.join(root, path) for root in self.roots]
        inside = [real for real in map(os.path.realpath, candidates) if self._allowed(real)]
        if not inside:
            raise Blocked("the file lies outside the data roots")
        return next((real for real in inside if os.path.exists(real)), inside[0])

    def _allowed(self, real: str) -> bool:
        if any(real == never or real.startswith(never + "/") for never in _NEVER):
            return False
        return any(real == root or real.startswith(root.rstrip("/") + "/") for root in self.roots)

    def _verify(self, descriptor: int, uri: str) -> None:
        """Check what was really opened: a directory on the way may have been swapped for a symlink
        meanwhile."""
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Blocked(f"not a regular file: {uri}")
        opened = f"/proc/self/fd/{descriptor}"
        if os.path.exists(opened) and not self._allowed(os.readlink(opened).removesuffix(" (deleted)")):
            raise Blocked("the file lies outside the data roots")
