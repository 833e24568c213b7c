"""Pools: all slots at once or none, whose turn it is, and no slot that outlives its attempt (M15, B3)."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.pools import PATIENCE_MS, STEP_MS, Waiting
from app.core.signals import Signal, SignalKind, exit_of
from app.core.tasks import Task
from app.store.nodes import NodeCall, StepReport
from app.store.store import Store

STEPS = [StepReport("configure"), StepReport("execute"), StepReport("output"), StepReport("finalize")]


def step(*pools: Any, **more: Any) -> dict[str, Any]:
    return {"type": "step", **({"pools": list(pools)} if pools else {}), **more}


def task(run: str, node: str) -> Task:
    return Task(run, node, 1, 0)


async def ask(hand, run: str, *nodes: str) -> list[int]:
    """As the worker does that has just committed these node runs."""
    return await hand.admit(*(task(run, node) for node in nodes), fresh=True)


async def take(hand, places: int = 64) -> list[str]:
    """Admit those whose turn it is; their nodes, in order."""
    heads = await hand.store.admission.heads(places)
    tasks = [each.task for each in heads.taken]
    await hand.store.admission.file(heads.lanes)
    assert set(await hand.admit(*tasks)) <= {1}
    return [each.ref for each in tasks]


async def end(store: Store, hand, run: str, node: str) -> None:
    """The attempt succeeds, and that is decided."""
    call = NodeCall(run, node, 1)
    started = await store.nodes.start(call, "pod", 60_000, [])
    await store.nodes.checkpoint(call, started.epoch, STEPS)
    await hand.decide()


async def aged(store: Store, ms: int, node: str) -> None:
    """The node heads its lane for so much longer."""
    (lane,) = {each.lane for each in await store.admission.queued() if each.task.ref == node}
    pool, since = (await store.batcher.call("HGET", store.keys.filed, lane.encode())).split(b" ")
    await store.batcher.call("HSET", store.keys.filed, lane.encode(), b"%b %d" % (pool, int(since) - ms))
    queued = [each for each in await store.admission.queued() if each.lane == lane]
    older = [each._replace(since=each.since - ms) for each in queued]
    await store.batcher.call("ZREM", store.keys.queue, *(each.encode() for each in queued))
    await store.batcher.call("ZADD", store.keys.queue, *(x for each in older for x in (0, each.encode())))
    await store.admission.file([lane])


async def held(store: Store, pool: str) -> dict[str, int]:
    return {holder.task.ref: holder.slots for holder in await store.pools.holders(pool)}


async def nothing_is_left(store: Store) -> None:
    for pool, used in (await store.pools.used()).items():
        assert used == 0, pool
        assert await store.pools.holders(pool) == []
    assert await store.admission.queued() == []
    for key in (store.keys.waits, store.keys.filed, store.keys.aging, store.keys.shares):
        assert not await store.batcher.call("EXISTS", key), key


class TestTaking:
    async def test_a_node_run_takes_the_slots_of_all_its_pools_at_once(self, store: Store, hand):
        await store.pools.put("db", 2)
        run = await hand.begin({"a": step("db", {"name": "gpu", "slots": 3})})
        assert await ask(hand, run, "a") == [1]
        assert await held(store, "global") == await held(store, "db") == {"a": 1}
        assert await held(store, "gpu") == {"a": 3}
        assert await store.pools.used() == {"global": 1, "db": 1, "gpu": 3}

    async def test_without_a_slot_of_one_it_takes_none_of_the_others(self, store: Store, hand):
        await store.pools.put("db", 1)
        run = await hand.begin({"a": step("db"), "b": step("db", "gpu")})
        assert await ask(hand, run, "a", "b") == [1, 0]
        assert await held(store, "gpu") == {}
        assert await held(store, "global") == {"a": 1}

    async def test_a_type_and_a_workflow_have_pools_of_their_own_once_their_slots_are_set(
        self, store: Store, hand
    ):
        await store.pools.put("type:step", 2)
        await store.pools.put("workflow:small", 1)
        small = await hand.begin({"a": step(), "b": step()}, "small")
        large = await hand.begin({"c": step(), "d": step()}, "large")
        assert await ask(hand, small, "a", "b") == [1, 0], "the workflow's pool has one slot"
        assert await ask(hand, large, "c") == [1]
        assert await ask(hand, large, "d") == [0], "the type's pool has two"
        assert await held(store, "type:step") == {"a": 1, "c": 1}

    async def test_a_limit_that_is_set_later_counts_what_runs_already(self, store: Store, hand):
        run = await hand.begin({"a": step(), "b": step()})
        await ask(hand, run, "a")
        await store.pools.put("workflow:w", 1)
        assert await held(store, "workflow:w") == {"a": 1}
        assert await ask(hand, run, "b") == [0]
        await end(store, hand, run, "a")
        assert await take(hand) == ["b"]

    async def test_a_pool_that_nobody_has_set_has_the_slots_of_the_setting_and_is_seen(
        self, store: Store, hand, settings
    ):
        run = await hand.begin({"a": step("new")})
        await ask(hand, run, "a")
        assert (await store.pools.slots())["new"] == settings.pool_slots


class TestResizing:
    async def test_more_slots_are_taken_at_once(self, store: Store, hand):
        await store.pools.put("db", 1)
        run = await hand.begin({"a": step("db"), "b": step("db")})
        await ask(hand, run, "a", "b")
        assert await take(hand) == []
        await store.pools.put("db", 2)
        assert await take(hand) == ["b"]

    async def test_fewer_slots_than_are_held_end_nothing_and_admit_nothing(self, store: Store, hand):
        await store.pools.put("db", 2)
        run = await hand.begin({name: step("db") for name in "abc"})
        await ask(hand, run, "a", "b", "c")
        await store.pools.put("db", 1)
        assert len(await held(store, "db")) == 2
        await end(store, hand, run, "a")
        assert await take(hand) == [], "one is held still, and there is one slot"
        await end(store, hand, run, "b")
        assert await take(hand) == ["c"]


class TestTurns:
    async def test_a_head_that_lacks_another_slot_is_passed_over(self, store: Store, hand):
        await store.pools.put("db", 1)
        await store.pools.put("global", 3)
        run = await hand.begin({name: step("db") for name in "abc"} | {"free": step()})
        await ask(hand, run, "a", "b", "c")
        await ask(hand, run, "free")
        assert await held(store, "global") == {"a": 1, "free": 1}

    async def test_priority_goes_before_the_time_of_waiting(self, store: Store, hand):
        await store.pools.put("global", 0)
        run = await hand.begin({"late": step(priority=5), "usual": step(), "urgent": step(priority=1)})
        await ask(hand, run, "late", "usual", "urgent")
        await store.pools.put("global", 9)
        assert await take(hand) == ["urgent", "usual", "late"]

    async def test_every_minute_of_waiting_is_one_step_of_priority(self, store: Store, hand):
        await store.pools.put("global", 0)
        run = await hand.begin({"old": step(priority=5), "new": step(priority=3)})
        await ask(hand, run, "old", "new")
        await aged(store, 3 * STEP_MS, "old")
        await store.pools.put("global", 1)
        assert await take(hand) == ["old"]

    async def test_a_run_gives_its_priority_to_nodes_without_one(self, store: Store, hand):
        await store.pools.put("global", 0)
        usual = await hand.begin({"usual": step()}, "one")
        await hand.publish({"name": "two", "nodes": {"urgent": step(), "own": step(priority=4)}})
        await hand.accept("two", priority=1)
        trigger = await hand.queued()
        await store.triggers.start_run(trigger, 2)
        await hand.decide()
        lanes = {each.task.ref: each.lane.priority for each in await store.admission.queued()}
        assert lanes == {"usual": 3, "urgent": 1, "own": 4}
        assert usual != trigger.run

    async def test_ten_thousand_of_one_workflow_delay_the_one_of_another_by_one_turn(
        self, store: Store, hand
    ):
        await store.pools.put("global", 1)
        crowd = await hand.begin({"head": step()}, "crowd")
        (first,) = await hand.waiting(task(crowd, "head"))
        await ask(hand, crowd, "head")
        members = [Waiting(first.lane, first.since, 1, Task(crowd, f"head:{i}", 1, 0)) for i in range(10_000)]
        pairs = [value for each in members for value in (0, each.encode())]
        await store.batcher.call("ZADD", store.keys.queue, *pairs)
        await store.admission.file([first.lane])
        await aged(store, 60 * STEP_MS, "head:0")
        lonely = await hand.begin({"one": step()}, "lonely")
        assert await ask(hand, lonely, "one") == [0]
        await store.pools.put("global", 9)
        heads = await store.admission.heads(3)
        assert [each.task.ref for each in heads.taken][1] == "one", "however long the crowd has waited"

    async def test_workflows_have_equal_shares_whatever_they_have_waiting(self, store: Store, hand):
        await store.pools.put("global", 0)
        big = await hand.begin({f"big{i}": step() for i in range(8)}, "big")
        await ask(hand, big, *(f"big{i}" for i in range(8)))
        small = await hand.begin({f"small{i}": step() for i in range(3)}, "small")
        await ask(hand, small, *(f"small{i}" for i in range(3)))
        order: list[str] = []
        for slots in range(1, 8):
            await store.pools.put("global", slots)
            order += [node.rstrip("0123456789") for node in await take(hand, 1)]
        assert order.count("small") == 3
        assert "small" in order[:2]
        assert order[:6].count("big") == 3


class TestReserving:
    async def crowded(self, store: Store, hand) -> str:
        """`both` needs two pools whose slots never come free together."""
        await store.pools.put("a", 1)
        await store.pools.put("b", 1)
        nodes = {"a1": step("a"), "b1": step("b"), "both": step("a", "b"), "a2": step("a"), "b2": step("b")}
        run = await hand.begin(nodes)
        assert await ask(hand, run, *nodes) == [1, 1, 0, 0, 0]
        return run

    async def test_one_that_needs_two_pools_is_passed_over_at_first(self, store: Store, hand):
        run = await self.crowded(store, hand)
        await end(store, hand, run, "a1")
        assert await take(hand) == ["a2"]

    async def test_after_ten_minutes_at_priority_1_freed_slots_are_kept_for_it_pool_by_pool(
        self, store: Store, hand
    ):
        run = await self.crowded(store, hand)
        await aged(store, 2 * STEP_MS + PATIENCE_MS, "both")
        await end(store, hand, run, "a1")
        assert await take(hand) == [], "the slot of a is kept"
        place = await store.pools.place(run, "a2")
        assert place is not None
        assert place["lacks"][0]["reserved"] is True
        await aged(store, 0, "both")
        await end(store, hand, run, "b1")
        assert await take(hand) == ["both"]
        assert await held(store, "a") == await held(store, "b") == {"both": 1}
        await end(store, hand, run, "both")
        assert sorted(await take(hand)) == ["a2", "b2"]

    async def test_what_comes_new_does_not_take_a_slot_that_is_kept(self, store: Store, hand):
        run = await self.crowded(store, hand)
        await aged(store, 2 * STEP_MS + PATIENCE_MS, "both")
        await end(store, hand, run, "a1")
        other = await hand.begin({"new": step("a")}, "other")
        assert await ask(hand, other, "new") == [0]


class TestGivingBack:
    @pytest.fixture
    async def run(self, store: Store, hand) -> str:
        """`a` holds three pools; nothing else is there."""
        await store.pools.put("workflow:w", 5)
        run = await hand.begin({"a": step("db", {"name": "gpu", "slots": 4}, retry={"max_attempts": 1})})
        assert await ask(hand, run, "a") == [1]
        return run

    async def test_success_gives_every_slot_back(self, store: Store, hand, run: str):
        await end(store, hand, run, "a")
        await nothing_is_left(store)

    async def test_failure_gives_every_slot_back(self, store: Store, hand, run: str):
        await store.nodes.start(NodeCall(run, "a", 1), "pod", 60_000, [])
        await store.nodes.fail(NodeCall(run, "a", 1), 1, "Broken", "no", True)
        await hand.decide()
        await nothing_is_left(store)

    async def test_the_back_off_after_an_infrastructure_fault_holds_none(self, store: Store, hand, run: str):
        await store.workers.exited(run, exit_of(task(run, "a"), type="lost", infra=True))
        await hand.decide()
        assert (await store.runs.node(run, "a"))["status"] == "waiting"
        await nothing_is_left(store)

    async def test_a_run_that_the_engine_ends_gives_them_back_as_its_processes_go(
        self, store: Store, hand, run: str
    ):
        from app.core.decide import fail_run

        await hand.signal(run, Signal(SignalKind.DUE, "a"))
        entry, loaded = await hand.claim(), await hand.load(run)
        changes = fail_run(loaded.view, loaded.now, "a fault")
        changes.consumed = len(loaded.raw)
        await store.engine.commit(loaded, entry.id, changes)
        assert (await store.pools.used())["gpu"] == 4
        await store.workers.exited(run, exit_of(task(run, "a"), code=-9))
        await hand.decide()
        await nothing_is_left(store)

    async def test_a_holder_whose_attempt_is_over_is_taken_out_and_a_live_one_is_not(
        self, store: Store, hand, run: str
    ):
        gone = Task(run, "a", 7, 0)
        await store.batcher.call("HSET", store.keys.pool("gpu"), gone.encode(), "1 2 w step")
        await store.batcher.call("HINCRBY", store.keys.pool("gpu"), "+", 1)
        assert await store.pools.all_holders() == {
            task(run, "a"): ["global", "workflow:w", "db", "gpu"], gone: ["gpu"],
        }  # fmt: skip
        assert await store.pools.reconcile(gone, ["gpu"]) is True
        assert await store.pools.reconcile(task(run, "a"), ["gpu", "db"]) is False
        assert await held(store, "gpu") == {"a": 4}
        assert (await store.pools.used())["gpu"] == 4


class TestMending:
    async def test_what_a_worker_left_between_its_commit_and_its_admission_is_filed(self, store: Store, hand):
        await hand.begin({"a": step(), "b": step(priority=1)})
        assert await take(hand) == []
        assert await store.mending.sweep() == 2
        assert await take(hand) == ["b", "a"]
        assert await store.mending.sweep() == 0

    async def test_what_an_older_release_made_ready_is_taken_over(self, store: Store, hand):
        run = await hand.begin({"a": step()})
        await store.batcher.call("DEL", store.keys.queue)
        await store.batcher.call("ZADD", store.keys.ready, 5, task(run, "a").encode(), 6, "rgone|x|1|0")
        await store.mending.sweep()
        assert await store.batcher.call("EXISTS", store.keys.ready) == 0
        assert await take(hand) == ["a"]

    async def test_a_holder_that_an_older_release_wrote_is_read(self, store: Store, hand):
        run = await hand.begin({"a": step()})
        await store.batcher.call("HSET", store.keys.pool("global"), task(run, "a").encode(), "123")
        (holder,) = await store.pools.holders()
        assert (holder.since, holder.slots, holder.workflow) == (123, 1, "")

    async def test_a_reservation_for_one_that_is_gone_ends(self, store: Store, hand):
        await store.batcher.call("HSET", store.keys.waits, "db", "1 gone")
        await store.mending.sweep()
        await nothing_is_left(store)


class TestPlace:
    async def test_one_that_waits_is_told_what_it_lacks_and_who_holds_it(self, store: Store, hand):
        await store.pools.put("db", 1)
        run = await hand.begin({name: step("db") for name in "abc"})
        await ask(hand, run, "a", "b", "c")
        place, unseen = await store.pools.place(run, "c"), await store.pools.place(run, "c", "other-")
        assert place is not None
        assert unseen is not None
        (lack,) = place["lacks"]
        assert (place["ahead"], lack["pool"], lack["slots"], lack["used"]) == (1, "db", 1, 1)
        assert [holder["node"] for holder in lack["holders"]] == ["a"]
        assert unseen["lacks"][0]["holders"] == []

    async def test_one_that_runs_waits_for_nothing(self, store: Store, hand):
        run = await hand.begin({"a": step()})
        await ask(hand, run, "a")
        assert await store.pools.place(run, "a") is None
