"""The executor of service nodes (M11): calls an HTTP service, and waits for what it answers, polls or is told.

A call under way is a member of `calls` in the store (see app/store/calls.py), so it survives every worker: one that dies
while it sends leaves its lease, and another sends again with the same Idempotency-Key; one that waits for its callback, or
for its next poll, is in nobody's memory at all.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from app.bell import rung
from app.core.graph import Graph, NodeDef
from app.core.services import (
    METADATA_LIMIT,
    Accepted,
    Failed,
    Finished,
    Outcome,
    Waiting,
    host_of,
    judge,
    poll_after,
)
from app.core.signals import Signal, SignalKind
from app.core.states import STEPS, Step
from app.core.tasks import Task
from app.errors import HeadraceError, NotFound, StaleEpoch, StepConflict, StoreUnavailable
from app.secretfiles import SecretFiles
from app.settings import Settings
from app.store.calls import Call
from app.store.nodes import NodeCall, Started, StepReport
from app.store.store import Store
from workers.executors.base import Launch
from workers.executors.servicecall import Request, Requests
from workers.executors.webclient import Answer, CallError, WebClient, usable

log = structlog.get_logger("headrace.services")

LOOKING = 64
"""Calls that one worker looks at (polls, mostly) at a time, besides those that it sends."""
LOOK = 1.0
"""Seconds between looks for calls that are due, at most; other workers make them due too."""
CANCEL_SECONDS = 10.0
"""How long a service may take to hear that its work is not wanted any more."""
POLL_SECONDS = 30.0
"""How long the answer to a poll may take."""
OVERTIME_MS = 60_000
"""After the end of a call's time, how long its timer has before the call is looked at."""


