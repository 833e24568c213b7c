"""The ledger of failed records in the order of the stream, for the node run of a later run that does them again."""

from __future__ import annotations

from typing import Any

import orjson

from app.store.client import Batcher
from app.store.history import History
from app.store.keys import Keys


class Ledger:
    def __init__(self, batcher: Batcher, keys: Keys, history: History) -> None:
        self._batcher = batcher
        self._keys = keys
        self._history = history

    async def redone(self, run: str, ref: str) -> str | None:
        """The run whose failed records a node run does again; None: it does its whole stream."""
        ((earlier,),) = await self._history.node_runs(run, [ref], ("rd",))
        return None if earlier is None else earlier.decode()

    async def told(self, earlier: str, ref: str) -> dict[str, Any] | None:
        """{run, data, count} of the node run that is redone; None where it has no position to begin at."""
        ((data, count),) = await self._history.node_runs(earlier, [ref], ("d", "fr"))
        if data is None:
            return None
        return {"run": earlier, "data": orjson.Fragment(data), "count": int(count or 0)}

    async def page(self, run: str, ref: str, limit: int, first: int) -> tuple[list[Any], str | None]:
        """Entries from an index of the stream on, and the index of the next one. A ledger is bounded, so it is sorted here."""
        key = self._keys.records(run, ref)
        places = sorted(place for place in map(int, await self._batcher.call("HKEYS", key)) if place >= first)
        if not places:
            return [], None
        rows = await self._batcher.call("HMGET", key, *places[:limit])
        after = str(places[limit]) if len(places) > limit else None
        return [orjson.Fragment(row) for row in rows if row is not None], after
