"""P8: what a finished run of five nodes costs in Redis once it is packed, against the bytes of its raw checkpoints.

Figure: MEMORY USAGE of every key of a run (its receipt too), and its share of the indexes it stands in; the growth of
used_memory over all runs is told beside it. Floor: 640 bytes, five times the four checkpoints of a node.
"""

from __future__ import annotations

import asyncio

from app.store.store import Store
from loadtests.engine_rates import diamond, engine
from loadtests.harness import Result, ended, fire, publish
from workers.retention import Retention

RUNS = 300
FLOOR = 640


async def bytes_per_run() -> Result:
    async with engine() as (store, settings, _):
        await publish(store, {"name": "bench-five", "nodes": diamond()})
        await ended(store, await fire(store, "bench-five"))
        now = settings.model_copy(update={"pack_after": 0.0})
        await _pack(store, Retention(store, now))
        before = await _used(store)
        runs = await asyncio.gather(*(fire(store, "bench-five") for _ in range(RUNS)))
        await asyncio.gather(*(ended(store, run) for run in runs))
        live = await _keys_of(store, runs[0])
        await _pack(store, Retention(store, now))
        after = await _used(store)
        figure = await _keys_of(store, runs[0]) + await _shares(store)
        note = (
            f"{live:,.0f} B before it is packed; used_memory grew by {(after - before) / RUNS:,.0f} B a run"
        )
        return Result(figure, FLOOR, figure / FLOOR, 3, "bytes of a finished run of 5 nodes", True, note)


async def _pack(store: Store, retention: Retention) -> None:
    """Everything that has ended is packed now."""
    for run in await store.batcher.call("ZRANGE", store.keys.finished, 0, -1):
        await store.retention.postpone(run.decode(), 0)
    await retention.sweep()


async def _keys_of(store: Store, run: str) -> float:
    names = await store.batcher.call("KEYS", f"{store.keys.tag}:*{run[1:]}*")
    return sum([await _usage(store, name) for name in names])


async def _usage(store: Store, key: str | bytes) -> float:
    return float(await store.batcher.call("MEMORY", "USAGE", key, "SAMPLES", "0") or 0)


async def _shares(store: Store) -> float:
    keys = store.keys
    indexes = (keys.runs, keys.workflow_runs("bench-five"), keys.finished)
    return sum([await _usage(store, key) / await store.batcher.call("ZCARD", key) for key in indexes])


async def _used(store: Store) -> int:
    info: bytes = await store.batcher.call("INFO", "memory")
    return next(int(line[12:]) for line in info.split(b"\r\n") if line.startswith(b"used_memory:"))
