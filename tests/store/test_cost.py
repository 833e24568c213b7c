"""What one node of a chain costs the store: counted, not timed (DESIGN section 4, budget per chained node)."""

from __future__ import annotations

import asyncio
from typing import Any

import redis.asyncio as aioredis

from app.settings import Settings
from app.store.nodes import NodeCall, StepReport
from app.store.store import Store
from workers.consumer import RunHandler
from workers.dispatch import Dispatcher
from workers.executors.base import Launch

STEPS = [
    StepReport("configure"),
    StepReport("execute"),
    StepReport("output", metadata=b"{}"),
    StepReport("finalize"),
]
ROUND_TRIPS = {"claim": 1, "load": 1, "commit and admit": 1, "start": 1, "steps": 1}
COMMANDS = 48
"""Commands that the server runs for one node, those inside scripts counted too; three of them see to its pools."""


class Instant:
    """An executor that runs a launch as soon as the test says so."""

    def __init__(self) -> None:
        self.launches: asyncio.Queue[Launch] = asyncio.Queue()
        self.on_free = lambda: None

    def free(self) -> int:
        return 1

    async def submit(self, launch: Launch) -> None:
        self.launches.put_nowait(launch)

    async def run(self) -> None: ...

    async def close(self) -> None: ...


async def calls(client: aioredis.Redis) -> int:
    """Commands that the server ran, those inside scripts counted too."""
    stats = await client.info("commandstats")
    return sum(row["calls"] for name, row in stats.items() if name != "cmdstat_info")


async def test_a_chained_node_costs_a_bounded_number_of_round_trips_and_commands(
    store: Store, settings: Settings, hand, client: aioredis.Redis
):
    chain: dict[str, Any] = {"n0": {"type": "step"}}
    chain |= {f"n{i}": {"type": "step", "needs": [f"n{i - 1}"]} for i in range(1, 12)}
    run = await hand.begun(chain)
    executor = Instant()
    active = store.stream(store.keys.active, "hand")
    dispatcher = Dispatcher(store, executor, settings)
    handle = RunHandler(store, active, dispatcher, settings, lambda _: None)

    async def one() -> None:
        await handle(await hand.claim())
        call = NodeCall(run, (await executor.launches.get()).task.ref, 1)
        started = await store.nodes.start(call, "pod", 60_000, [])
        await store.nodes.checkpoint(call, started.epoch, STEPS)

    for _ in range(2):  # what is fetched once: scripts, the graph
        await one()
    trips, commands = store.batcher.writes, await calls(client)
    for _ in range(8):
        await one()
    assert (store.batcher.writes - trips) / 8 <= sum(ROUND_TRIPS.values()) - ROUND_TRIPS["claim"]
    assert (await calls(client) - commands) / 8 <= COMMANDS
