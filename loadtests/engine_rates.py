"""P2, P3 and P4: what the engine itself costs per node, with an executor that needs no time, in one process.

The worker has processor 0, Valkey processor 1.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

import orjson
from arq.worker import Worker, func

from app.collector import tune_collector
from app.settings import Settings
from app.store.arqpool import arq_pool
from app.store.store import Store
from loadtests.harness import Result, canonical, ended, fire, in_turn, publish, server, settings_for
from loadtests.instant import InstantExecutor, instant
from workers.runtime import Runtime

CHAIN = 40
SMALL, LARGE = 1_000, 100_000
WIDTH = 100
"""Chains side by side in the graphs of P4: both graphs offer the same parallelism."""
SLICE = 6_000
"""Node runs that one measurement of P4 takes from the large graph."""
JOBS = 400


@asynccontextmanager
async def engine() -> AsyncGenerator[tuple[Store, Settings, InstantExecutor]]:
    """One worker's loops in this process."""
    async with server(cpu=1) as valkey:
        settings = settings_for(valkey)
        store = await Store.open(settings)
        runtime = Runtime(store, settings, instant())
        await runtime.start()
        tune_collector()
        assert isinstance(runtime.executor, InstantExecutor)
        try:
            yield store, settings, runtime.executor
        finally:
            await runtime.stop()
            await store.close()


def chain(length: int) -> dict[str, Any]:
    return {f"n{i}": {"type": "noop", "needs": [f"n{i - 1}"] if i else []} for i in range(length)}


def fan(width: int) -> dict[str, Any]:
    names = [f"b{i}" for i in range(width)]
    return {"a": {"type": "noop"}, **{name: {"type": "noop", "needs": ["a"]} for name in names},
            "z": {"type": "noop", "needs": names}}  # fmt: skip


def diamond() -> dict[str, Any]:
    needs = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["d"]}
    return {name: {"type": "noop", "needs": list(above)} for name, above in needs.items()}


def chains(nodes: int) -> dict[str, Any]:
    """WIDTH chains side by side, `nodes` in all."""
    return {f"c{i}": {"type": "noop", "needs": [f"c{i - WIDTH}"] if i >= WIDTH else []} for i in range(nodes)}


async def latency(store: Store, executor: InstantExecutor) -> Result:
    """P2: engine time per node in a chain, against one fsynced commit of 200 bytes from the same client.

    Nobody watches the run while it goes: what following its events takes of this process is no part of the engine.
    """
    await publish(store, {"name": "bench-chain", "nodes": chain(CHAIN)})

    async def per_node() -> float:
        target = executor.done + CHAIN
        began = perf_counter()
        run = await fire(store, "bench-chain")
        await executor.reached(target)
        status = await ended(store, run)
        took = perf_counter() - began
        if status != "succeeded":
            raise RuntimeError("a run of the benchmark did not succeed")
        return took / CHAIN * 1000

    async def commit() -> float:
        began = perf_counter()
        for _ in range(CHAIN * 3):
            await store.batcher.call(
                "EVAL", "return redis.call('SET', KEYS[1], ARGV[1])", 1, f"{store.keys.tag}:floor", b"x" * 200
            )
        return (perf_counter() - began) / (CHAIN * 3) * 1000

    figure, floor, ratio = await in_turn(per_node, commit)
    return Result(figure, floor, ratio, 8, "ms a node in a chain", upper=True)


async def throughput(store: Store, settings: Settings, executor: InstantExecutor) -> Result:
    """P3: nodes per second of one worker process, a fan-out of 1,000 and 200 runs of 5, against arq's no-op jobs."""
    await publish(store, {"name": "bench-fan", "nodes": fan(1000)})
    await publish(store, {"name": "bench-five", "nodes": diamond()})

    async def nodes() -> float:
        target = executor.done + 2002
        began = perf_counter()
        fives = await asyncio.gather(*(fire(store, "bench-five") for _ in range(200)))
        runs = [await fire(store, "bench-fan"), *fives]
        await executor.reached(target)
        took = perf_counter() - began
        if set(await asyncio.gather(*(ended(store, run) for run in runs))) != {"succeeded"}:
            raise RuntimeError("a run of the benchmark did not succeed")
        return 2002 / took

    async def jobs() -> float:
        pool = arq_pool(settings)
        for _ in range(JOBS):
            await pool.enqueue_job("nothing")

        async def nothing(ctx: dict[Any, Any]) -> None:
            del ctx

        worker = Worker(
            functions=[func(nothing, name="nothing", keep_result=0)], redis_pool=pool, queue_name=pool.default_queue_name,
            burst=True, poll_delay=0, max_jobs=100, handle_signals=False, job_serializer=orjson.dumps,
            job_deserializer=orjson.loads, log_results=False,
        )  # fmt: skip
        began = perf_counter()
        await worker.async_run()
        rate = JOBS / (perf_counter() - began)
        await worker.close()
        return rate

    figure, floor, ratio = await in_turn(nodes, jobs)
    return Result(figure, floor, ratio, 4, "nodes/s of one worker")


async def scale() -> Result:
    """P4: the node rate in a graph of 100,000 nodes, against one of 1,000 with the same parallelism.

    Each measurement has a server of its own, and takes SLICE node runs; the graph is compiled before the clock starts.
    """
    documents = {size: canonical({"name": f"bench-{size}", "nodes": chains(size)}) for size in (SMALL, LARGE)}

    async def rate(size: int) -> float:
        name = f"bench-{size}"
        async with engine() as (store, _, executor):
            await store.batcher.call("SET", store.keys.workflow_version(name, 1), documents[size])
            await store.graphs.get(name, 1)
            began = perf_counter()
            while executor.done < SLICE:
                run = await fire(store, name)
                if size == LARGE:
                    await executor.reached(SLICE)
                else:
                    await ended(store, run)
            return executor.done / (perf_counter() - began)

    figure, floor, ratio = await in_turn(lambda: rate(LARGE), lambda: rate(SMALL))
    return Result(figure, floor, ratio, 0.95, "nodes/s in a graph of 100,000")
