"""Retry against real processes and real workers: what was mended runs, what was kept does not, whoever dies on the way."""

from __future__ import annotations

import time
from typing import Any

from app.store.takeover import PART

BROKEN: dict[str, Any] = {"type": "program", "config": {"mended": "mended"}}


async def again(site, run: str, act: str = "retry", **body: Any) -> str:
    answer = await site.http.post(f"/runs/{run}/{act}", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()["run"]


async def test_a_failed_run_is_mended_and_retried(working_site):
    site = working_site
    nodes = {
        "first": {"type": "program"},
        "broken": {**BROKEN, "needs": ["first"]},
        "last": {"type": "plain", "needs": ["broken"]},
    }
    (run,) = await site.fire(nodes)
    assert await site.ended(run) == "failed"
    site.open("mended")
    retried = await again(site, run)
    assert await site.ended(retried) == "succeeded"
    assert len(site.diary("first", waits=True)) == 1
    assert (await site.node(retried, "first"))["kept_from"] == run
    log = await site.http.get(f"/runs/{retried}/nodes/first/logs")
    assert log.status_code == 200
    await site.check(run, retried)


async def test_only_the_failed_items_run_again(working_site):
    site = working_site
    config = {"mended": "${{ item }}"}
    (run,) = await site.fire(
        {"each": {"type": "program", "config": config, "map": {"over": ["good", "bad", "good"]}}}
    )
    assert await site.ended(run) == "failed", "none is mended yet"
    site.open("good")
    second = await again(site, run)
    assert await site.ended(second) == "failed"
    assert (await site.node(second, "each"))["items"]["succeeded"] == 2
    site.open("bad")
    third = await again(site, second)
    assert await site.ended(third) == "succeeded"
    assert len(site.diary("each", epoch=1)) == 3 + 3 + 1
    items = (await site.http.get(f"/runs/{third}/nodes/each/items")).json()["items"]
    assert [item["kept_from"] for item in items] == [second, None, second]
    await site.check(run, second, third)


async def test_a_worker_killed_in_the_middle_of_the_copy(site):
    """Nothing has begun by then; whoever comes next copies all of it again."""
    count = 60 * PART
    nodes: dict[str, Any] = {f"n{i}": {"wait": {"duration": 0}} for i in range(count)}
    nodes["broken"] = {**BROKEN, "needs": ["n0"]}
    doomed = await site.worker()
    (run,) = await site.fire(nodes)
    assert await site.ended(run) == "failed"
    site.open("mended")
    retried = await again(site, run)
    deadline = time.monotonic() + 20
    while not await site.store.batcher.call("EXISTS", site.keys.node(retried, f"n{PART}")):
        assert time.monotonic() < deadline, "the copy began"
    doomed.kill()
    doomed.wait()
    assert not await site.store.batcher.call("EXISTS", site.keys.node(retried, f"n{count - 1}"))
    assert not await site.store.batcher.call("EXISTS", site.keys.run(retried))
    await site.worker()
    assert await site.ended(retried) == "succeeded"
    shown = (await site.http.get(f"/runs/{retried}")).json()
    assert shown["nodes"] == {"total": count + 1, "ended": count + 1, "failed": 0}
    assert (await site.node(retried, f"n{count - 1}"))["kept_from"] == run
    await site.check(retried)
