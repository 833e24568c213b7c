"""Dispatch: ready node runs are admitted to slots and submitted to the executor.

A node run that a commit has just made ready asks for its slot in the same round trip; one that had to wait is found at the
head of the queue as soon as this worker has a place free.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

import structlog

from app.bell import rung
from app.core.graph import Graph, NodeDef
from app.core.pools import GLOBAL, Lane, Waiting, pools_of
from app.core.signals import exit_of
from app.core.tasks import Task, split_ref
from app.core.tokens import LIFETIME_MS, TokenClaims, sign
from app.errors import HeadraceError, NotFound, StoreUnavailable, Unavailable
from app.settings import Settings
from app.store.admission import Asking, Heads
from app.store.store import Store
from workers.executors.base import NEVER, Executor, Launch
from workers.executors.router import Router
from workers.expected import Expected

log = structlog.get_logger("headrace.dispatch")

LOOK = 0.25
"""Seconds between looks at the queue when nothing rings: node runs that another worker could not take."""
MOST = 256
"""Tasks that one call of the admission script takes from the queue."""
MOST_FRESH = 500
"""Tasks that one commit admits as it makes them ready."""


@dataclass(slots=True)
class Turn:
    """What of the node runs that a commit makes ready asks for its slots in the same step."""

    asking: list[Asking] = field(default_factory=list[Asking])
    places: Counter[Executor] = field(default_factory=Counter["Executor"])
    """Promised to them."""
    left: set[Lane] = field(default_factory=set[Lane])
    """Lanes of those that do not ask: they are filed before the next look, all in one call."""
    at: float = field(default_factory=monotonic)
    """When it was asked, before the store answered."""


class Dispatcher:
    def __init__(self, store: Store, executor: Executor, settings: Settings) -> None:
        self._store = store
        self._executor = executor
        self._router = executor if isinstance(executor, Router) else None
        self._settings = settings
        self._bell = asyncio.Event()
        self._behind = False
        """Tasks are known to wait for a place: one that becomes free is worth a look, and what comes new waits behind them."""
        self._waits: frozenset[str] = frozenset()
        """Pools for which tasks are known to wait: a slot of theirs that becomes free is worth a look."""
        self._reserved: Counter[Executor] = Counter()
        """Places of each executor that are promised to tasks on their way through admission."""
        self._unfiled: set[Lane] = set()
        self._submitting: set[Task] = set()
        self.expected = Expected()
        self._tasks: set[asyncio.Task[None]] = set()
        self.draining = False

    def ring(self) -> None:
        """A place became free."""
        if self._behind:
            self._bell.set()

    def freed(self, graph: Graph, released: Iterable[tuple[str, int, int]]) -> None:
        """Slots became free: attempts of these node runs of a graph ended."""
        if self._waits and any(
            pool in self._waits
            for ref, _, _ in released
            for pool, _ in pools_of(graph.node_of(ref).needs_slots, graph.workflow)
        ):
            self._bell.set()

    def free(self) -> int:
        return 0 if self.draining else max(self._executor.free() - self._reserved.total(), 0)

    def _place(self, node: NodeDef, places: Counter[Executor]) -> bool:
        """Whether the executor of a node has a place besides those promised; one that has adds it to `places`."""
        executor = self._executor if self._router is None else self._router.choose(node)
        if self.draining or executor.free() <= self._reserved[executor] + places[executor]:
            return False
        places[executor] += 1
        return True

    def choose(self, ready: Sequence[Waiting], graph: Graph, made: Container[str]) -> Turn:
        """Which of the node runs of one graph ask for their slots with the commit that makes them ready: as many as this worker
        has places for, and none where others wait. The places are promised to them until `admitted`.

        Those that are not `made` ready (they were before, and come back to the queue) do not ask.
        """
        turn = Turn()
        for each in sorted(ready, key=lambda one: one.lane.priority):
            node = graph.node_of(each.task.ref)
            if (
                not self._behind
                and each.task.ref in made
                and len(turn.asking) < MOST_FRESH
                and self._place(node, turn.places)
            ):
                turn.asking.append(Asking(each, node.timeouts.start_ms))
            else:
                turn.left.add(each.lane)
        self._reserved.update(turn.places)
        return turn

    def admitted(self, turn: Turn, verdicts: Sequence[int] | None, graph: Graph) -> None:
        """The commit said who has slots: submit those; None: nothing was committed. The promised places are free again."""
        self._reserved -= turn.places
        if verdicts is None:
            return
        if turn.left:
            self._behind, self._waits = True, self._waits | {GLOBAL}
            self._unfiled |= turn.left
            self._bell.set()
        for each, verdict in zip(turn.asking, verdicts, strict=True):
            self._answered(each.waiting, verdict, graph, turn.at)

    def _answered(self, waiting: Waiting, verdict: int, graph: Graph, at: float) -> None:
        if verdict == 1:
            self._launch(waiting.task, graph, at)
        elif verdict == 0:
            self._waits |= {pool for pool, _ in waiting.lane.pools}

    async def _ask(self, heads: Heads, asking: Sequence[Asking], places: Counter[Executor]) -> None:
        """Ask for slots for what was chosen from the queue, submit what gets them."""
        self._reserved.update(places)
        at = monotonic()
        try:
            verdicts = await self._store.admission.admit(asking, heads.now, lanes=heads.lanes)
            for (each, _), verdict in zip(asking, verdicts, strict=True):
                self._answered(each, verdict, heads.graphs[(each.lane.workflow, each.version)], at)
        finally:
            self._reserved -= places

    def _launch(self, task: Task, graph: Graph, live_at: float = NEVER) -> None:
        if task in self._submitting:
            return
        self._submitting.add(task)
        self.expected.add(task.run, graph, task.ref)
        running = asyncio.create_task(self._submit(task, graph, live_at))
        self._tasks.add(running)
        running.add_done_callback(self._tasks.discard)

    async def _submit(self, task: Task, graph: Graph, live_at: float) -> None:
        """Hand a task to the executor; its submission stays leased to us until that is done."""
        try:
            node = graph.node_of(task.ref)
            launch = Launch(task, graph, node, partial(self._environment, task, graph), live_at)
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
            await rung(self._bell, LOOK)
            self._bell.clear()
            try:
                await self._file()
                if self.free() and await self._take_heads():
                    self.ring()
            except StoreUnavailable:
                await asyncio.sleep(0.5)

    async def _file(self) -> None:
        """File what waits, whether this worker has places or not: others may."""
        lanes, self._unfiled = self._unfiled, set()
        try:
            if lanes:
                await self._store.admission.admit([], 0, lanes=lanes, fresh=True)
        except StoreUnavailable:
            self._unfiled |= lanes
            raise

    async def _take_heads(self) -> bool:
        """Admit those whose turn it is. True when more may be had at once."""
        places: Counter[Executor] = Counter()

        def fits(waiting: Waiting, graph: Graph) -> bool:
            return self._place(graph.node_of(waiting.task.ref), places)

        most = min(self.free(), MOST)
        heads = await self._store.admission.heads(most, fits)
        asking = [
            Asking(
                each,
                heads.graphs[(each.lane.workflow, each.version)].node_of(each.task.ref).timeouts.start_ms,
            )
            for each in heads.taken
        ]
        more = heads.more or len(asking) == most
        self._waits = heads.waits
        self._behind = GLOBAL in heads.waits or more
        if asking or heads.lanes:
            await self._ask(heads, asking, places)
        return more

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
