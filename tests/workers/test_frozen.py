"""Fault rows 5 and 14: a worker that stands still past its lease, and streams that are deleted under a live one."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

NODES: dict[str, Any] = {
    "a": {"type": "plain"},
    "b": {"type": "plain", "needs": ["a"]},
    "c": {"type": "plain", "needs": ["a"]},
    "d": {"type": "plain", "needs": ["b", "c"]},
}


async def test_a_worker_frozen_past_its_lease_does_nothing_twice(site, stop_and_go):
    """It stands still in the middle of its work; another takes over what it holds; when it goes on, its writes are refused."""
    frozen = await site.worker()
    runs = await site.fire(NODES, times=12)

    async def at_work() -> bool:
        return bool(await site.store.pools.all_holders())

    await site.until(at_work, "node runs are under way")
    stop_and_go(frozen)
    other = await site.worker()

    async def taken_over() -> bool:
        held = await site.store.batcher.call("XPENDING", site.keys.active, "workers")
        live = {record["pid"] for record in (await site.store.workers.live()).values()}
        return held[0] == 0 and live == {other.pid}

    await site.until(taken_over, "nothing is held by the frozen worker any more")
    os.kill(frozen.pid, signal.SIGCONT)
    for run in runs:
        assert await site.ended(run) == "succeeded"
    await site.check(*runs)

    async def both() -> bool:
        return {record["pid"] for record in (await site.store.workers.live()).values()} == {
            frozen.pid,
            other.pid,
        }

    await site.until(both, "the worker that stood still works again")
    (last,) = await site.fire(NODES)
    assert await site.ended(last) == "succeeded"


async def test_streams_deleted_under_a_live_worker_are_made_again_and_it_says_so(site, stop_and_go):
    """What the stream named is found again: runs go on by the signals in their inboxes, not by their entries."""
    worker = await site.worker()
    gated = {"a": {"type": "program", "config": {"gate": "go"}}, "b": {"type": "plain", "needs": ["a"]}}
    (run,) = await site.fire(gated)
    await site.waits("a")
    stop_and_go(worker)
    site.open("go")

    async def signalled() -> bool:
        return await site.store.batcher.call("LLEN", site.keys.inbox(run)) > 0

    await site.until(signalled, "the run has a signal, and its entry waits in the stream")
    await asyncio.gather(
        *(site.store.batcher.call("DEL", key) for key in (site.keys.active, site.keys.triggers))
    )
    os.kill(worker.pid, signal.SIGCONT)
    (after,) = await site.fire(NODES)
    assert await site.ended(after) == "succeeded"
    assert await site.ended(run) == "succeeded"
    assert worker.poll() is None
    assert "was gone, and is made again" in (site.installation.folder / "worker.log").read_text()
    await site.check(run, after)
