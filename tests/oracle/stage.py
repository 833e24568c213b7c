"""A driver of the real store: two workers and any number of node processes, all played, in a random order of their calls.

Each call of the engine's doors is one act, so that a worker can die between any two, both can decide the same run at once, and
a process, its double and its zombie speak whenever they like. What a dead worker leaves is found by the doors that the
sweeps use. Nothing sleeps for a timeout: a silent process is dated back, as if it had been silent for long.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson

from app.core.decide import decide
from app.core.signals import Signal, SignalKind, exit_of
from app.core.tasks import Task, split_ref
from app.errors import CommitConflict, StaleEpoch
from app.store.admission import Asking
from app.store.engine import waiting
from app.store.keys import GROUP
from app.store.nodes import NodeCall, StepReport
from app.store.store import Store
from app.store.streams import Entry, SharedStream
from app.store.triggers import Trigger, read_trigger
from tests.oracle.memory import SCRIPTS
from tests.oracle.plans import PARAMS, Plan, metadata_of
from tests.oracle.rules import RUN_TERMINAL, Seen

HOST = "oracle"
STEPS = ("configure", "execute", "output", "finalize")
IDLE = 30
"""Acts without effect after which time is let pass."""
PATIENCE = 40
"""How often time is let pass before the run counts as stuck."""
LONG = 0.05
"""Seconds of a wait that are not waited for."""
Act = Callable[[], Awaitable[None]]


@dataclass(eq=False)
class Worker:
    """One of the two: what it has claimed and not yet acknowledged."""

    store: Store
    active: SharedStream
    held: list[Entry] = field(default_factory=list[Entry])


@dataclass(eq=False)
class Process:
    """One instance of one launch."""

    task: Task
    acts: list[str]
    epochs: list[int] = field(default_factory=list[int])
    """Of each instance that called start so far; all but the last are zombies."""
    last: Callable[[], Awaitable[Any]] | None = None
    """The last call, to be repeated by a client that never saw the answer."""
    dated: bool = False

    @property
    def call(self) -> NodeCall:
        return NodeCall(self.task.run, self.task.ref, self.task.attempt)


class Driver:
    def __init__(self, stores: list[Store], plan: Plan, random: Random) -> None:
        self.plan, self.random = plan, random
        self.workers = [
            Worker(store, store.stream(store.keys.active, f"worker-{number}"))
            for number, store in enumerate(stores)
        ]
        self.store = stores[0]
        self.processes: dict[Task, Process] = {}
        self.over: list[Process] = []
        """Processes whose end was told; what they still say must change nothing."""
        self.launches: dict[str, int] = {}
        self.run = ""
        self.conflicts = 0

    # the life of a run ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """The trigger is accepted, and taken from its stream by both workers."""
        accepted = await self.store.triggers.accept(Trigger("w", 1, "api", PARAMS))
        assert accepted.run is not None
        self.run = accepted.run
        (entry,) = await self.store.stream(self.store.keys.triggers, "worker-0").read(1, 1000)
        trigger = read_trigger(entry.id, entry.fields)
        made = [
            await worker.store.triggers.start_run(trigger, len(self.plan.nodes)) for worker in self.workers
        ]
        assert made == [True, False]
        self.workers[0].held += await self.workers[0].active.read(1, 1000)

    async def play(self) -> None:
        """Until the run has ended and nothing is left of it."""
        idle = waits = 0
        while waits < PATIENCE:
            before = await self._mark()
            await self.random.choice(self._acts())()
            if before == await self._mark():
                idle += 1
            else:
                idle = 0
            if idle > IDLE:
                if await self._ended():
                    return
                await self._catch_up()
                idle, waits = 0, waits + 1
        processes = [(process.task, process.acts) for process in self.processes.values()]
        raise AssertionError(f"the run does not come to an end: {await self.leftovers()} {processes}")

    def _acts(self) -> list[Act]:
        acts: list[Act] = [self._claim, self._claim, self._take_heads, self._fire, self._sweep]
        acts += [self._decide] * 4 * any(worker.held for worker in self.workers)
        acts += [self._go_on] * min(len(self.processes) * 2, 10)
        acts += [self._haunt, self._repeat] if self.random.random() < 0.3 else []
        return acts

    async def _mark(self) -> tuple[Any, ...]:
        """Changes with whatever moves."""
        call = self.store.batcher.call
        size, revision = (
            call("XLEN", self.store.keys.events(self.run)),
            call("HGET", self.store.keys.run(self.run), "k"),
        )
        return (
            await size,
            await revision,
            len(self.processes),
            sum(len(p.acts) for p in self.processes.values()),
        )

    async def _catch_up(self) -> None:
        """Nothing moved for a while: claims of dead workers end, and time passes until the next timer."""
        for worker in self.workers:
            worker.held += [
                e for e in await worker.active.reclaim(0, 10) if e.id not in {h.id for h in worker.held}
            ]
        _, coming = await self.store.engine.due_timers(1)
        if coming is not None and coming > LONG:
            await self._end_waits()
        else:
            await asyncio.sleep(coming or 0.001)

    async def _end_waits(self) -> None:
        """Every back-off is over: those of infrastructure faults take up to half a minute."""
        call, keys, now = self.store.batcher.call, self.store.keys, await self.store.workers.now()
        for member in await call("ZRANGE", keys.timers, 0, -1):
            key = keys.node(self.run, member.decode().partition("|")[2])
            if await call("HGET", key, "s") == b"waiting":
                await call("HSET", key, "u", now)
                await call("ZADD", keys.timers, now, member)

    async def _ended(self) -> bool:
        status = (await self.store.runs.get(self.run))["status"]
        return status in RUN_TERMINAL and not self.processes and not await self.leftovers()

    # workers ----------------------------------------------------------------------------------------------------

    async def _claim(self) -> None:
        """One worker reads; at times it takes what the other has in hand: a lease that has run out."""
        worker = self.random.choice(self.workers)
        if self.random.random() < 0.8:
            call, key = self.store.batcher.call, self.store.keys.active
            if (
                await call("XLEN", key) > (await call("XPENDING", key, GROUP))[0]
            ):  # a read that finds nothing waits
                worker.held += await worker.active.read(1, 1)
        else:
            known = {entry.id for entry in worker.held}
            worker.held += [entry for entry in await worker.active.reclaim(0, 10) if entry.id not in known]

    async def _decide(self) -> None:
        """Load, decide, commit; between them anything may happen, and after each the worker may die."""
        worker = self.random.choice([worker for worker in self.workers if worker.held])
        entry = worker.held.pop(self.random.randrange(len(worker.held)))
        loaded = await worker.store.engine.load(entry.fields[b"r"].decode())
        assert loaded is not None
        assert loaded.fault is None
        while self.random.random() < 0.25:
            others: list[Act] = [self._claim, self._fire, *([self._go_on] * bool(self.processes))]
            others += [self._decide] * any(other.held for other in self.workers)
            await self.random.choice(others)()
        changes = decide(loaded.view, loaded.signals, loaded.now, self.random.random())
        if self.random.random() < 0.05:
            return  # it died before the commit: the entry is claimed again
        most = self.random.choice([0, 1, 64])  # places that the worker has
        made = [ready for ready in changes.ready if ready[0] in changes.nodes][:most]
        asking = [Asking(waiting(loaded.view, ready), 600_000) for ready in made]
        try:
            verdicts = await worker.store.engine.commit(loaded, entry.id, changes, (), asking)
        except CommitConflict:
            self.conflicts += 1
            worker.held.append(entry)
            return
        self._submit_admitted(asking, verdicts)
        left = [ready for ready in changes.ready if ready not in made]
        if left and self.random.random() < 0.8:
            lanes = {waiting(loaded.view, ready).lane for ready in left}
            await worker.store.admission.admit([], 0, lanes=lanes, fresh=True)

    async def _take_heads(self) -> None:
        worker = self.random.choice(self.workers)
        if self.random.random() < 0.3:  # a worker that died after its commit asked for nothing
            await worker.store.mending.sweep()
        heads = await worker.store.admission.heads(self.random.choice([1, 3, 10]))
        await worker.store.admission.file(heads.lanes)
        asking = [Asking(each, 600_000) for each in heads.taken]
        self._submit_admitted(asking, await worker.store.admission.admit(asking, heads.now))

    def _submit_admitted(self, asking: list[Asking], verdicts: list[int]) -> None:
        for each, verdict in zip(asking, verdicts, strict=True):
            if verdict == 1 and self.random.random() < 0.9:
                self._submit(each.waiting.task)

    def _submit(self, task: Task) -> None:
        """A launch that was submitted before is adopted, never started twice."""
        if task in self.processes or any(process.task == task for process in self.over):
            return
        number = self.launches[task.ref] = self.launches.get(task.ref, -1) + 1
        script = self.random.choice(SCRIPTS[self.plan.fates[task.ref][number]])
        self.processes[task] = Process(task, ["launched", *(act for act in script if act != "launched")])

    async def _sweep(self) -> None:
        """Submissions that a worker did not live to make."""
        worker = self.random.choice(self.workers)
        for task in await worker.store.workers.expired_launches(10):
            self._submit(task)

    async def _fire(self) -> None:
        """Both workers see the same due timers; each becomes one signal."""
        for worker in self.random.sample(self.workers, 2):
            due, _ = await worker.store.engine.due_timers(20)
            told = [await self._fire_twice(timer) for timer in due]
            assert all(told)

    async def _fire_twice(self, timer: tuple[str, str, str]) -> bool:
        run, ref, score = timer
        fired = [
            await worker.store.engine.fire(run, ref, score, Signal(SignalKind.DUE, ref))
            for worker in self.workers
        ]
        return fired[1] is False

    # processes --------------------------------------------------------------------------------------------------

    async def _go_on(self) -> None:
        """The next act of a process; of one that was told that its launch is over, its end."""
        task = self.random.choice(list(self.processes))
        process = self.processes[task]
        act = process.acts[0]
        if act == "hang" and not await self._told_to_stop(process):
            return
        process.acts.pop(0)
        try:
            await self._do(process, act)
        except StaleEpoch:
            process.acts = ["gone -15"]
        if not process.acts:
            del self.processes[task]
            self.over.append(process)
            await self.store.workers.forget_process(task, HOST)

    async def _do(self, process: Process, act: str) -> None:
        call, workers, nodes = process.call, self.store.workers, self.store.nodes
        match act.split(" ", 1):
            case ["launched"]:
                if not await workers.launched(process.task, HOST, 3_600_000, {"pid": 0}):
                    process.acts = ["gone -15"]
            case ["start"]:
                await self._starts(process)
            case ["beat"]:
                await nodes.heartbeat(call, process.epochs[-1])
            case ["output"]:
                await self._checkpoints(process, "configure", "execute", "output")
            case ["finalize"]:
                await self._checkpoints(process, "finalize")
            case ["fail", *final]:
                await nodes.fail(call, process.epochs[-1], "Broken", "it broke", not final)
            case ["gone", "nowhere"]:
                await self._is_gone(process, type="lost", infra=True)
            case ["gone", code]:
                output = orjson.dumps(metadata_of(call.ref)).decode() if code == "0" else None
                await self._is_gone(process, code=int(code), output=output)
            case ["silence"]:
                await self._dates_back(process, "w")
            case _:
                pass

    async def _starts(self, process: Process) -> None:
        """An instance takes hold; at times another one does right after it, and the first becomes a zombie."""
        for number in range(self.random.choice([1, 1, 1, 2])):
            instance = f"i{len(process.epochs)}"
            started = [await self.store.nodes.start(process.call, instance, 60_000, []) for _ in range(2)]
            assert started[0].epoch == started[1].epoch, "the same instance was given two epochs"
            assert not process.epochs or started[0].epoch > process.epochs[-1], number
            process.epochs.append(started[0].epoch)

    async def _checkpoints(self, process: Process, *steps: str) -> None:
        metadata = orjson.dumps(metadata_of(process.call.ref))
        reports = [StepReport(step, metadata=metadata if step == "output" else None) for step in steps]
        epoch = process.epochs[-1]

        def send() -> Awaitable[Any]:
            return self.store.nodes.checkpoint(process.call, epoch, reports)

        await send()
        process.last = send

    async def _is_gone(self, process: Process, **how: Any) -> None:
        signal = exit_of(process.task, **how)

        def tell() -> Awaitable[None]:
            return self.store.workers.exited(self.run, signal)

        await tell()
        process.last = tell

    async def _told_to_stop(self, process: Process) -> bool:
        if not process.dated:
            process.dated = True
            await self._dates_back(process, "b", "g", "r", "h")
        ((_, attempt, launch, stop, _),) = await self.store.workers.states([process.task])
        return bool(stop) or (attempt, launch) != (process.task.attempt, process.task.launch)

    async def _dates_back(self, process: Process, *fields: str) -> None:
        """What the node run did last lies hours back, and its timer is due."""
        key, batcher = self.store.keys.node(self.run, process.task.ref), self.store.batcher
        status, *found = await batcher.call("HMGET", key, "s", *fields)
        set_ = [name for name, value in zip(fields, found, strict=True) if value not in (None, b"0")]
        if status not in (b"starting", b"running") or not set_:
            return
        now = await self.store.workers.now()
        await batcher.call("HSET", key, *(part for name in set_ for part in (name, now - 24 * 3_600_000)))
        await batcher.call("ZADD", self.store.keys.timers, now, process.task.timer)

    async def _haunt(self) -> None:
        """A zombie speaks: an instance that was replaced, or one whose launch is over. It changes nothing."""
        pasts = [(p, epoch) for p in [*self.processes.values(), *self.over] for epoch in p.epochs[:-1]]
        if not pasts:
            return
        process, epoch = self.random.choice(pasts)
        done = [StepReport(step, metadata=b'{"v":"zombie"}' if step == "output" else None) for step in STEPS]
        for speak in (
            lambda: self.store.nodes.checkpoint(process.call, epoch, done),
            lambda: self.store.nodes.fail(process.call, epoch, "Zombie", "boo", False),
        ):
            try:
                await speak()
            except StaleEpoch:
                continue
            raise AssertionError(f"a zombie of {process.task} was heard")

    async def _repeat(self) -> None:
        """A client that never saw the answer asks again; a timer is looked at for nothing."""
        processes = [p for p in [*self.processes.values(), *self.over] if p.last is not None]
        if processes and (last := self.random.choice(processes).last) is not None:
            with contextlib.suppress(StaleEpoch):
                await last()
        ref = self.random.choice(list(self.plan.fates) or list(self.plan.nodes))
        if (await self.store.runs.get(self.run))["status"] == "running":
            assert await self.store.engine.signal(self.run, Signal(SignalKind.DUE, ref))

    # what is left -----------------------------------------------------------------------------------------------

    async def leftovers(self) -> list[str]:
        """Everything in the store that belongs to work, not to the record: nothing, after the end."""
        call, keys = self.store.batcher.call, self.store.keys
        found = [f"slot {task}" for task in await self.store.workers.holders()]
        for name, key in {
            "timer": keys.timers,
            "launch": keys.launches,
            "queue": keys.queue,
            "lane": keys.aging,
        }.items():
            found += [f"{name} {member.decode()}" for member in await call("ZRANGE", key, 0, -1)]
        found += [f"signal {raw.decode()}" for raw in await call("LRANGE", keys.inbox(self.run), 0, -1)]
        found += ["an entry of active"] * await call("XLEN", keys.active)
        found += ["marked active"] * await call("HEXISTS", keys.run(self.run), "ac")
        found += [f"process {task}" for task in await self.store.workers.processes(HOST)]
        return found

    async def seen(self) -> Seen:
        refs = [*self.plan.nodes, *(ref for ref in self.plan.fates if ":" in ref)]
        calls = [
            self.store.batcher.call("HMGET", self.store.keys.node(self.run, ref), "s", "m") for ref in refs
        ]
        nodes, metadata = dict[str, str](), dict[str, Any]()
        for ref, reply in zip(refs, calls, strict=True):
            status, raw = await reply
            if status is not None or split_ref(ref)[1] is None:
                nodes[ref] = (status or b"pending").decode()
            if raw is not None:
                metadata[ref] = orjson.loads(raw)
        return Seen((await self.store.runs.get(self.run))["status"], nodes, metadata)

    async def moves(self) -> list[tuple[str, str, str]]:
        found, after = list[tuple[str, str, str]](), "0"
        while page := await self.store.events.read(self.run, after):
            after = page[-1][0]
            for _, event in page:
                if event["type"] in ("node", "run") and event["from"] is not None:
                    ref = event.get("node", "")
                    ref = f"{ref}:{event['item']}" if "item" in event else ref
                    found.append((ref, event["from"], event["to"]))
        return found
