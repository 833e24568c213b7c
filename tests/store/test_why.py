"""Why: what the store is asked for, in each of the places where something can stand."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.tasks import Task
from app.errors import NotFound
from app.settings import Settings
from app.store.store import Store
from workers.retention import Retention

CHAIN = {"a": {"type": "step", "retry": {"max_attempts": 1}}, "b": {"type": "step", "needs": ["a"]}}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"global_slots": 1, "pack_after": 0.0})


def codes(reasons: list[dict[str, Any]]) -> list[str]:
    return [reason["code"] for reason in reasons]


async def test_a_trigger_that_no_worker_has_taken_says_so(store: Store, hand):
    await hand.publish({"name": "w", "nodes": CHAIN})
    run = await hand.accept()
    await hand.accept()
    first, second = await store.why.run(run)
    assert (first["code"], first["queued"], second["code"]) == ("trigger_queued", 2, "no_worker")
    assert first["since"]
    assert codes(await store.why.node(run, "a"))[0] == "trigger_queued"


async def test_a_ready_node_run_names_who_holds_the_slot_and_its_turn(store: Store, hand):
    await store.workers.announce("w1", {"host": "here", "pid": 1})
    first = await hand.begin({"a": {"type": "step"}})
    await hand.started(first, "a")
    second = await hand.begin({"b": {"type": "step"}, "c": {"type": "step"}}, "w2")
    pool, turn = await store.why.node(second, "c")
    assert (pool["code"], pool["pool"], pool["used"], pool["slots"]) == ("pool", "global", 1, 1)
    assert [(holder["run"], holder["node"]) for holder in pool["holders"]] == [(first, "a")]
    assert (turn["code"], turn["ahead"]) == ("turn", 1)
    assert (await store.why.node(second, "c", prefix="only-mine"))[0]["holders"] == []


async def test_a_run_tells_of_its_node_runs_that_go_on(store: Store, hand):
    await store.workers.announce("w1", {"host": "here", "pid": 1})
    run = await hand.begin(CHAIN)
    assert await hand.admit(Task(run, "a", 1, 0)) == [1]
    (reason,) = await store.why.run(run)
    assert (reason["code"], reason["node"], reason["reason"]) == ("node", "a", "starting")
    assert codes(await store.why.node(run, "b")) == ["dependency"]


async def test_an_ended_run_tells_the_same_when_it_is_packed(store: Store, hand, settings: Settings):
    run = await hand.begin(CHAIN)
    call, epoch = await hand.started(run, "a")
    await store.nodes.fail(call, epoch, "Broken", "no such feed", retryable=False)
    await hand.decide()
    before = [await store.why.run(run), await store.why.node(run, "b")]
    assert [codes(reasons) for reasons in before] == [["failed", "failed", "blocked"], ["blocked", "failed"]]
    assert before[1][1]["detail"] == "'a': no such feed"
    assert await Retention(store, settings).sweep() == {"packed": 1, "removed": 0}
    assert [await store.why.run(run), await store.why.node(run, "b")] == before


@pytest.mark.parametrize("ref", ["nothing", "a:3"])
async def test_what_is_not_there_is_not_found(store: Store, hand, ref: str):
    run = await hand.begin(CHAIN)
    with pytest.raises(NotFound):
        await store.why.node(run, ref)


async def test_what_waits_for_a_child_run_or_a_person_says_for_which(store: Store, hand):
    await store.workers.announce("w1", {"host": "here", "pid": 1})
    nodes = {"sub": {"workflow": "child"}, "ask": {"approval": {"message": "Go on?", "timeout": "1h"}}}
    run = await hand.begin(nodes)
    (child,) = await store.why.node(run, "sub")
    assert (child["code"], child["run"]) == ("child", (await store.runs.node(run, "sub"))["child"])
    (approval,) = await store.why.node(run, "ask")
    assert (approval["code"], approval["message"]) == ("approval", "Go on?")
    assert child["since"]
    assert approval["since"]
    assert approval["until"]


async def test_a_queued_child_run_that_names_no_version_is_shown_with_the_newest(
    store: Store, hand, configure
):
    """That is the one it will begin with; there is no version 0, so its nodes and reasons were not found."""
    await configure("child", {"other": {"type": "step"}})
    await configure("child", CHAIN)
    run = await hand.begin({"sub": {"workflow": "child"}})
    child = (await store.runs.node(run, "sub"))["child"]
    shown = await store.runs.get(child)
    assert (shown["status"], shown["version"]) == ("queued", 2)
    nodes, _ = await store.runs.nodes(child)
    assert [(node["name"], node["status"]) for node in nodes] == [("a", "pending"), ("b", "pending")]
    assert codes(await store.why.run(child))[0] == "trigger_queued"
    assert codes(await store.why.node(child, "b"))[0] == "trigger_queued"


async def test_a_child_run_of_a_paused_run_waits_for_its_resume(store: Store, hand):
    await store.workers.announce("w1", {"host": "here", "pid": 1})
    run = await hand.begun({"sub": {"workflow": "child"}})
    await store.control.pause(run)
    await hand.decide()
    assert codes(await store.why.node(run, "sub")) == ["paused", "not_decided"]


async def test_what_came_from_the_cache_says_of_which_run(store: Store, hand):
    nodes = {"a": {"type": "step", "cache": {"key": "k", "ttl": "1h"}}}
    first = await hand.begin(nodes)
    await hand.finish(first, "a", b"1")
    await hand.decide()
    (reason,) = await store.why.node(await hand.begin(nodes), "a")
    assert (reason["code"], reason["cached_from"]["run"]) == ("succeeded", first)


async def test_a_map_tells_what_an_item_of_it_waits_for(store: Store, hand):
    await store.workers.announce("w1", {"host": "here", "pid": 1})
    run = await hand.begin({"m": {"type": "step", "map": {"over": [1, 2]}}})
    await hand.started(run, "m:0")
    items, pool, *_ = await store.why.node(run, "m")
    assert (items["code"], pool["code"], pool["pool"], pool["item"]) == ("items", "pool", "global", 1)
    assert "item 1 is ready: the pool 'global' has 1 of 1 slots taken" in pool["detail"]
    assert [(holder["node"], holder["item"]) for holder in pool["holders"]] == [("m", 0)]
    whole, item = await store.why.run(run)
    assert (whole["reason"], item["reason"], item["item"]) == ("items", "pool", 1)
