"""A map of 100,000 items with an executor that needs no time: rate, commands and bytes per item, and the worker's memory.

python -m loadtests.maps [--items N]

The figures of a map a tenth as long come first: nothing may grow with the map.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from time import perf_counter
from typing import NamedTuple

from app.store.store import Store
from loadtests.engine_rates import engine
from loadtests.harness import ended, fire, publish
from loadtests.processes import peak_memory


class Figures(NamedTuple):
    """Of one run, per item where not said otherwise."""

    items: int
    seconds: float
    commands: float
    stored: float
    """Bytes that the server has more after the run."""
    peak: float
    """MiB that the worker's process has more at its peak than before the run."""
    metadata: str
    """How the map's metadata holds its items."""

    def __str__(self) -> str:
        return (
            f"{self.items:>7,} items: {self.items / self.seconds:8,.0f} items/s, {self.commands:6.1f} commands and "
            f"{self.stored:7,.0f} bytes an item, +{self.peak:.0f} MiB in the worker, items' metadata {self.metadata}"
        )


async def measure(count: int, over: object = None) -> Figures:
    """One map of so many items on a server of its own, and a second map over the items of the first."""
    async with engine() as (store, _, executor):
        nodes = {
            "fan": {"type": "noop", "map": {"over": over or {"count": count}}},
            "again": {"type": "noop", "needs": ["fan"], "map": {"over": "nodes.fan.metadata.items"}},
        }
        await publish(store, {"name": "map", "nodes": nodes})
        used, commands, peak = await _used(store), await _commands(store), _Peak()
        began = perf_counter()
        run = await fire(store, "map")
        status = await ended(store, run)
        seconds = perf_counter() - began
        if status != "succeeded" or executor.done != 2 * count:
            raise RuntimeError(f"the run is {status}, {executor.done} items ran")
        items = (await store.runs.node(run, "again"))["metadata"]["items"]
        each = 2 * count
        return Figures(
            each, seconds, (await _commands(store) - commands) / each, (await _used(store) - used) / each,
            peak.mib, "inline" if isinstance(items, list) else "by reference",
        )  # fmt: skip


async def _used(store: Store) -> int:
    info: bytes = await store.batcher.call("INFO", "memory")
    return next(int(line[12:]) for line in info.split(b"\r\n") if line.startswith(b"used_memory:"))


async def _commands(store: Store) -> int:
    info: bytes = await store.batcher.call("INFO", "commandstats")
    return sum(
        int(line.split(b"calls=")[1].split(b",")[0]) for line in info.split(b"\r\n") if b"calls=" in line
    )


class _Peak:
    """How much this process grows above what it held at most before."""

    def __init__(self) -> None:
        self._before = peak_memory(os.getpid())

    @property
    def mib(self) -> float:
        return (peak_memory(os.getpid()) - self._before) / 1024


async def main(items: int) -> bool:
    """Print both; True when the long map costs no more per item than the short one."""
    short = await measure(items // 10)
    print(short, flush=True)
    long = await measure(items)
    print(long)
    return long.commands <= short.commands * 1.05


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    raise SystemExit(0 if asyncio.run(main(parser.parse_args().items)) else 1)
