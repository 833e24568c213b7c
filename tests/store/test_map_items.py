"""Maps of any length in the store: what an item costs, what is kept of it, and how the ledger and the metadata page."""

from __future__ import annotations

from typing import Any

import pytest
import redis.asyncio as aioredis

from app.core.mapdata import FEED
from app.core.tasks import Task
from app.store.mapitems import PAGE_BYTES
from app.store.nodes import NodeCall, StepReport
from app.store.store import Store
from app.store.triggers import Trigger
from tests.store.test_cost import calls

DONE = [StepReport("configure"), StepReport("execute")]


async def work(hand: Any, run: str, metadata: Any = lambda ref: b"{}", fails: Any = ()) -> None:
    """Admit, run and decide everything until the run has ended."""
    store: Store = hand.store
    await hand.decide()
    while tasks := [each.task for each in await store.admission.queued(64)]:
        assert set(await hand.admit(*tasks)) == {1}
        for task in tasks:
            call = NodeCall(run, task.ref, task.attempt)
            epoch = (await store.nodes.start(call, "pod", 60_000, [])).epoch
            if task.ref in fails:
                await store.nodes.fail(call, epoch, "Broken", "no", False)
            else:
                ends = [*DONE, StepReport("output", metadata=metadata(task.ref)), StepReport("finalize")]
                await store.nodes.checkpoint(call, epoch, ends)
        await hand.decide()


def mapped(over: Any, **more: Any) -> dict[str, Any]:
    return {"a": {"type": "step", "map": {"over": over, **more}}}


@pytest.mark.parametrize("over", [{"count": 0}, []])
async def test_an_item_costs_the_same_however_many_there_are(hand, client: aioredis.Redis, over: Any):
    async def cost(count: int) -> float:
        list_of = (
            {"count": count}
            if isinstance(over, dict)
            else [f"file:part-{index:060}" for index in range(count)]
        )
        begin = await calls(client)
        run = await hand.begin(mapped(list_of, max_parallel=50), f"w{count}")
        await work(hand, run)
        assert (await hand.store.runs.get(run))["status"] == "succeeded"
        return (await calls(client) - begin) / count

    few, many = await cost(200), await cost(800)
    assert many <= few * 1.02


async def test_an_item_that_has_not_started_has_no_key(hand, store: Store):
    run = await hand.begin(mapped({"count": 100_000}, max_parallel=2))
    assert len(await store.batcher.call("KEYS", f"{store.keys.node(run, 'a')}:*")) == 2
    assert await store.batcher.call("MEMORY", "USAGE", store.keys.node(run, "a")) < 1024


async def test_a_long_list_lies_in_chunks_and_each_item_gets_its_own(hand, store: Store):
    await hand.publish({"name": "w", "nodes": mapped("params.parts", max_parallel=30)})
    parts = [f"file:part-{index:060}" for index in range(2 * FEED + 30)]
    run = (await store.triggers.accept(Trigger("w", 1, "api", {"parts": parts}))).run
    await store.triggers.start_run(await hand.queued(), 1)
    assert run is not None
    await work(hand, run)
    given = [await store.batcher.call("HGET", store.keys.node(run, f"a:{i}"), "v") for i in range(len(parts))]
    assert given == [b'"%b"' % part.encode() for part in parts]


async def test_a_map_over_a_large_maps_items_reads_them_where_they_lie(hand, store: Store):
    nodes = mapped({"count": 300}, tolerate=0.1)
    nodes["b"] = {"type": "step", "needs": ["a"], "map": {"over": "nodes.a.metadata.items"}}
    run = await hand.begin(nodes)
    await work(hand, run, lambda ref: b'{"of":"%b","text":"%b"}' % (ref.encode(), b"x" * 300), fails={"a:7"})
    assert (await store.runs.get(run))["status"] == "succeeded"
    items = (await store.runs.node(run, "a"))["metadata"]["items"]
    assert items == {"$href": f"/api/v1/runs/{run}/nodes/a/items/metadata"}
    values = [await store.batcher.call("HGET", store.keys.node(run, f"b:{i}"), "v") for i in (0, 7, 299)]
    assert values[1] == b"null", "an item that failed has no metadata"
    assert [value[:13] for value in (values[0], values[2])] == [b'{"of":"a:0","', b'{"of":"a:299"']


async def test_the_metadata_of_items_comes_in_pages_in_order(hand, store: Store):
    run = await hand.begin(mapped({"count": 25}, tolerate=0.5))
    await work(hand, run, lambda ref: b'"%b"' % ref.encode(), fails={"a:3"})
    found: list[Any] = []
    cursor: str | None = None
    while True:
        page, cursor = await store.map_items.metadata(run, "a", 10, cursor)
        found += page
        if cursor is None:
            break
    assert found == [None if i == 3 else f"a:{i}" for i in range(25)]


async def test_a_page_of_large_metadata_ends_early(hand, store: Store):
    run = await hand.begin(mapped({"count": 20}))
    await work(hand, run, lambda ref: b'"%b"' % (b"x" * 200_000))
    page, cursor = await store.map_items.metadata(run, "a", 1000, None)
    assert len(page) * 200_000 < 2 * PAGE_BYTES
    assert cursor == str(len(page))


async def test_failed_items_are_found_without_looking_at_the_others(
    hand, store: Store, client: aioredis.Redis
):
    run = await hand.begin(mapped({"count": 300}, tolerate=1.0))
    failed = [3, 150, 151, 299]
    await work(hand, run, fails={f"a:{index}" for index in failed})
    before = await calls(client)
    first, cursor = await store.runs.items(run, "a", "failed", 3, None)
    assert await calls(client) - before <= 3 + 6
    second, end = await store.runs.items(run, "a", "failed", 3, cursor)
    assert [item["item"] for item in first + second] == failed
    assert end is None


async def test_other_states_are_looked_for_a_bounded_number_of_items_a_page(hand, store: Store):
    run = await hand.begin(mapped({"count": 100}, tolerate=1.0))
    await work(hand, run, fails={f"a:{index}" for index in range(99)})
    found: list[int] = []
    cursor: str | None = None
    for _ in range(20):
        page, cursor = await store.runs.items(run, "a", "succeeded", 5, cursor)
        found += [item["item"] for item in page]
        if cursor is None:
            break
    assert found == [99]


async def test_an_item_that_is_tried_again_is_not_in_the_ledger_of_failed_ones(hand, store: Store):
    run = await hand.begin(mapped({"count": 1}))
    call, epoch = await hand.started(run, "a:0")
    await store.nodes.fail(call, epoch, "Broken", "no", True)
    await hand.decide()
    assert await store.runs.items(run, "a", "failed", 10, None) == ([], None)
    assert Task(run, "a:0", 1, 0) not in await store.workers.holders()


async def test_a_packed_run_still_tells_its_failed_items(hand, store: Store):
    run = await hand.begin(mapped({"count": 6}, tolerate=1.0))
    await work(hand, run, lambda ref: b'"%b"' % ref.encode(), fails={"a:1", "a:4"})
    finished = await store.retention.finished(run)
    assert finished is not None
    assert await store.retention.pack(finished, await store.graphs.get("w", 1), 0)
    assert await store.batcher.call("EXISTS", *store.keys.of_map(run, "a")) == 0
    first, cursor = await store.runs.items(run, "a", "failed", 1, None)
    second, _ = await store.runs.items(run, "a", "failed", 5, cursor)
    assert [item["item"] for item in first + second] == [1, 4]
    assert (await store.map_items.metadata(run, "a", 10, None))[0][:3] == ["a:0", None, "a:2"]
