"""P5: the node rate with 10,000 runs of 5 nodes in flight against 100, and how even 20 workflows' shares are meanwhile.

Every run that ends is followed by another, so that as many stay in flight. The runs are fired workflow after workflow: first
come, first served would be as uneven as can be. Jain's index is (sum x)^2 / (n * sum x^2) over the node runs of each workflow.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from time import perf_counter

from app.store.store import Store
from loadtests.engine_rates import diamond, engine
from loadtests.harness import Result, fire, in_turn, publish
from loadtests.instant import InstantExecutor

FEW, MANY = 100, 10_000
WORKFLOWS = 20
SLICE = 6_000
"""Node runs that one measurement takes."""
BATCH = 10
"""Runs that are fired together as others end."""
ROUNDS = 3


def jain(shares: Counter[str]) -> float:
    """1 where all have the same, 1 / n where one has everything."""
    return sum(shares.values()) ** 2 / (WORKFLOWS * sum(share**2 for share in shares.values()))


async def measure(in_flight: int) -> tuple[float, float]:
    """(nodes/s, Jain's index) with so many runs in flight, on a server of its own."""
    names = [f"bench-{i:02}" for i in range(WORKFLOWS)]
    async with engine() as (store, _, executor):
        for name in names:
            await publish(store, {"name": name, "nodes": diamond()})
        capacity, executor.capacity = executor.capacity, 0
        for name in names:
            for _ in range(0, in_flight // WORKFLOWS, 50):
                await asyncio.gather(*(fire(store, name) for _ in range(min(50, in_flight // WORKFLOWS))))
        while len(await store.admission.queued(2 * in_flight)) < in_flight:  # noqa: ASYNC110  (only the queue tells)
            await asyncio.sleep(0.05)
        executor.by_workflow.clear()
        executor.capacity = capacity
        return await _slice(store, executor, names), jain(executor.by_workflow)


async def _slice(store: Store, executor: InstantExecutor, names: list[str]) -> float:
    began, start, fired = perf_counter(), executor.done, 0
    firing: list[asyncio.Task[str]] = []
    executor.on_free()
    while executor.done - start < SLICE:
        await executor.reached(min(start + SLICE, start + 5 * BATCH * (fired + 1)))
        fired += 1
        firing += [asyncio.create_task(fire(store, names[(fired + i) % WORKFLOWS])) for i in range(BATCH)]
    took = perf_counter() - began
    await asyncio.gather(*firing)
    return SLICE / took


async def rates() -> tuple[Result, Result]:
    """P5's two figures."""
    evenness: list[float] = []

    async def many() -> float:
        rate, even = await measure(MANY)
        evenness.append(even)
        return rate

    async def few() -> float:
        return (await measure(FEW))[0]

    figure, floor, ratio = await in_turn(many, few, ROUNDS)
    even = min(evenness)
    return (
        Result(figure, floor, ratio, 0.95, "nodes/s with 10,000 runs in flight"),
        Result(even, 1, even, 0.95, "Jain's index over 20 workflows (the worst round)"),
    )
