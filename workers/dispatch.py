"""Dispatch: ready node runs are admitted to slots and submitted to the executor.

A node run that a commit has just made ready asks for its slot in the same round trip; one that had to wait is found at the
head of the queue as soon as this worker has a place free.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial

import structlog

from app.core.graph import Graph
from app.core.signals import exit_of
from app.core.tasks import Task
from app.core.tokens import LIFETIME_MS, TokenClaims, sign
from app.core.view import split_ref
from app.errors import HeadraceError, NotFound, StoreUnavailable, Unavailable
from app.settings import Settings
from app.store.store import Store
from workers.executors.base import Executor, Launch
from workers.executors.router import Router

log = structlog.get_logger("headrace.dispatch")

LOOK = 0.25
"""Seconds between looks at the queue when nothing rings: node runs that another worker could not take."""
MOST = 64
"""Tasks that one call of the admission script takes."""


class Dispatcher:
    def __init__(self, store: Store, executor: Executor, settings: Settings) -> None:
        self._store = store
        self._executor = executor
        self._router = executor if isinstance(executor, Router) else None
        self._settings = settings
        self._bell = asyncio.Event()
        self._behind = False
        """Tasks are known to wait in the queue: a place or a slot that becomes free is worth a look."""
        self._reserved: Counter[Executor] = Counter()
        """Places of each executor that are promised to tasks on their way through admission."""
        self._submitting: set[Task] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.draining = False

    def ring(self) -> None:
        """A place or a slot became free."""
        if self._behind:
            self._bell.set()

    def free(self) -> int:
        return 0 if self.draining else max(self._executor.free() - self._reserved.total(), 0)

    def _reserve(self, tasks: Sequence[Task], graph: Graph) -> tuple[Sequence[Task], Counter[Executor]]:
        """Those of the tasks that there are places for, first come first served, and the places, to be given back."""
        places: Counter[Executor] = Counter()
        if self._router is None:
            chosen: Sequence[Task] = tasks[: min(self.free(), MOST)]
            places[self._executor] = len(chosen)
        else:
            chosen = []
            for task in () if self.draining else tasks[:MOST]:
                executor = self._router.choose(graph.node(split_ref(task.ref)[0]))
                if executor.free() > self._reserved[executor] + places[executor]:
                    places[executor] += 1
                    chosen.append(task)
        self._reserved.update(places)
        return chosen, places

    async def admit(self, tasks: Sequence[Task], graph: Graph, now: int) -> int:
        """Ask for slots for node runs of one graph, as many as this worker has places for; submit those that get one.

        Returns how many did.
        """
        chosen, places = self._reserve(tasks, graph)
        if len(chosen) < len(tasks):
            self._behind = True
        if not chosen:
            return 0
        try:
            wanted = [(task, graph.node(split_ref(task.ref)[0]).timeouts.start_ms) for task in chosen]
            verdicts = await self._store.engine.admit(wanted, now)
            for task, verdict in zip(chosen, verdicts, strict=True):
                if verdict == 1:
                    self._launch(task, graph)
                elif verdict == 0:
                    self._behind = True
        finally:
            self._reserved -= places
        return verdicts.count(1)

    def _launch(self, task: Task, graph: Graph) -> None:
        if task in self._submitting:
            return
        self._submitting.add(task)
        running = asyncio.create_task(self._submit(task, graph))
        self._tasks.add(running)
        running.add_done_callback(self._tasks.discard)

    async def _submit(self, task: Task, graph: Graph) -> None:
        """Hand a task to the executor; its submission stays leased to us until that is done."""
        try:
            node = graph.node(split_ref(task.ref)[0])
            launch = Launch(task, graph, node, partial(self._environment, task, graph))
            await self._executor.submit(launch)
        except StoreUnavailable:
            log.warning("the store is away; the submission is taken up again", task=task.encode())
        except Unavailable as error:
            await self._refused(task, error, infra=True)
        except (HeadraceError, OSError) as error:
            await self._refused(task, error, infra=False)
        finally:
            self._submitting.discard(task)

    async def _refused(self, task: Task, error: Exception, *, infra: bool) -> None:
        """The executor cannot run it: that is an end of the launch, and its run must hear of it."""
        log.error("a node could not be started", task=task.encode(), error=str(error))
        message = error.message if isinstance(error, HeadraceError) else "the program could not be started"
        signal = exit_of(
            task, type="executor", message=message, retryable=not isinstance(error, NotFound), infra=infra
        )
        try:
            await self._store.workers.exited(task.run, signal)
        except StoreUnavailable:
            log.warning("the store is away; the submission is taken up again", task=task.encode())

    def _environment(self, task: Task, graph: Graph) -> dict[str, str]:
        """What the node protocol promises a node; nothing else of ours reaches it."""
        name, item = split_ref(task.ref)
        expires = time.time_ns() // 1_000_000 + LIFETIME_MS
        claims = TokenClaims(task.run, task.ref, task.attempt, graph.workflow, graph.version, expires)
        env = {
            "HEADRACE_API_URL": self._settings.api_url, "HEADRACE_RUN_ID": task.run, "HEADRACE_NODE": name,
            "HEADRACE_ATTEMPT": str(task.attempt), "HEADRACE_DATA_URI": self._settings.data_uri,
            "HEADRACE_DATA_ROOTS": self._settings.data_roots, "HEADRACE_URL_ALLOW": self._settings.url_allow,
            "HEADRACE_TOKEN": sign(self._store.secret, claims), "TRACEPARENT": task.traceparent,
        }  # fmt: skip
        if item is not None:
            env["HEADRACE_ITEM"] = str(item)
        return env

    # loops ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look at the head of the queue whenever a place is free, for ever."""
        while True:
            try:
                await asyncio.wait_for(self._bell.wait(), LOOK)
            except TimeoutError:
                pass
            self._bell.clear()
            if self.free():
                try:
                    if await self._take_heads():
                        self.ring()
                except StoreUnavailable:
                    await asyncio.sleep(0.5)

    async def _take_heads(self) -> bool:
        """Admit what has waited longest. True when more may be had at once."""
        room = min(self.free(), MOST)
        heads = await self._store.engine.ready_heads(room)
        self._behind = len(heads) >= room
        if not heads:
            return False
        by_run: dict[str, list[Task]] = {}
        for task in heads:
            by_run.setdefault(task.run, []).append(task)
        now = await self._store.workers.now()
        versions = await self._store.workers.versions(list(by_run))
        orphans = [task for task in heads if task.run not in versions]
        if orphans:
            await self._store.engine.drop_ready(orphans)
        admitted = 0
        for run, (workflow, version) in versions.items():
            graph = await self._store.graphs.get(workflow, version)
            admitted += await self.admit(by_run[run], graph, now)
        return admitted == MOST

    async def renew(self) -> None:
        """Keep our submissions ours, for ever."""
        while True:
            await asyncio.sleep(self._settings.lease / 4)
            try:
                await self._store.workers.renew_launches(list(self._submitting))
            except StoreUnavailable:
                continue

    async def resubmit(self) -> int:
        """Take up the submissions that dead workers left; how many."""
        expired = await self._store.workers.expired_launches(max(self.free(), 1))
        versions = await self._store.workers.versions([task.run for task in expired])
        for task in expired:
            if task.run in versions:
                self._launch(task, await self._store.graphs.get(*versions[task.run]))
        return len(expired)

    async def drain(self) -> None:
        """Admit nothing further; return when what is being submitted is submitted."""
        self.draining = True
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
