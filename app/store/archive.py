"""The archive of histories: one compressed file for each run that was removed, readable by anything that reads JSON lines.

runs/YYYY/MM/DD/RUN.ndjson.gz, the day being that of the run's id. Each line is an object of one kind:
  run {format, run}             as GET /runs/{run} answered; the first line
  node {node, attempts}         as GET .../nodes/{node} and .../attempts; an item of a map has `item` in its node
  record {node, item?, record}  a failed record
  event {id, event}             as GET .../events
  end {lines}                   the last line: how many came before it
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from hashlib import sha256
from tempfile import SpooledTemporaryFile
from typing import Any

import orjson

from app.errors import EngineFault, NotFound, Unavailable
from app.objects import Objects
from app.store.ids import made_at

FORMAT = 1
IN_MEMORY = 8 << 20
"""Bytes of a compressed history up to which no temporary file is needed."""
MANY = 256
"""Lines that are compressed at a time, off the event loop."""

Line = dict[str, Any]


class ArchiveFiles:
    """Writes and reads whole histories; knows nothing of what is in their lines but the kinds."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def where(self, run: str) -> str:
        """The URI of a run's history."""
        return self._objects.where(path_of(run))

    async def write(self, run: str, lines: AsyncIterator[Line]) -> str:
        """Write a history and read it back; its URI once both are equal. Raises Unavailable."""
        with SpooledTemporaryFile[bytes](max_size=IN_MEMORY) as file:
            packer, digest, count = zlib.compressobj(9, zlib.DEFLATED, 31), sha256(), 0
            batch: list[bytes] = []

            def flush() -> None:
                text = packer.compress(b"".join(batch))
                digest.update(text)
                file.write(text)
                batch.clear()

            async for line in lines:
                batch.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
                count += 1
                if len(batch) >= MANY:
                    await asyncio.to_thread(flush)
            batch.append(orjson.dumps({"kind": "end", "lines": count}, option=orjson.OPT_APPEND_NEWLINE))
            await asyncio.to_thread(flush)
            tail = packer.flush()
            digest.update(tail)
            file.write(tail)
            file.seek(0)
            await self._objects.put(path_of(run), file)  # pyright: ignore[reportArgumentType]
        if await self._digest(run) != digest.digest():
            raise Unavailable(f"what was archived is not what is read back: {self.where(run)}")
        return self.where(run)

    async def _digest(self, run: str) -> bytes:
        digest = sha256()
        async for chunk in self._objects.read(path_of(run)):
            digest.update(chunk)
        return digest.digest()

    async def lines(self, run: str, kinds: frozenset[str]) -> AsyncIterator[Line]:
        """The lines of these kinds, in order. Raises NotFound, Unavailable; EngineFault for a damaged file."""
        unpacker, rest = zlib.decompressobj(31), b""
        marks = tuple(b'{"kind":"%b"' % kind.encode() for kind in kinds)
        try:
            async for chunk in self._objects.read(path_of(run)):
                *whole, rest = (rest + unpacker.decompress(chunk)).split(b"\n")
                for raw in whole:
                    if raw.startswith(marks):
                        yield orjson.loads(raw)
        except zlib.error as error:
            raise EngineFault(f"the archived history of run {run} is damaged") from error


def path_of(run: str) -> str:
    """The place of a run's history, known from its id alone. Raises NotFound for what is no id."""
    try:
        day = datetime.fromtimestamp(made_at(run) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        raise NotFound(f"There is no run '{run}'.") from None
    return f"runs/{day:%Y/%m/%d}/{run}.ndjson.gz"
