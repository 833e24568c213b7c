"""Workers and what they hold: health, submissions under lease, processes per host, slots."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from app.core.pools import GLOBAL
from app.core.signals import Signal, encode, in_doubt
from app.core.states import NODE_LIVE, STEPS, NodeStatus
from app.core.tasks import Task
from app.store.client import Batcher, Script, pairs
from app.store.keys import Keys

LAUNCHED = Script("launched")
LEASE = Script("lease")
ANNOUNCE = Script("announce")
EXIT = Script("exit")

AT_ONCE = 1000
"""Submissions that are renewed by one command."""
HEALTH_MS = 10_000
"""A worker that has not renewed its key for so long is dead."""


class NodeState(NamedTuple):
    """What executors and sweeps ask of a node run."""

    status: NodeStatus | None
    """None where there is no such node run."""
    attempt: int
    launch: int
    stop: str
    """Why its process must stop; "" while it may go on."""
    launched: bool
    """Whether its process was recorded."""

    def lives(self, task: Task) -> bool:
        """Whether a launch is the live one; another, or none, is live otherwise."""
        return self.status in NODE_LIVE and (self.attempt, self.launch) == (task.attempt, task.launch)


class Lived(NamedTuple):
    """The life of a process, in ms before now."""

    began: int
    ended: int


LINGER_MS = 30_000
"""How long a process may go on after its attempt has ended."""


class Workers:
    def __init__(self, batcher: Batcher, keys: Keys, lease_ms: int) -> None:
        self._batcher = batcher
        self._keys = keys
        self._lease_ms = lease_ms

    async def announce(self, worker: str, record: dict[str, Any]) -> None:
        """Say that a worker is live: it can claim. `record` tells {host, pid, ...}."""
        keys = [self._keys.workers, self._keys.worker_info]
        await self._batcher.script(ANNOUNCE, keys, [worker, HEALTH_MS, orjson.dumps(record)])

    async def withdraw(self, worker: str) -> None:
        """A worker ended in good order."""
        await self._batcher.call("ZREM", self._keys.workers, worker)
        await self._batcher.call("HDEL", self._keys.worker_info, worker)

    async def live(self) -> dict[str, dict[str, Any]]:
        """The live workers' records by id."""
        now = await self.now()
        names = [
            raw.decode()
            for raw in await self._batcher.call("ZRANGE", self._keys.workers, now, "+inf", "BYSCORE")
        ]
        if not names:
            return {}
        values = await self._batcher.call("HMGET", self._keys.worker_info, *names)
        return {
            name: orjson.loads(value) for name, value in zip(names, values, strict=True) if value is not None
        }

    async def bury(self, before_ms: int) -> None:
        """Forget workers that were last live before a time."""
        gone = await self._batcher.call("ZRANGE", self._keys.workers, "-inf", before_ms, "BYSCORE")
        if gone:
            await self._batcher.call("ZREM", self._keys.workers, *gone)
            await self._batcher.call("HDEL", self._keys.worker_info, *gone)

    async def note_pause(self, now_ms: int) -> None:
        """The store was away until now: heartbeats that could not be written are not held against any node."""
        await self._batcher.call("SET", self._keys.resumed, now_ms)

    async def now(self) -> int:
        """ms since the epoch by the store's clock."""
        seconds, micros = await self._batcher.call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    # submissions -----------------------------------------------------------------------------------------------

    async def expired_launches(self, limit: int) -> list[Task]:
        """Admitted tasks whose worker has not said that they run, and whose lease has ended; taken over by the caller."""
        now = await self.now()
        raw = await self._batcher.call("ZRANGE", self._keys.launches, 0, now, "BYSCORE", "LIMIT", 0, limit)
        taken = [self._batcher.script(LEASE, [self._keys.launches], [name, self._lease_ms]) for name in raw]
        return [Task.parse(name) for name, reply in zip(raw, taken, strict=True) if await reply == 1]

    async def renew_launches(self, tasks: list[Task], seconds: float | None = None) -> None:
        """Keep submissions that are under way from being taken over, for so long, else for the lease of a worker."""
        if not tasks:
            return
        until = await self.now() + (self._lease_ms if seconds is None else round(seconds * 1000))
        for at in range(0, len(tasks), AT_ONCE):
            scores = [value for task in tasks[at : at + AT_ONCE] for value in (until, task.encode())]
            await self._batcher.call("ZADD", self._keys.launches, "XX", *scores)

    async def launched(self, task: Task, host: str, run_ms: int, record: dict[str, Any]) -> bool:
        """Record the process of a launch. False when the launch is not live any more: stop the process."""
        keys = [
            self._keys.node(task.run, task.ref),
            self._keys.launches,
            self._keys.timers,
            self._keys.procs(host),
        ]
        args = [
            task.encode(),
            task.attempt,
            task.launch,
            task.timer,
            run_ms,
            orjson.dumps(record),
            NodeStatus.STARTING,
        ]
        return await self._batcher.script(LAUNCHED, keys, args) == 1

    async def admitted(self, task: Task) -> int | None:
        """ms, by the store's clock, when a launch was admitted that has not called start yet; None for any other."""
        key = self._keys.node(task.run, task.ref)
        status, attempt, launch, admitted = await self._batcher.call("HMGET", key, "s", "a", "l", "b")
        starting = status == NodeStatus.STARTING.encode()
        mine = (int(attempt or 0), int(launch or 0)) == (task.attempt, task.launch)
        return int(admitted) if starting and mine and admitted else None

    async def processes(self, host: str) -> dict[Task, dict[str, Any]]:
        """The records of the processes on a host."""
        rows = await self._batcher.call("HGETALL", self._keys.procs(host))
        return {Task.parse(task): orjson.loads(record) for task, record in pairs(rows)}

    async def exited(self, run: str, signal: Signal, lived: Lived | None = None) -> None:
        """Tell the run that a launch ended, unless its attempt has ended by itself already.

        Where it is known when its process `lived`, one that is older than the store is told in doubt: see app.core.signals.
        An exit 0 long after the store began is a plain program's: another would have been refused until then.
        """
        keys = self._keys
        names = [keys.node(run, signal.ref), keys.run(run), keys.inbox(run), keys.active]
        began, ended = lived or (-1, 0)
        soon = LINGER_MS if signal.code == 0 else -1
        args = [signal.attempt, signal.launch, run, encode(signal), len(STEPS),
                began, ended, soon, encode(in_doubt(signal)), *NODE_LIVE]  # fmt: skip
        await self._batcher.script(EXIT, names, args)

    async def adopt(self, task: Task, host: str, record: dict[str, Any]) -> None:
        """Another worker watches the process from now on; `record` names it."""
        await self._batcher.call("HSET", self._keys.procs(host), task.encode(), orjson.dumps(record))

    async def forget_process(self, task: Task, host: str) -> None:
        await self._batcher.call("HDEL", self._keys.procs(host), task.encode())

    # slots ------------------------------------------------------------------------------------------------------

    async def holders(self) -> dict[Task, int]:
        """Who holds a slot of the pool `global`, as every attempt that lives does, and since when (ms)."""
        rows = await self._batcher.call("HGETALL", self._keys.pool(GLOBAL))
        return {Task.parse(task): int(value.partition(b" ")[0]) for task, value in pairs(rows)}

    async def is_launching(self, task: Task) -> bool:
        return await self._batcher.call("ZSCORE", self._keys.launches, task.encode()) is not None

    async def states(self, tasks: list[Task]) -> list[NodeState]:
        """Of each task's node run."""
        calls = [
            self._batcher.call("HMGET", self._keys.node(task.run, task.ref), "s", "a", "l", "t", "g")
            for task in tasks
        ]
        found: list[NodeState] = []
        for call in calls:
            status, attempt, launch, stop, launched = await call
            found.append(
                NodeState(
                    NodeStatus(status.decode()) if status else None,
                    int(attempt or 0),
                    int(launch or 0),
                    (stop or b"").decode(),
                    (launched or b"0") != b"0",
                )
            )
        return found

    async def goes_on(self, task: Task) -> bool:
        """Whether a launch is its node run's live one, and nothing says that it must stop."""
        (state,) = await self.states([task])
        return state.lives(task) and not state.stop

    async def versions(self, runs: list[str]) -> dict[str, tuple[str, int]]:
        """Workflow and version of runs that exist."""
        calls = [self._batcher.call("HMGET", self._keys.run(run), "w", "v") for run in runs]
        rows = [await call for call in calls]
        return {
            run: (row[0].decode(), int(row[1]))
            for run, row in zip(runs, rows, strict=True)
            if row[0] is not None
        }
