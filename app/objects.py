"""Objects below a URI: files of this machine (or of a volume all share), or a bucket; the same calls for both.

file:PATH or file:///PATH       s3://BUCKET/PREFIX (credentials and endpoint from the usual AWS_ variables)
"""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator
from functools import cached_property
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from app.errors import NotFound, Unavailable, UsageError

CHUNK = 1 << 20
TIMEOUT = 60.0
"""Seconds that one call may take."""


class Objects:
    """Opened once and shared. Raises UsageError for a URI of no known kind."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.directory = directory_of(uri)

    @cached_property
    def _store(self) -> ObjectStore:
        return from_url(self.uri) if self.directory is None else LocalStore(self.directory, mkdir=True)

    def where(self, path: str) -> str:
        """The URI of one object."""
        return f"{self.uri.rstrip('/')}/{path}"

    async def put(self, path: str, file: IO[bytes]) -> None:
        """Write one object whole; it is there when this returns. Raises Unavailable."""
        try:
            async with asyncio.timeout(TIMEOUT * 10):
                await obstore.put_async(self._store, path, file)
        except (BaseError, OSError, TimeoutError) as error:
            raise Unavailable(f"{self.uri} does not take an object") from error

    async def write(self, path: str, content: bytes) -> None:
        """Write a small object whole. Raises Unavailable."""
        await self.put(path, io.BytesIO(content))

    async def size(self, path: str) -> int | None:
        """The bytes of an object; None where there is none. Raises Unavailable."""
        try:
            async with asyncio.timeout(TIMEOUT):
                return (await obstore.head_async(self._store, path))["size"]
        except FileNotFoundError:
            return None
        except (BaseError, OSError, TimeoutError) as error:
            raise Unavailable(f"{self.uri} does not answer") from error

    async def listed(self, prefix: str) -> list[tuple[str, int]]:
        """(path, size) of every object below a prefix, in no order. Raises Unavailable."""
        found: list[tuple[str, int]] = []
        try:
            async with asyncio.timeout(TIMEOUT):
                async for rows in obstore.list(self._store, prefix + "/", chunk_size=1000):
                    found += [(row["path"], row["size"]) for row in rows]
        except (BaseError, OSError, TimeoutError) as error:
            raise Unavailable(f"{self.uri} does not list objects") from error
        return found

    async def remove(self, path: str) -> None:
        """Remove an object; one that is not there is removed. Raises Unavailable."""
        try:
            async with asyncio.timeout(TIMEOUT):
                await obstore.delete_async(self._store, path)
        except FileNotFoundError:
            return
        except (BaseError, OSError, TimeoutError) as error:
            raise Unavailable(f"{self.uri} does not remove objects") from error

    async def read(self, path: str) -> AsyncIterator[bytes]:
        """The object in chunks. Raises NotFound, Unavailable."""
        try:
            async with asyncio.timeout(TIMEOUT):
                reply = await obstore.get_async(self._store, path)
            async for chunk in reply.stream(min_chunk_size=CHUNK):
                yield bytes(chunk)
        except FileNotFoundError:
            raise NotFound(f"There is no object {path}.") from None
        except (BaseError, OSError, TimeoutError) as error:
            raise Unavailable(f"{self.uri} does not give an object") from error

    async def clear(self, prefix: str, most: int = 10_000) -> bool:
        """Remove at most so many objects below a prefix. True when nothing is left there. Raises Unavailable."""
        try:
            if self.directory is not None:
                return await asyncio.to_thread(remove_tree, self.directory / prefix, most)
            removed = 0
            async for rows in obstore.list(self._store, prefix + "/", chunk_size=1000):
                async with asyncio.timeout(TIMEOUT):
                    await obstore.delete_async(self._store, [row["path"] for row in rows])
                removed += len(rows)
                if removed >= most:
                    return False
        except (BaseError, OSError, TimeoutError) as error:
            raise Unavailable(f"{self.uri} does not remove objects") from error
        return True


def directory_of(uri: str) -> Path | None:
    """The directory that a file: URI (or a bare path) names; None for another store. Raises UsageError."""
    parts = urlsplit(uri)
    match parts.scheme:
        case "file" if parts.netloc in ("", "localhost"):
            return Path(os.path.abspath(unquote(parts.path)))
        case "":
            return Path(os.path.abspath(uri))
        case "s3":
            return None
        case _:
            raise UsageError(f"'{uri}' is no place for objects: file:PATH or s3://BUCKET/PREFIX is expected")


def remove_tree(root: Path, most: int) -> bool:
    """Remove at most so many entries of a directory; links are removed, never followed. True when it is gone."""
    left = most

    def clear(folder: str) -> bool:
        nonlocal left
        with os.scandir(folder) as entries:
            for entry in entries:
                if left <= 0:
                    return False
                if entry.is_dir(follow_symlinks=False):
                    if not clear(entry.path):
                        return False
                else:
                    Path(entry.path).unlink(missing_ok=True)
                left -= 1
        os.rmdir(folder)
        return True

    try:
        if root.is_symlink():
            root.unlink()
            return True
        return clear(str(root))
    except FileNotFoundError:
        return True
