"""Calls to services under way, and the circuits of their hosts.

A call is a member of `calls` from its launch until its attempt ends, scored with the time at which a worker looks at it
next: the lease of the one that sends it, its next poll, or the end of its time where only a callback is awaited. So no
call depends on the memory of a worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from app.core.services import Waiting
from app.core.signals import Signal, SignalKind, encode
from app.core.states import NODE_LIVE, STEPS, NodeStatus, Step
from app.core.tasks import Task
from app.errors import NotFound
from app.store.client import Arg, Batcher, Script
from app.store.keys import Keys
from app.store.nodes import NodeCall, checked

BEGIN = Script("call_begin")
CLAIM = Script("call_claim")
DEFER = Script("call_defer")
FAIL = Script("call_fail")
LOOK = Script("call_look")

FIELDS = ("s", "a", "l", "e", "p", "r", "su", "d")


@dataclass(slots=True, frozen=True)
class Call:
    """What the store knows of a call when a worker takes it up."""

    task: Task
    workflow: str
    version: int
    status: NodeStatus | None
    attempt: int
    launch: int
    epoch: int
    step: str | None
    """The last step that ended."""
    running: int
    """ms when its attempt began."""
    url: str | None
    """Where expressions were in it."""
    waiting: Waiting | None
    """Of the task's own attempt, where the service has accepted it."""

    @property
    def live(self) -> bool:
        """Whether the node run still waits for this very launch."""
        same = (self.attempt, self.launch) == (self.task.attempt, self.task.launch)
        return same and self.status in NODE_LIVE

    @property
    def answered(self) -> bool:
        return self.status is NodeStatus.SUCCEEDED or (self.live and self.step == Step.FINALIZE)


class Calls:
    def __init__(self, batcher: Batcher, keys: Keys, lease_ms: int) -> None:
        self._batcher = batcher
        self._keys = keys
        self._lease_ms = lease_ms

    async def begin(self, task: Task) -> bool:
        """The launch is in our hands, under our lease. False when it is not the live one any more."""
        keys = [self._keys.node(task.run, task.ref), self._keys.launches, self._keys.calls]
        args = [task.encode(), task.attempt, task.launch, self._lease_ms, NodeStatus.STARTING]
        return await self._batcher.script(BEGIN, keys, args) == 1

    async def defer(self, task: Task, delay_ms: int, why: str) -> bool:
        """The launch cannot begin now; the same attempt is launched again after a while."""
        keys, run = self._keys, task.run
        signal = Signal(
            SignalKind.DEFER, task.ref, attempt=task.attempt, launch=task.launch, delay=delay_ms, message=why
        )
        names = [keys.node(run, task.ref), keys.run(run), keys.inbox(run), keys.active, keys.launches]
        args: list[Arg] = [task.encode(), task.attempt, task.launch, run, encode(signal), NodeStatus.STARTING]
        return await self._batcher.script(DEFER, names, args) == 1

    async def claim(self, most: int) -> tuple[list[Task], float | None]:
        """Calls to look at, leased to us; and the seconds until the next one, None without any."""
        now, coming, *tasks = await self._batcher.script(CLAIM, [self._keys.calls], [most, self._lease_ms])
        wait = None if coming is None else max(float(coming) - now, 0) / 1000
        return [Task.parse(raw) for raw in tasks], wait

    async def load(self, task: Task) -> Call | None:
        """The call as it stands; None where its run is gone."""
        node = self._batcher.call("HMGET", self._keys.node(task.run, task.ref), *FIELDS)
        workflow, version = await self._batcher.call("HMGET", self._keys.run(task.run), "w", "v")
        s, a, l, e, p, r, su, d = await node  # noqa: E741
        if workflow is None:
            return None
        return Call(
            task, workflow.decode(), int(version), NodeStatus(s.decode()) if s else None, int(a or 0), int(l or 0),
            int(e or 0), STEPS[int(p) - 1] if p else None, int(r or 0), su.decode() if su else None,
            Waiting.parse(d, task.attempt),
        )  # fmt: skip

    async def renew(self, tasks: Sequence[Task], now: int) -> None:
        """Keep calls that we are sending ours."""
        if tasks:
            scores = [value for task in tasks for value in (now + self._lease_ms, task.encode())]
            await self._batcher.call("ZADD", self._keys.calls, "XX", *scores)

    async def look(self, task: Task, in_ms: int) -> None:
        """A worker looks at the call again after so many ms."""
        await self._batcher.script(LOOK, [self._keys.calls], [task.encode(), in_ms])

    async def forget(self, task: Task) -> None:
        """The attempt has ended, and nothing is left to do for its call."""
        await self._batcher.call("ZREM", self._keys.calls, task.encode())

    async def held(self) -> set[Task]:
        """Every call under way."""
        return {Task.parse(raw) for raw in await self._batcher.call("ZRANGE", self._keys.calls, 0, -1)}

    async def next(self, task: Task) -> int | None:
        """ms when a worker looks at the call next; None where there is no such call."""
        score = await self._batcher.call("ZSCORE", self._keys.calls, task.encode())
        return None if score is None else int(float(score))

    async def fail(self, task: Task, epoch: int, error: Signal, callback: bytes | None = None) -> None:
        """The attempt failed, as `error` says. `callback` is the body that says so: the same again changes nothing.

        Raises StaleEpoch, NotFound.
        """
        keys, run = self._keys, task.run
        stamp = "" if callback is None else _stamp(task.attempt, callback)
        names = [keys.node(run, task.ref), keys.run(run), keys.inbox(run), keys.active, keys.calls]
        args: list[Arg] = [task.attempt, epoch, run, encode(error), task.encode(), stamp]
        checked(await self._batcher.script(FAIL, names, args))

    async def answered(self, run: str, ref: str, attempt: int, callback: bytes) -> bool:
        """Whether this very callback has failed the attempt already."""
        stamp = await self._batcher.call("HGET", self._keys.node(run, ref), "cb")
        return stamp == _stamp(attempt, callback).encode()

    async def holder(self, call: NodeCall) -> tuple[Task, int]:
        """The launch and the epoch in which a node run is now. Raises NotFound."""
        status, launch, epoch = await self._batcher.call(
            "HMGET", self._keys.node(call.run, call.ref), "s", "l", "e"
        )
        if status is None:
            raise NotFound("There is no such node run.")
        return Task(call.run, call.ref, call.attempt, int(launch or 0)), int(epoch or 0)


def _stamp(attempt: int, callback: bytes) -> str:
    return f"{attempt}:{blake2b(callback, digest_size=8).hexdigest()}"
