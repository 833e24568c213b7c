"""Admission against a slow model: random workflows, pools and priorities, and the same question asked of both (M15, B3).

The model knows every waiting node run and compares them all; the store files them in lanes and looks at heads. After every act:
no pool has more holders than slots allowed when each was admitted, what is admitted was the model's choice, and whoever has
room in all its pools is admitted before the queue is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from app.core.graph import Graph
from app.core.pools import Lane, Waiting, pools_of
from app.core.tasks import Task
from app.settings import Settings
from app.store.admission import Admission, Asking
from app.store.mending import Mending
from app.store.pools import Holder
from app.store.store import Store

NEEDS = ("step:", "step:a", "step:a,b", "step:b*2", "other:b", "step:a,b*2,c")
WORKFLOWS = ("w1", "w2", "w3")
EXAMPLES = hypothesis.settings(max_examples=40, stateful_step_count=30, deadline=None, derandomize=True,
                               suppress_health_check=[hypothesis.HealthCheck.too_slow])  # fmt: skip
POOLS = ("global", "a", "b", "c", "type:step", "workflow:w1")


@dataclass(frozen=True)
class One:
    """A waiting node run as the model knows it."""

    waiting: Waiting
    order: int

    @property
    def needs(self) -> dict[str, int]:
        return dict(pools_of(self.waiting.lane.needs, self.waiting.lane.workflow))


class Model:
    """Everything that waits and everything that holds, compared one by one."""

    def __init__(self) -> None:
        self.slots: dict[str, int] = {"global": 4, "a": 1, "b": 2, "c": 1}
        self.waiting: dict[Task, One] = {}
        self.holders: dict[Task, dict[str, int]] = {}

    def free(self, pool: str) -> int | None:
        if pool not in self.slots:
            return None
        return self.slots[pool] - sum(held.get(pool, 0) for held in self.holders.values())

    def has_room(self, one: One) -> bool:
        return all((free := self.free(pool)) is None or free >= slots for pool, slots in one.needs.items())

    def first_of_lanes(self) -> list[One]:
        heads: dict[Lane, One] = {}
        for one in sorted(self.waiting.values(), key=lambda each: each.order):
            heads.setdefault(one.waiting.lane, one)
        return list(heads.values())

    def best(self) -> int | None:
        """The most urgent priority of a head that has room."""
        return min(
            (one.waiting.lane.priority for one in self.first_of_lanes() if self.has_room(one)), default=None
        )

    def admit(self, task: Task) -> None:
        self.holders[task] = self.waiting.pop(task).needs


class Admissions(RuleBasedStateMachine):
    held = Bundle("held")
    loop: asyncio.AbstractEventLoop
    make: Callable[[], Coroutine[Any, Any, Store]]

    def __init__(self) -> None:
        super().__init__()
        self.store = self.do(self.make())
        self.model = Model()
        self.count = 0

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    @initialize()
    def pools(self) -> None:
        for pool, slots in self.model.slots.items():
            self.do(self.store.pools.put(pool, slots))

    @rule(target=held, workflow=st.sampled_from(WORKFLOWS), needs=st.sampled_from(NEEDS),
          priority=st.integers(2, 4), count=st.integers(1, 4), dies=st.booleans())  # fmt: skip
    def ready(self, workflow: str, needs: str, priority: int, count: int, dies: bool) -> Any:
        """Node runs become ready in one commit; their worker may die before it asks."""
        lane, now = Lane(needs, workflow, priority), self.do(self.store.workers.now())
        fresh: list[Waiting] = []
        for _ in range(count):
            self.count += 1
            task = Task(f"r{self.count:04d}", "n", 1, 0)
            waiting = Waiting(lane, now, 1, task)
            self.do(self._ready(waiting))
            self.model.waiting[task] = One(waiting, self.count)
            fresh.append(waiting)
        if dies:
            return multiple()
        others = {one.waiting.task for one in self.model.waiting.values()} - {each.task for each in fresh}
        wait_before = {pool for task in others for pool in self.model.waiting[task].needs}
        verdicts = self.do(
            self.store.admission.admit([Asking(each, 1000) for each in fresh], now, fresh=True)
        )
        for each, verdict in zip(fresh, verdicts, strict=True):
            one = self.model.waiting[each.task]
            if verdict == 1:
                assert self.model.has_room(one)
                self.model.admit(each.task)
            elif not wait_before & one.needs.keys():
                assert not self.model.has_room(one), "nobody waits for its pools, and they have room"
        return multiple(*(each.task for each, verdict in zip(fresh, verdicts, strict=True) if verdict == 1))

    async def _ready(self, waiting: Waiting) -> None:
        call, keys, task = self.store.batcher.call, self.store.keys, waiting.task
        await call("HSET", keys.run(task.run), "s", "running", "w", waiting.lane.workflow, "v", 1)
        await call("HSET", keys.node(task.run, task.ref), "s", "ready", "a", 1, "l", 0, "y", waiting.since)
        await call("ZADD", keys.queue, 0, waiting.encode())

    @rule(target=held, places=st.integers(1, 5))
    def look(self, places: int) -> Any:
        """A worker with so many places looks at the queue until it finds no more; what it takes was the best to be had."""
        self.do(self.store.mending.sweep())
        taken: list[Task] = []
        for _ in range(20):
            heads = self.do(self.store.admission.heads(places - len(taken)))
            asking = [Asking(each, 1000) for each in heads.taken]
            verdicts = self.do(self.store.admission.admit(asking, heads.now, lanes=heads.lanes))
            assert set(verdicts) <= {1}
            for each in heads.taken:
                assert each.lane.priority == self.model.best()
                assert each.task in {one.waiting.task for one in self.model.first_of_lanes()}
                self.model.admit(each.task)
                taken.append(each.task)
            if len(taken) == places or not (heads.taken or heads.more or heads.lanes):
                break
        if len(taken) < places:
            assert self.model.best() is None, "who has room in all its pools is admitted"
        return multiple(*taken)

    @rule(task=consumes(held))
    def ends(self, task: Task) -> None:
        """An attempt is over: the sweep takes it out as a commit would."""

        async def over() -> bool:
            await self.store.batcher.call("HSET", self.store.keys.node(task.run, task.ref), "s", "succeeded")
            return await self.store.pools.reconcile(task, self.model.holders.pop(task))

        assert self.do(over())

    @rule(pool=st.sampled_from(POOLS), slots=st.integers(0, 5))
    def resize(self, pool: str, slots: int) -> None:
        self.do(self.store.pools.put(pool, slots))
        self.model.slots[pool] = slots

    @invariant()
    def the_holders_are_those_of_the_model(self) -> None:
        for pool in self.model.slots:
            found: list[Holder] = self.do(self.store.pools.holders(pool))
            known = {task: held[pool] for task, held in self.model.holders.items() if pool in held}
            assert {holder.task: holder.slots for holder in found} == known
            assert self.do(self.store.admission.used([pool]))[pool] == sum(known.values())

    def teardown(self) -> None:
        async def clear() -> None:
            names = await self.store.batcher.call("KEYS", f"{self.store.keys.tag}*")
            await self.store.batcher.call("DEL", *names)
            await self.store.close()

        self.do(clear())


async def _no_graph(workflow: str, version: int) -> Graph:
    return Graph(workflow, version, [], {}, [], None)


def test_admission_agrees_with_a_slow_model(settings: Settings):
    loop = asyncio.new_event_loop()

    async def make() -> Store:
        """An empty cell for every example."""
        store = await Store.open(settings)
        store.admission = Admission(
            store.batcher, store.keys, _no_graph, global_slots=4, pool_slots=1, lease_ms=10_000
        )
        store.mending = Mending(store.batcher, store.keys, store.admission, _no_graph)
        return store

    class Here(Admissions):
        def __init__(self) -> None:
            self.loop, self.make = loop, make
            super().__init__()

    try:
        run_state_machine_as_test(Here, settings=EXAMPLES)
    finally:
        loop.close()
