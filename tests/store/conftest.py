"""The worker's part, played by hand: one call at a time, so that a test can stop between any two."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.core.decide import decide
from app.core.pools import Lane, Waiting
from app.core.round import iso
from app.core.signals import Signal
from app.core.tasks import Task
from app.core.view import Changes
from app.store.admission import Asking
from app.store.client import pairs
from app.store.engine import Loaded
from app.store.nodes import NodeCall, StepReport
from app.store.store import Store
from app.store.streams import Entry
from app.store.triggers import QueuedTrigger, Trigger, read_trigger


@pytest.fixture(autouse=True)
def _keys_are_checked(key_check: None) -> None:
    """Every test here ends with the key leak check."""


class Hand:
    """Does what workers do, when a test says so."""

    def __init__(self, store: Store, publish: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self.store = store
        self.publish = publish
        self.triggers = store.stream(store.keys.triggers, "hand")
        self.active = store.stream(store.keys.active, "hand")

    async def accept(self, workflow: str = "w", **more: Any) -> str:
        accepted = await self.store.triggers.accept(Trigger(workflow, 1, "api", {}, **more))
        assert accepted.run is not None
        return accepted.run

    async def queued(self) -> QueuedTrigger:
        (entry,) = await self.triggers.read(1, 1000)
        return read_trigger(entry.id, entry.fields)

    async def begin(self, nodes: dict[str, Any], name: str = "w") -> str:
        """A run of these nodes, its roots ready."""
        run = await self.begun(nodes, name)
        await self.decide()
        return run

    async def begun(self, nodes: dict[str, Any], name: str = "w") -> str:
        """A run of these nodes, nothing decided yet."""
        await self.publish({"name": name, "nodes": nodes})
        run = await self.accept(name)
        assert await self.store.triggers.start_run(await self.queued(), len(nodes))
        return run

    async def claim(self) -> Entry:
        (entry,) = await self.active.read(1, 1000)
        return entry

    async def load(self, run: str) -> Loaded:
        loaded = await self.store.engine.load(run)
        assert loaded is not None
        return loaded

    async def decided(self, run: str) -> tuple[Loaded, Changes]:
        loaded = await self.load(run)
        assert loaded.fault is None
        return loaded, decide(loaded.view, loaded.signals, loaded.now, 0.5)

    async def decide(self) -> None:
        """Every run that is active, as often as it is."""
        while await self.store.batcher.call("XLEN", self.store.keys.active):
            entry = await self.claim()
            loaded, changes = await self.decided(entry.fields[b"r"].decode())
            await self.store.engine.commit(loaded, entry.id, changes)

    async def waiting(self, *tasks: Task) -> list[Waiting]:
        """As they stand in the queue; one that does not stand there as if it came new."""
        queued = {each.task: each for each in await self.store.admission.queued()}
        return [queued.get(task) or await self._unqueued(task) for task in tasks]

    async def _unqueued(self, task: Task) -> Waiting:
        workflow, version = (await self.store.workers.versions([task.run]))[task.run]
        node = (await self.store.graphs.get(workflow, version)).node_of(task.ref)
        return Waiting(Lane(node.needs_slots, workflow, node.priority or 3), 0, version, task)

    async def admit(self, *tasks: Task, start_ms: int = 60_000, fresh: bool = False) -> list[int]:
        """Admit in this order, or as if they were just made ready."""
        asking = [Asking(each, start_ms) for each in await self.waiting(*tasks)]
        return await self.store.admission.admit(asking, await self.store.workers.now(), fresh=fresh)

    async def turns(self, places: int = 64) -> list[Task]:
        """Whose turn it is, by a look at the queue; lanes are filed anew as workers do."""
        heads = await self.store.admission.heads(places)
        await self.store.admission.file(heads.lanes)
        return [each.task for each in heads.taken]

    async def started(
        self, run: str, ref: str, attempt: int = 1, instance: str = "pod-1"
    ) -> tuple[NodeCall, int]:
        """Admit and start a ready node run: who speaks, and its epoch."""
        assert await self.admit(Task(run, ref, attempt, 0)) == [1]
        call = NodeCall(run, ref, attempt)
        return call, (await self.store.nodes.start(call, instance, 60_000, [])).epoch

    async def finish(self, run: str, ref: str, metadata: bytes = b"null") -> None:
        call, epoch = await self.started(run, ref)
        steps = [StepReport("configure"), StepReport("execute"), StepReport("output", metadata=metadata)]
        await self.store.nodes.checkpoint(call, epoch, [*steps, StepReport("finalize")])

    async def node(self, run: str, ref: str) -> dict[bytes, bytes]:
        return dict(pairs(await self.store.batcher.call("HGETALL", self.store.keys.node(run, ref))))

    async def inbox(self, run: str) -> list[bytes]:
        return await self.store.batcher.call("LRANGE", self.store.keys.inbox(run), 0, -1)

    async def signal(self, run: str, signal: Signal) -> None:
        assert await self.store.engine.signal(run, signal)

    async def snapshot(self) -> dict[bytes, bytes]:
        """Everything that this test has in the store, byte by byte."""
        names = await self.store.batcher.call("KEYS", f"{self.store.keys.tag}*")
        return {name: await self.store.batcher.call("DUMP", name) for name in names}

    async def at(self) -> str:
        return iso(await self.store.workers.now())


@pytest.fixture
def hand(store: Store, publish: Callable[[dict[str, Any]], Awaitable[None]]) -> Hand:
    return Hand(store, publish)