class ServiceExecutor:
    """`free`, `submit`, `run`, `close` as the Executor protocol has them."""

    def __init__(
        self, store: Store, worker: str, settings: Settings, client: WebClient | None = None
    ) -> None:
        self._store = store
        self._worker = worker
        self._capacity = settings.service_calls
        self._lease = settings.lease
        self._client = client or WebClient(settings.url_allow, connections=settings.service_calls + LOOKING)
        self._requests = Requests(settings, store.secret, SecretFiles(settings))
        self._tasks: dict[Task, asyncio.Task[None]] = {}
        """Calls in our hands."""
        self._sending: set[Task] = set()
        """Those of them that are being sent."""
        self._bell = asyncio.Event()
        self.on_free: Callable[[], None] = lambda: None

    def free(self) -> int:
        return self._capacity - len(self._sending)

    async def submit(self, launch: Launch) -> None:
        """Begin the call, unless its host's circuit is open: then the launch waits, without a slot and uncounted."""
        task, service = launch.task, launch.node.service
        if service is None:
            raise NotFound("this node calls no service")
        if task in self._tasks:
            return
        gate = await self._store.circuits.ask(service.host)
        if gate.wait_ms:
            await self._store.calls.defer(task, spread(gate.wait_ms), service.host)
        elif await self._store.calls.begin(task):
            self._sending.add(task)
            self._take(task, self._first(task, launch.graph, launch.node, gate.failures))

    def _take(self, task: Task, work: Coroutine[Any, Any, None]) -> None:
        running = asyncio.create_task(self._guard(task, work))
        self._tasks[task] = running

        def ended(_: asyncio.Task[None]) -> None:
            self._tasks.pop(task, None)
            self._sending.discard(task)
            self._bell.set()
            self.on_free()

        running.add_done_callback(ended)

    async def _guard(self, task: Task, work: Coroutine[Any, Any, None]) -> None:
        """A call that we cannot go on with stays in the store: its lease ends, and whoever claims it goes on."""
        try:
            await work
        except StoreUnavailable:
            log.warning("the store is away; the call is taken up again", task=task.encode())
        except (StaleEpoch, StepConflict):
            log.info("a call was ended by someone else", task=task.encode())
            self._bell.set()
        except HeadraceError as error:
            log.error("a call could not be looked after", task=task.encode(), reason=error.message)
        except Exception:
            log.exception("a call could not be looked after", task=task.encode())

    # one call ---------------------------------------------------------------------------------------------------

    async def _first(self, task: Task, graph: Graph, node: NodeDef, failures: int) -> None:
        call = await self._store.calls.load(task)
        if call is not None:
            await self._send(call, graph, node, failures)

    async def _look(self, task: Task) -> None:
        """A call is due: go on with it from what the store knows."""
        call = await self._store.calls.load(task)
        if call is None or call.answered:
            await self._store.calls.forget(task)
            return
        if not call.live:
            await self._let_go(call)
            return
        graph = await self._store.graphs.get(call.workflow, call.version)
        node = graph.node_of(task.ref)
        waiting = call.waiting
        if waiting is not None and waiting.location is None:
            await self._store.calls.look(task, OVERTIME_MS)
        elif waiting is not None:
            await self._poll(call, waiting, node)
        else:
            self._sending.add(task)
            assert node.service is not None
            gate = await self._store.circuits.ask(node.service.host)
            if gate.wait_ms:
                await self._store.calls.look(task, spread(gate.wait_ms))
            else:
                await self._send(call, graph, node, gate.failures)

    async def _send(self, call: Call, graph: Graph, node: NodeDef, failures: int) -> None:
        """Send the request, the first time or again, and act on the answer."""
        task, speaker = call.task, speaker_of(call.task)
        upstream = [graph.nodes[edge.node].name for edge in node.needs]
        instance = f"{self._worker}-{secrets.token_hex(4)}"
        started = await self._store.nodes.start(speaker, instance, node.timeouts.run_ms, upstream)
        if started.step == Step.FINALIZE:  # its callback was faster
            await self._store.calls.forget(task)
            return
        try:
            request = self._requests.first(call, graph, node, started)
        except HeadraceError as error:
            await self._fail(call, started.epoch, Failed("secret", error.message, retryable=False))
            return
        outcome = await self._exchange(request, failures, None)
        if isinstance(outcome, Accepted):
            waiting = Waiting(task.attempt, now_ms(), request.locate(outcome.location))
            if waiting.location is not None and not usable(waiting.location):
                failed = Failed(
                    "bad_answer", "the service's Location is not a usable http(s) URL", retryable=False
                )
                await self._fail(call, started.epoch, failed)
                return
            await self._accepted(call, started, waiting, node, outcome.retry_after)
        else:
            await self._end_with(call, started.epoch, outcome)

    async def _accepted(
        self, call: Call, started: Started, waiting: Waiting, node: NodeDef, retry_after: int | None
    ) -> None:
        """A 202: what it waits for is its position inside execute. Then it costs us nothing until it is due."""
        position = StepReport(
            Step.EXECUTE, seq=(0 if started.seq is None else started.seq) + 1, data=waiting.encode()
        )
        reports = [position] if started.step else [StepReport(Step.CONFIGURE), position]
        await self._store.nodes.checkpoint(speaker_of(call.task), started.epoch, reports)
        polled = waiting.location is not None
        wait = poll_after(0, retry_after, jitter()) if polled else node.timeouts.run_ms + OVERTIME_MS
        await self._store.calls.look(call.task, wait)

    async def _poll(self, call: Call, waiting: Waiting, node: NodeDef) -> None:
        """Ask the service whether it is done."""
        assert waiting.location is not None
        assert node.service is not None
        gate = await self._store.circuits.ask(host_of(waiting.location))
        if gate.wait_ms:
            await self._store.calls.look(call.task, spread(gate.wait_ms))
            return
        try:
            request = self._requests.poll(call, node, waiting.location)
        except HeadraceError as error:
            await self._fail(call, call.epoch, Failed("secret", error.message, retryable=False))
            return
        outcome = await self._exchange(request, gate.failures, POLL_SECONDS)
        if isinstance(outcome, Accepted):
            asked = outcome.retry_after
        elif isinstance(outcome, Failed) and outcome.retryable:
            asked = outcome.delay or None
        else:
            await self._end_with(call, call.epoch, outcome)
            return
        await self._store.calls.look(call.task, poll_after(now_ms() - waiting.since, asked, jitter()))

    async def _exchange(self, request: Request, failures: int, seconds: float | None) -> Outcome:
        """One request and what its answer means, without a secret in it; the circuit of the host hears of it."""
        try:
            answer = await self._send_out(request, seconds)
        except CallError as error:
            outcome: Outcome = Failed(error.type, error.message, error.retryable, host_fault=error.host_fault)
        else:
            outcome = judge(answer.status, answer.headers, request.without_secrets(answer.body), now_ms())
        if isinstance(outcome, Failed) and outcome.host_fault:
            pause = await self._store.circuits.failed(request.host)
            if pause:
                log.warning("the circuit of a host is open", host=request.host, seconds=pause / 1000)
        elif failures:
            await self._store.circuits.succeeded(request.host)
        return outcome

    async def _send_out(self, request: Request, seconds: float | None) -> Answer:
        return await self._client.send(
            request.method, request.url, request.headers, request.body, limit=METADATA_LIMIT, seconds=seconds
        )

    async def _end_with(self, call: Call, epoch: int, outcome: Outcome) -> None:
        if isinstance(outcome, Failed):
            await self._fail(call, epoch, outcome)
        elif isinstance(outcome, Finished):
            await self._store.nodes.checkpoint(speaker_of(call.task), epoch, all_steps(outcome.metadata))
            await self._store.calls.forget(call.task)

    async def _fail(self, call: Call, epoch: int, failed: Failed) -> None:
        error = Signal(
            SignalKind.FAIL, call.task.ref, attempt=call.task.attempt, type=failed.type, message=failed.message,
            retryable=failed.retryable, delay=failed.delay,
        )  # fmt: skip
        await self._store.calls.fail(call.task, epoch, error)

    async def _let_go(self, call: Call) -> None:
        """Its attempt was ended without it (cancel, run timeout): tell the service, where it said where; once, and no more."""
        if call.waiting is not None and call.waiting.location is not None:
            graph = await self._store.graphs.get(call.workflow, call.version)
            try:
                request = self._requests.cancel(call, graph.node_of(call.task.ref), call.waiting.location)
                await self._send_out(request, CANCEL_SECONDS)
            except (CallError, HeadraceError) as error:
                log.info("a service was not told that its work is not wanted", host=host_of(call.waiting.location),
                         reason=error.message)  # fmt: skip
        await self._store.calls.forget(call.task)

    # loops ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look after the calls that are due, and keep those that are sent, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._claim())
            group.create_task(self._keep())

    async def _claim(self) -> None:
        while True:
            room = LOOKING - (len(self._tasks) - len(self._sending))
            wait: float | None = None
            if room > 0:
                try:
                    due, wait = await self._store.calls.claim(room)
                except StoreUnavailable:
                    await asyncio.sleep(0.5)
                    continue
                for task in due:
                    if task in self._tasks:
                        await self._check([task])
                    else:
                        self._take(task, self._look(task))
                if len(due) == room:
                    continue
            self._bell.clear()
            await rung(self._bell, LOOK if wait is None else min(wait + 0.001, LOOK))

    async def _keep(self) -> None:
        """Renew the leases of what is in our hands; break off what has no attempt any more."""
        while True:
            await asyncio.sleep(self._lease / 4)
            try:
                tasks = list(self._tasks)
                if tasks:
                    await self._store.calls.renew(tasks, await self._store.workers.now())
                    await self._check(tasks)
            except StoreUnavailable:
                continue

    async def _check(self, tasks: list[Task]) -> None:
        """Break off calls whose attempts have ended; whoever claims them next tells the service."""
        for task, state in zip(tasks, await self._store.workers.states(tasks), strict=True):
            running = self._tasks.get(task)
            if running is None or state.lives(task):
                continue
            if task in self._sending:
                running.cancel()
                await self._store.calls.look(task, 0)

    async def close(self) -> None:
        """Break off what is being sent: another worker sends it again, at once, with the same Idempotency-Key."""
        tasks = dict(self._tasks)
        for running in tasks.values():
            running.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        try:
            for task in tasks:
                await self._store.calls.look(task, 0)
        except HeadraceError:
            log.warning("the store is away; the calls are taken up when their leases end")
        await self._client.close()


def speaker_of(task: Task) -> NodeCall:
    return NodeCall(task.run, task.ref, task.attempt)


def all_steps(metadata: bytes) -> list[StepReport]:
    """The checkpoints of a call that has ended well: whatever of them is there already is the same."""
    return [StepReport(step, metadata=metadata if step is Step.OUTPUT else None) for step in STEPS]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def jitter() -> float:
    return random.random()  # noqa: S311  (spreads polls, guards nothing)


def spread(wait_ms: int) -> int:
    """A wait for an open circuit, lengthened by up to a quarter, so that those who wait do not come back together."""
    return round(wait_ms * (1 + 0.25 * jitter())) + 1
