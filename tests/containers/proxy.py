"""A socket before the engine's, which can stop to pass anything on, as an engine does that hangs."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit


class EngineProxy:
    def __init__(self, engine: str, path: Path) -> None:
        self._engine = urlsplit(engine)
        self._path = path
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._pumps: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"unix://{self._path}"

    def freeze(self) -> None:
        """Connections stay and are accepted; nothing goes through them."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._connected, self._path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._engine.scheme == "unix":
            upstream = await asyncio.open_unix_connection(self._engine.path)
        else:
            upstream = await asyncio.open_connection(self._engine.hostname, self._engine.port)
        for source, sink in ((reader, upstream[1]), (upstream[0], writer)):
            pump = asyncio.create_task(self._pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                while piece := await source.read(1 << 16):
                    await self._flowing.wait()
                    sink.write(piece)
                    await sink.drain()
        finally:
            sink.close()
