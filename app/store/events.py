"""Transitions of runs, in order, for those who watch: read from any place on, nothing missed on reconnect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import redis.asyncio as aioredis

from app.core.round import iso
from app.core.states import RUN_TERMINAL, RunStatus
from app.errors import NotFound, Unavailable
from app.store.archived import Archived
from app.store.client import Batcher, heard, translate
from app.store.history import History, order
from app.store.ids import receipt_of
from app.store.keys import Keys

Event = tuple[str, dict[str, Any]]
BLOCK_MS = 1000
"""How long one blocking read waits; a new watcher ends it at once."""


class _Watcher:
    """One subscription: where it has read to, and the bell that says there is more."""

    def __init__(self, run: str, after: str) -> None:
        self.run = run
        self.after = after
        self.bell = asyncio.Event()


class Events:
    """One blocking read serves all watchers of this process."""

    def __init__(
        self,
        batcher: Batcher,
        raw: aioredis.Redis,
        keys: Keys,
        history: History,
        archived: Archived | None = None,
    ) -> None:
        self._batcher = batcher
        self._raw = raw
        self._keys = keys
        self._history = history
        self._archived = archived
        self._watchers: set[_Watcher] = set()
        self._reader: asyncio.Task[None] | None = None
        self._link: int | None = None
        """The server's id of the connection that reads."""

    async def read(self, run: str, after: str, count: int = 500) -> list[Event]:
        """Events after an id ("0" for all), oldest first: of `count` entries, each of which holds one or several.

        The last event of an entry has the entry's id, an earlier one that id, a dot, and its number in the entry.
        """
        entry, dot, told = after.partition(".")
        rows = await self._history.entries(run, entry, count, inclusive=bool(dot))
        if not rows and self._archived is not None and await self._status(run) is None:
            return await self._read_archived(self._archived, run, after, count)
        found: list[Event] = []
        for name, raw in rows:
            value = orjson.loads(raw)
            events = value if isinstance(value, list) else [value]
            skipped = int(told) if dot and name == entry else 0
            for number, event in enumerate(events[skipped:], skipped + 1):
                if event.get("at") is None:  # a script wrote it, whose clock is the id of the entry
                    event["at"] = iso(int(name.partition("-")[0]))
                found.append((name if number == len(events) else f"{name}.{number}", event))
        return found

    @staticmethod
    async def _read_archived(archived: Archived, run: str, after: str, count: int) -> list[Event]:
        rows: list[Event] = []
        async for row in archived.events(run, after):
            rows.append(row)
            if len(rows) == count:
                break
        return rows

    async def subscribe(self, run: str, after: str = "0") -> AsyncIterator[Event]:
        """Every event after an id, the ones to come too; ends with the run's terminal transition. Raises NotFound."""
        if await self._status(run) is None:
            if self._archived is None:
                raise NotFound(f"There is no run '{run}'.")
            async for row in self._archived.events(run, after):
                yield row
            return
        watcher = _Watcher(run, after)
        self._watchers.add(watcher)
        try:
            while True:
                watcher.bell.clear()
                ended = await self._ended(run)
                page = await self.read(run, watcher.after)
                for watcher.after, event in page:
                    yield watcher.after, event
                    if event.get("type") == "run" and event["to"] in RUN_TERMINAL:
                        return
                if page:
                    continue
                if ended:
                    return
                self._wake_reader()
                await watcher.bell.wait()
        finally:
            self._watchers.discard(watcher)

    async def _status(self, run: str) -> str | None:
        """The run's status; queued too while its trigger still is; None where there is no such run."""
        (status,) = await self._history.run(run, ["s"])
        if status is None:
            receipt = await self._batcher.call("HGET", self._keys.receipt(receipt_of(run)), "s")
            if receipt == b"queued":
                return RunStatus.QUEUED
            if receipt == b"started":  # between our two questions, or long ago and gone since
                (status,) = await self._history.run(run, ["s"])
        return None if status is None else status.decode()

    async def _ended(self, run: str) -> bool:
        """Nothing more will come than what can be read now."""
        status = await self._status(run)
        return status is None or status in RUN_TERMINAL

    def _wake_reader(self) -> None:
        """See to it that the blocking read knows of a new watcher."""
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._watch())
        elif self._link is not None:
            self._batcher.call("CLIENT", "UNBLOCK", self._link).add_done_callback(heard)

    async def _watch(self) -> None:
        """Ring the bells while anyone watches; watchers stay subscribed when the store is away, and go on after."""
        while self._watchers:
            try:
                async with self._raw.client() as link:
                    self._link = await link.execute_command("CLIENT", "ID")
                    await self._ring(link)
            except Exception as error:
                if not isinstance(translate(error), Unavailable):
                    raise
                await asyncio.sleep(1)
            finally:
                self._link = None

    async def _ring(self, link: aioredis.Redis) -> None:
        """One blocking read after another over all watched runs."""
        while self._watchers:
            silent = [watcher for watcher in self._watchers if not watcher.bell.is_set()]
            places: dict[str, str] = {}
            for watcher in silent:
                key = self._keys.events(watcher.run)
                place = watcher.after.partition(".")[0]
                places[key] = min(places.get(key, place), place, key=order)
            if not places:  # everyone has been rung and has yet to read
                await asyncio.sleep(0.005)
                continue
            command = ("XREAD", "BLOCK", BLOCK_MS, "STREAMS", *places, *places.values())
            fresh = {row[0].decode() for row in await link.execute_command(*command) or []}
            for watcher in silent:
                if self._keys.events(watcher.run) in fresh:
                    watcher.bell.set()

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
