"""The log of a container, copied into the file where the process executor would have it, while it is written.

The file holds what the container printed, byte for byte, so its length is the place to go on from: whoever copies after a
worker has died skips what is there. A lock on the file keeps two from copying at once; it ends with the process that has it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path

import structlog

from workers.executors.container.engine import HEADER, Engine, EngineError

log = structlog.get_logger("headrace.container")

AGAIN = 1.0
"""Seconds before a copy that broke off is taken up again."""


class Demultiplexer:
    """Takes the frames of a log apart: what was printed, in the order of the engine."""

    def __init__(self) -> None:
        self._rest = b""
        self._left = 0

    def feed(self, piece: bytes) -> bytes:
        """What was printed in this piece of the stream."""
        data, found = self._rest + piece, bytearray()
        while True:
            found += data[: self._left]
            data, self._left = data[self._left :], max(self._left - len(data), 0)
            if self._left or len(data) < HEADER:
                self._rest = data
                return bytes(found)
            self._left = int.from_bytes(data[4:HEADER], "big")
            data = data[HEADER:]


async def copy_log(engine: Engine, container: str, path: Path) -> None:
    """Copy until the container has ended and all is there. Whatever hinders it is tried again."""
    while True:
        try:
            if await _copy(engine, container, path):
                return
        except EngineError as error:
            if error.http_status == 404:
                return
            log.warning("a log is not copied now", container=container, reason=error.message)
        except OSError as error:
            log.warning("a log cannot be written", path=str(path), reason=str(error))
        await asyncio.sleep(AGAIN)


async def _copy(engine: Engine, container: str, path: Path) -> bool:
    """One pass, from where the file ends. False where another one copies. Raises EngineError, OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        skip, frames = os.fstat(handle).st_size, Demultiplexer()
        params = {"follow": "true", "stdout": "true", "stderr": "true"}
        async with engine.stream("GET", f"/containers/{container}/logs", params, silence=None) as told:
            while piece := await told.readany():
                printed = frames.feed(piece)
                fresh = printed[skip:]
                skip = max(skip - len(printed), 0)
                while fresh:
                    fresh = fresh[os.write(handle, fresh) :]
        return True
    finally:
        os.close(handle)
