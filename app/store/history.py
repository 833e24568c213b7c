"""What is kept of a run, wherever it lies: in the hashes of a live run, or packed into one value after its end.

The one door for everybody who reads runs; deciding reads the hashes themselves, since nothing decides about a finished run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from app.core.tasks import split_ref
from app.store.client import Batcher, pairs
from app.store.keys import Keys
from app.store.packed import unpack, unpack_run

Values = list[bytes | None]


class History:
    def __init__(self, batcher: Batcher, keys: Keys) -> None:
        self._batcher = batcher
        self._keys = keys

    async def run(self, run: str, fields: Sequence[str]) -> Values:
        """Fields of a run; all None where there is no such run."""
        return (await self.runs([run], fields))[0]

    async def runs(self, runs: Sequence[str], fields: Sequence[str]) -> list[Values]:
        """Fields of several runs."""
        live = [self._batcher.call("HMGET", self._keys.run(run), "s", *fields) for run in runs]
        found: list[Values] = [await call for call in live]
        missing = [place for place, values in enumerate(found) if values[0] is None]
        packed = [self._batcher.call("GET", self._keys.packed(runs[place])) for place in missing]
        for place, call in zip(missing, packed, strict=True):
            value: bytes | None = await call
            if value is not None:
                found[place] = [None, *_pick(unpack_run(value), fields)]
        return [values[1:] for values in found]

    async def queued_version(self, workflow: bytes, named: bytes | None) -> int:
        """Of a run that is still a trigger: the one that it names; where a child run names none, the newest."""
        if named not in (None, b"0"):
            return int(named)
        return int(await self._batcher.call("HGET", self._keys.workflow(workflow.decode()), "version") or 0)

    async def node_runs(self, run: str, refs: Sequence[str], fields: Sequence[str]) -> list[Values]:
        """Fields of node runs, all None for one that has no record."""
        keys = self._keys
        live = [self._batcher.call("HMGET", keys.node(run, ref), *fields) for ref in refs]
        value: bytes | None = await self._batcher.call("GET", keys.packed(run))
        found: list[Values] = [await call for call in live]
        if value is None:
            return found
        nodes = unpack(value).nodes
        return [_pick(nodes.get(ref, {}), fields) for ref in refs]

    async def node_run(self, run: str, ref: str) -> dict[bytes, bytes]:
        """Everything that is recorded of a node run; empty for one that has no record."""
        row: list[bytes] = await self._batcher.call("HGETALL", self._keys.node(run, ref))
        if not row:
            value: bytes | None = await self._batcher.call("GET", self._keys.packed(run))
            return {} if value is None else unpack(value).nodes.get(ref, {})
        return dict(pairs(row))

    async def records(self, run: str, refs: Sequence[str]) -> list[dict[bytes, bytes]]:
        """Everything that is recorded of several node runs."""
        rows = [self._batcher.call("HGETALL", self._keys.node(run, ref)) for ref in refs]
        value: bytes | None = await self._batcher.call("GET", self._keys.packed(run))
        found = [dict(pairs(await row)) for row in rows]
        if value is None:
            return found
        nodes = unpack(value).nodes
        return [nodes.get(ref, {}) for ref in refs]

    async def home(self, run: str, ref: str) -> str:
        """The run in which a node run of `run` ran: an earlier one where it was kept of that."""
        own, whole = await self.node_runs(run, [ref, split_ref(ref)[0]], ["kr"])
        kept = own[0] or whole[0]
        return run if kept is None else kept.decode()

    async def entries(
        self, run: str, after: str, count: int, *, inclusive: bool = False
    ) -> list[tuple[str, bytes]]:
        """Entries of the events after a place in their stream (or from it on) as (place, JSON), the oldest first."""
        first = after if inclusive else f"({after}"
        rows: list[Any] = await self._batcher.call(
            "XRANGE", self._keys.events(run), first, "+", "COUNT", count
        )
        if rows:
            return [(row[0].decode(), row[1][1]) for row in rows]
        value: bytes | None = await self._batcher.call("GET", self._keys.packed(run))
        if value is None:
            return []
        entries = [(place.decode(), event) for place, event in unpack(value).events]
        least = order(after)
        return [row for row in entries if order(row[0]) > least or (inclusive and row[0] == after)][:count]


def order(place: str) -> tuple[int, int, float]:
    """Places of events compare so: ms, number of the entry, number in the entry; the last one has none."""
    entry, _, inside = place.partition(".")
    ms, _, number = entry.partition("-")
    return int(ms), int(number or 0), int(inside) if inside else math.inf


def _pick(fields: dict[bytes, bytes], names: Sequence[str]) -> Values:
    return [fields.get(name.encode()) for name in names]
