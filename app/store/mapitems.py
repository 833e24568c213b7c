"""The items of maps in the store: those a map is about to start, the ledger of all, and their metadata page by page."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import orjson

from app.core.mapdata import CHUNK, FEED, by_reference
from app.core.states import NodeStatus
from app.errors import NotFound
from app.store.client import Batcher, heard
from app.store.history import History
from app.store.keys import Keys
from app.store.packed import unpack

PAGE_BYTES = 1 << 20
"""Bytes after which a page of metadata ends, whatever its limit."""
SCANNED = 5
"""How many times its limit a page of the ledger looks through, where no index serves its filter."""
INDEXED = frozenset({NodeStatus.FAILED, NodeStatus.CANCELLED, NodeStatus.BLOCKED})
"""Statuses found by the index of items that ended without success."""


class Feed:
    """Items on their way to a decision."""

    def __init__(self, batcher: Batcher, keys: Keys, run: str, node: str, source: str, start: int) -> None:
        """`source` as app.core.mapdata says: "k", or "m:RUN|NODE"."""
        if source == "k":
            first = start // CHUNK
            numbers = range(first, (start + FEED) // CHUNK + 1)
            self.first = first * CHUNK
            self._chunks = batcher.call("HMGET", keys.map_items(run, node), *numbers, subject=run)
            self._items: list[asyncio.Future[Any]] = []
            self._chunks.add_done_callback(heard)
        else:
            other, _, name = source.removeprefix("m:").partition("|")
            self.first, self._chunks = start, None
            window = range(start, start + FEED)
            self._packed = partial(batcher.call, "GET", keys.packed(other), subject=run)
            self._refs = [f"{name}:{i}" for i in window]
            self._items = [
                batcher.call("HMGET", keys.node(other, f"{name}:{i}"), "s", "m", subject=run) for i in window
            ]
            for item in self._items:
                item.add_done_callback(heard)

    async def read(self) -> tuple[int, list[Any]]:
        """(number of the first, the items); None for an item of another map that has no metadata."""
        if self._chunks is not None:
            chunks = [orjson.loads(chunk) for chunk in await self._chunks if chunk is not None]
            return self.first, [item for chunk in chunks for item in chunk]
        values = [await item for item in self._items]
        if not any(status for status, _ in values):
            values = await self._from_packed() or values
        return self.first, [_metadata(*value) for value in values]

    async def _from_packed(self) -> list[Any] | None:
        """The items of an earlier run that was packed meanwhile; None where it was not."""
        value: bytes | None = await self._packed()
        if value is None:
            return None
        nodes = unpack(value).nodes
        rows = [nodes.get(ref, {}) for ref in self._refs]
        return [(row.get(b"s"), row.get(b"m")) for row in rows]


class MapItems:
    def __init__(self, batcher: Batcher, keys: Keys, history: History) -> None:
        self._batcher = batcher
        self._keys = keys
        self._history = history

    async def metadata(
        self, run: str, node: str, limit: int, cursor: str | None
    ) -> tuple[list[Any], str | None]:
        """One page of the metadata of a map's items in order, None for an item without; and the next cursor.

        A page ends with its limit or after PAGE_BYTES. Raises NotFound where the map has no items yet.
        """
        run = await self._history.home(run, node)
        ((count, size, ok),) = await self._history.node_runs(run, [node], ("n", "j", "ok"))
        if count is None:
            raise NotFound(f"Run '{run}' has no items of '{node}'.")
        position, found, read = int(cursor or 0), list[Any](), 0
        end = min(position + limit, int(count))
        step = max(1, min(250, PAGE_BYTES // max(1, int(size or 0) // max(1, int(ok or 0)))))
        while position < end and read < PAGE_BYTES:
            window = range(position, min(position + step, end))
            refs = [f"{node}:{index}" for index in window]
            for status, metadata in await self._history.node_runs(run, refs, ("s", "m")):
                read += len(metadata or b"")
                found.append(_metadata(status, metadata))
            position += len(window)
        return found, str(position) if position < int(count) else None

    async def refers(self, run: str, node: str, to: tuple[str, str]) -> bool:
        """Whether the metadata of a map refers to the items of `to` (run, node)."""
        ((raw,),) = await self._history.node_runs(run, [node], ("m",))
        return raw is not None and raw.endswith(b',"items":%b}' % by_reference(*to))

    async def ledger(
        self, run: str, node: str, status: str | None, limit: int, cursor: str | None
    ) -> tuple[list[int], str | None]:
        """(items that may have this status, in order; the next cursor). The caller filters.

        Failed ones come from an index; others are looked for among the items that have started, a bounded number a page.
        """
        position = int(cursor or 0)
        if status in INDEXED:
            rows = await self._batcher.call(
                "ZRANGE",
                self._keys.failed_items(run, node),
                position,
                "+inf",
                "BYSCORE",
                "LIMIT",
                0,
                limit + 1,
            )
            items = [int(row) for row in rows]
            if items:
                return items[:limit], str(items[limit]) if len(items) > limit else None
        ((begun, bad),) = await self._history.node_runs(run, [node], ("o", "bad"))
        if status in INDEXED and not int(bad or 0):
            return [], None
        started = int(begun or 0)
        end = min(position + (limit if status is None else limit * SCANNED), started)
        return list(range(position, end)), str(end) if end < started else None


def _metadata(status: bytes | None, raw: bytes | None) -> Any:
    """The metadata of an item for the next node: only a success has any."""
    return orjson.loads(raw) if raw is not None and status == b"succeeded" else None
