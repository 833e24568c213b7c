"""Workers hold nothing of their own: any number of them works on the same runs, and each transition happens once."""

from __future__ import annotations

import asyncio

NODES = {
    "split": {"type": "step"},
    "price": {"type": "step", "needs": ["split"], "map": {"over": list(range(10))}},
    "merge": {"type": "step", "needs": ["price"]},
}


async def test_three_workers_finish_many_runs_and_make_each_transition_once(stage):
    for _ in range(3):
        await stage.worker()
    runs = await asyncio.gather(*(stage.run_of(NODES) for _ in range(15)))
    assert await asyncio.gather(*(stage.ended(run) for run in runs)) == ["succeeded"] * 15
    for run in runs:
        events = [event for _, event in await stage.store.events.read(run, "0")]
        moves = [
            (event.get("node"), event.get("item"), event.get("to") or event.get("step")) for event in events
        ]
        assert len(moves) == len(set(moves))
    assert await stage.store.workers.holders() == {}
