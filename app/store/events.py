"""Transitions of runs, in order, for those who watch: read from any place on, nothing missed on reconnect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import redis.asyncio as aioredis

from app.core.states import RUN_TERMINAL
from app.errors import NotFound
from app.store.client import Batcher, translate
from app.store.keys import Keys

Event = tuple[str, dict[str, Any]]
BLOCK_MS = 250
"""How long one blocking read waits; a new watcher joins at the next one."""


class Events:
    """One blocking read serves all watchers of this process."""

    def __init__(self, batcher: Batcher, raw: aioredis.Redis, keys: Keys) -> None:
        self._batcher = batcher
        self._raw = raw
        self._keys = keys
        self._watchers: dict[str, dict[asyncio.Queue[None], None]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def read(self, run: str, after: str, count: int = 500) -> list[Event]:
        """Events after an id ("0" for all), oldest first."""
        rows = await self._batcher.call("XRANGE", self._keys.events(run), f"({after}", "+", "COUNT", count)
        return [(row[0].decode(), orjson.loads(_data(row[1]))) for row in rows]

    async def subscribe(self, run: str, after: str = "0") -> AsyncIterator[Event]:
        """Every event after an id, the ones to come too; ends with the run's terminal transition. Raises NotFound."""
        if not await self._batcher.call("EXISTS", self._keys.run(run)):
            raise NotFound(f"There is no run '{run}'.")
        bell: asyncio.Queue[None] = asyncio.Queue(1)
        self._watchers.setdefault(run, {})[bell] = None
        try:
            while True:
                page = await self.read(run, after)
                for after, event in page:
                    yield after, event
                    if event.get("type") == "run" and event["to"] in RUN_TERMINAL:
                        return
                if page:
                    continue
                if await self._ended(run):
                    return
                self._wake_reader()
                try:
                    await asyncio.wait_for(bell.get(), 5)
                except TimeoutError:
                    continue
        finally:
            watchers = self._watchers.get(run, {})
            watchers.pop(bell, None)
            if not watchers:
                self._watchers.pop(run, None)

    async def _ended(self, run: str) -> bool:
        status = await self._batcher.call("HGET", self._keys.run(run), "s")
        return status is None or status.decode() in RUN_TERMINAL

    def _wake_reader(self) -> None:
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """Ring the bell of each run that has new events, while anyone watches."""
        last: dict[str, str] = {}
        while self._watchers:
            runs = {self._keys.events(run): run for run in self._watchers}
            names = list(runs)
            places = [last.get(name, "$") for name in names]
            try:
                reply = await self._raw.execute_command("XREAD", "BLOCK", BLOCK_MS, "STREAMS", *names, *places)
            except Exception as error:
                await asyncio.sleep(1)
                if isinstance(translate(error), NotFound):
                    raise
                continue
            fresh = {name for name in names if name not in last}
            for name, rows in reply or []:
                key = name.decode()
                last[key] = rows[-1][0].decode()
                self._ring(runs[key])
            for name in fresh:  # what came before the first read at "$" must be looked for once
                last.setdefault(name, "$")
                self._ring(runs[name])
            last = {name: place for name, place in last.items() if name in runs}

    def _ring(self, run: str) -> None:
        for bell in self._watchers.get(run, {}):
            if bell.empty():
                bell.put_nowait(None)

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)


def _data(fields: Any) -> bytes:
    return fields[b"d"] if isinstance(fields, dict) else fields[1]
