"""The stage of the tutorial: a real store, real workers in this process, and node programs that a test plays or scripts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self

import orjson
import pytest

from app.core.signals import Signal, SignalKind
from app.core.tasks import Task, split_ref
from app.settings import Settings
from app.store.nodes import NodeCall, Started, StepReport
from app.store.store import Store
from app.store.triggers import Accepted, Trigger
from workers.executors.base import Executor, Launch, Report
from workers.runtime import Runtime

HOST = "stage"
Publish = Callable[[dict[str, Any]], Awaitable[None]]


@pytest.fixture(autouse=True)
def _keys_are_checked(key_check: None) -> None:
    """Every test here ends with the key leak check."""


class Program:
    """One process (or pod) of a node: it speaks the node protocol as an instance of its own."""

    def __init__(self, stage: Stage, launch: Launch, instance: str) -> None:
        self._stage = stage
        self.launch = launch
        self.task: Task = launch.task
        self.instance = instance
        self.started: Started | None = None
        self.ended = asyncio.Event()

    @property
    def _call(self) -> NodeCall:
        return NodeCall(self.task.run, self.task.ref, self.task.attempt)

    @property
    def epoch(self) -> int:
        assert self.started is not None, "call start first"
        return self.started.epoch

    async def start(self) -> Self:
        """Take hold of the attempt."""
        run, store = self.task.run, self._stage.store
        version = self._stage.versions.get(run) or (await store.workers.versions([run]))[run]  # a child run's
        graph = await store.graphs.get(*version)
        node = graph.node_of(self.task.ref)
        upstream = [graph.nodes[edge.node].name for edge in node.needs]
        self.started = await self._stage.store.nodes.start(
            self._call, self.instance, node.timeouts.heartbeat_ms, upstream
        )
        return self

    def again(self, instance: str) -> Program:
        """Another instance for the same attempt."""
        return Program(self._stage, self.launch, instance)

    async def ends(self, step: str, metadata: Any = None) -> bool:
        """Checkpoint the end of a step. True when the engine wants the node to stop."""
        raw = None if metadata is None else orjson.dumps(metadata)
        return await self._stage.store.nodes.checkpoint(
            self._call, self.epoch, [StepReport(step, metadata=raw)]
        )

    async def position(self, seq: int, data: Any) -> None:
        """Checkpoint a position inside execute."""
        report = StepReport("execute", seq=seq, data=orjson.dumps(data))
        await self._stage.store.nodes.checkpoint(self._call, self.epoch, [report])

    async def reject(self, index: int, message: str) -> int:
        """Put a failed record into the ledger; how many there are."""
        record = {"index": index, "type": "BadRecord", "message": message}
        return await self._stage.store.nodes.records(self._call, self.epoch, [record])

    async def fail(self, message: str = "it broke", *, retryable: bool = True) -> None:
        await self._stage.store.nodes.fail(self._call, self.epoch, "Broken", message, retryable)

    async def succeed(self, metadata: Any = None) -> None:
        """All that is left to do, and the end of the process."""
        if self.started is None:
            await self.start()
        assert self.started is not None
        done = ["configure", "execute", "output", "finalize"]
        for step in done[done.index(self.started.step) + 1 if self.started.step else 0 :]:
            await self.ends(step, metadata if step == "output" else None)
        await self.exit(0)

    async def exit(self, code: int, output: Any = None) -> None:
        """The process ends, and its executor tells so."""
        text = None if output is None else orjson.dumps(output).decode()
        task = self.task
        signal = Signal(
            SignalKind.EXIT, task.ref, attempt=task.attempt, launch=task.launch, code=code, output=text
        )
        await self._stage.gone(self, signal)

    async def is_lost(self) -> None:
        """Its machine died: an infrastructure fault."""
        task = self.task
        await self._stage.gone(self, Signal(SignalKind.EXIT, task.ref, attempt=task.attempt, launch=task.launch,
                                            type="lost", message="the machine died", infra=True))  # fmt: skip


Script = Callable[[Program], Awaitable[None]]


class Stage(Executor):
    """The executor, and all that a test does with the engine."""

    def __init__(self, store: Store, publish: Publish, settings: Settings) -> None:
        self.store = store
        self.publish = publish
        self.settings = settings
        self.versions: dict[str, tuple[str, int]] = {}
        self.on_free: Callable[[], None] = lambda: None
        self._scripts: dict[str, Script | None] = {}
        self._queues: dict[str, asyncio.Queue[Program]] = {}
        self._report: Report | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._live: set[Task] = set()
        self._workers: list[Runtime] = []

    # what a test says -----------------------------------------------------------------------------------------

    async def worker(self) -> Runtime:
        """Start a worker in this process."""

        def make(_: Store, __: str, report: Report) -> Executor:
            self._report = report
            return self

        runtime = Runtime(self.store, self.settings, make)
        await runtime.start()
        self._workers.append(runtime)
        return runtime

    async def trigger(self, workflow: str, params: Any = None, **more: Any) -> Accepted:
        """Accept a trigger, as the API does."""
        accepted = await self.store.triggers.accept(Trigger(workflow, 1, "api", params or {}, **more))
        if accepted.run is not None:
            self.versions[accepted.run] = (workflow, 1)
        return accepted

    async def run_of(self, nodes: dict[str, Any], params: Any = None, **more: Any) -> str:
        """Publish these nodes as a workflow, trigger it, and start a worker; the id of the run."""
        await self.publish({"name": "tutorial", "nodes": nodes, **more})
        accepted = await self.trigger("tutorial", params)
        if not self._workers:
            await self.worker()
        assert accepted.run is not None
        return accepted.run

    def plays(self, node: str, script: Script) -> None:
        """What the programs of a node do; without a script they succeed with {"by": name of the node}."""
        self._scripts[node] = script

    def by_hand(self, *nodes: str) -> None:
        """The programs of these nodes do only what the test says: take each with `launched`."""
        for node in nodes:
            self._scripts[node] = None

    async def launched(self, node: str) -> Program:
        """The next program of a node that is played by hand."""
        return await asyncio.wait_for(self._queue(node).get(), 20)

    async def ended(self, run: str) -> str:
        """Wait until a run has ended; its status."""
        status = "queued"
        async for _, event in self.store.events.subscribe(run):
            if event["type"] == "run":
                status = event["to"]
        return status

    async def until(self, run: str, node: str, status: str) -> dict[str, Any]:
        """Wait for a transition of a node run; its record then."""
        async for _, event in self.store.events.subscribe(run):
            if event["type"] == "node" and (event["node"], event["to"]) == (node, status):
                break
        return await self.node(run, node)

    async def node(self, run: str, ref: str) -> dict[str, Any]:
        return await self.store.runs.node(run, ref)

    async def statuses(self, run: str) -> dict[str, str]:
        items, _ = await self.store.runs.nodes(run)
        return {item["name"]: item["status"] for item in items}

    async def history(self, run: str) -> list[str]:
        """Every transition of the run in order: "node status"."""
        events = [event for _, event in await self.store.events.read(run, "0")]
        return [f"{event.get('node', 'run')} {event.get('to') or event['step']}" for event in events]

    # the executor's side --------------------------------------------------------------------------------------

    def free(self) -> int:
        return 100 - len(self._live)

    async def submit(self, launch: Launch) -> None:
        if not await self.store.workers.launched(launch.task, HOST, launch.node.timeouts.run_ms, {"pid": 0}):
            return
        self._live.add(launch.task)
        name, _ = split_ref(launch.task.ref)
        program = Program(self, launch, f"pod-{launch.task.attempt}-{launch.task.launch}")
        script = self._scripts.get(name, _succeeds)
        if script is None:
            self._queue(name).put_nowait(program)
            return
        task = asyncio.ensure_future(script(program))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)  # pyright: ignore[reportArgumentType]
        if not task.cancelled():
            task.result()

    async def gone(self, program: Program, signal: Signal) -> None:
        assert self._report is not None
        await self._report(program.task.run, signal)
        await self.store.workers.forget_process(program.task, HOST)
        self._live.discard(program.task)
        program.ended.set()
        self.on_free()

    def _queue(self, node: str) -> asyncio.Queue[Program]:
        return self._queues.setdefault(node, asyncio.Queue())

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def stop(self) -> None:
        for runtime in self._workers:
            await runtime.stop()
            assert not runtime.failed.is_set(), runtime.failure


async def _succeeds(program: Program) -> None:
    await program.start()
    await program.succeed({"by": program.task.ref})


@pytest.fixture
async def stage(store: Store, publish: Publish, settings: Settings) -> AsyncIterator[Stage]:
    made = Stage(store, publish, settings)
    yield made
    await made.stop()
