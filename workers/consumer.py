"""The run loop: claim a run, drain its inbox, decide, commit. And the trigger loop: make runs of queued triggers.

claim (a read of the stream) -> load -> decide -> commit + admission (one round trip)
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from app.core.concurrency import OnLimit
from app.core.decide import decide, fail_run
from app.core.view import Changes
from app.errors import (
    CommitConflict,
    Conflict,
    EngineFault,
    ExpressionError,
    HeadraceError,
    InvalidInput,
    NotFound,
    StoreUnavailable,
)
from app.settings import Settings
from app.store.engine import Loaded, waiting
from app.store.store import Store
from app.store.streams import Entry, SharedStream
from app.store.triggers import ENTRY_VERSION, ENTRY_VERSIONS, Placed, QueuedTrigger, read_trigger
from workers import aftermath, children
from workers.dispatch import Dispatcher

log = structlog.get_logger("headrace.consumer")

T = TypeVar("T")
IN_HAND = 256
"""Entries that one worker has in hand at most."""
BLOCK_MS = 1000


class StreamLoop:
    """Reads a stream as one of a group and handles its entries concurrently; each is acknowledged by its handler's script."""

    def __init__(
        self, stream: SharedStream, settings: Settings, handle: Callable[[Entry], Awaitable[None]]
    ) -> None:
        self._stream = stream
        self._lease = settings.lease
        self._handle = handle
        self._in_hand: dict[str, asyncio.Task[None]] = {}
        self._space = asyncio.Event()
        self._reading: asyncio.Task[list[Entry]] | None = None
        self.draining = False

    async def read(self) -> None:
        """Take new entries while there is space, until draining."""
        while not self.draining:
            space = IN_HAND - len(self._in_hand)
            if space <= 0:
                self._space.clear()
                await self._space.wait()
                continue
            self._reading = asyncio.create_task(self._stream.read(space, BLOCK_MS))
            try:
                entries = await self._reading
            except StoreUnavailable:
                await asyncio.sleep(0.5)
                continue
            except asyncio.CancelledError:
                if self.draining:
                    return
                raise
            for entry in entries:
                self._take(entry)

    def _take(self, entry: Entry) -> None:
        if entry.id in self._in_hand:
            return
        task = asyncio.create_task(self._guard(entry))
        self._in_hand[entry.id] = task

        def ended(_: asyncio.Task[None]) -> None:
            self._in_hand.pop(entry.id, None)
            self._space.set()

        task.add_done_callback(ended)

    async def _guard(self, entry: Entry) -> None:
        """An entry whose handling fails stays pending: it is delivered again, and in the end buried."""
        try:
            await self._handle(entry)
        except StoreUnavailable:
            log.warning(
                "the store is away; the entry is delivered again", stream=self._stream.key, entry=entry.id
            )
        except Exception:
            log.exception("an entry could not be handled", stream=self._stream.key, entry=entry.id)

    async def keep(self) -> None:
        """Renew what is in hand, and reclaim what dead workers had, at a quarter of the lease."""
        while True:
            await asyncio.sleep(self._lease / 4)
            try:
                await self._stream.renew(list(self._in_hand))
                if self.draining:
                    continue
                for entry in await self._stream.reclaim(round(self._lease * 1000), IN_HAND):
                    self._take(entry)
            except StoreUnavailable:
                continue

    async def drain(self) -> None:
        """Take nothing further; return when what is in hand is done, and what a read that was broken off had been given."""
        self.draining = True
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        with contextlib.suppress(StoreUnavailable):
            for entry in await self._stream.own(IN_HAND):
                self._take(entry)
        while self._in_hand:
            await asyncio.gather(*self._in_hand.values(), return_exceptions=True)


class RunHandler:
    """Handles one entry of `active`: the run's signals become one commit."""

    def __init__(
        self,
        store: Store,
        stream: SharedStream,
        dispatcher: Dispatcher,
        settings: Settings,
        wake: Callable[[int], None],
    ) -> None:
        self._store = store
        self._stream = stream
        self._dispatcher = dispatcher
        self._max_deliveries = settings.max_deliveries
        self._lease_ms = round(settings.lease * 1000)
        self._wake = wake
        """Told of each new timer, in ms from now."""

    async def __call__(self, entry: Entry) -> None:
        run = entry.fields.get(b"r", b"").decode(errors="replace")
        while True:
            loaded = await self._store.engine.load(run, self._dispatcher.expected.take(run))
            if loaded is None:
                await self._stream.drop(entry)
                return
            if loaded.newer is not None:
                log.warning("a run is left to newer workers", run=run, reason=loaded.newer)
                await self._stream.give_back(entry, self._lease_ms)
                return
            try:
                await self._advance(entry, loaded)
            except CommitConflict:
                await asyncio.sleep(random.uniform(0, 0.01))  # noqa: S311  (spreads retries, guards nothing)
            else:
                return

    async def _advance(self, entry: Entry, loaded: Loaded) -> None:
        view = loaded.view
        changes, dead = self._decide(entry, loaded)
        turn = self._dispatcher.choose(
            [waiting(view, task) for task in changes.ready], view.graph, changes.nodes
        )
        verdicts: list[int] | None = None
        try:
            verdicts = await self._store.engine.commit(loaded, entry.id, changes, dead, turn.asking)
        finally:
            self._dispatcher.admitted(turn, verdicts, view.graph)
        timers = [ms for ms in changes.timers.values() if ms is not None]
        if timers:
            self._wake(min(timers) - loaded.now)
        if changes.release:
            self._dispatcher.freed(view.graph, changes.release)
        if changes.finished is not None:
            if view.run.concurrency:
                await self._store.concurrency.promote(view.run.workflow, view.run.concurrency)
            log.info("run ended", run=view.run.id, workflow=view.run.workflow, status=changes.finished)

    def _decide(self, entry: Entry, loaded: Loaded) -> tuple[Changes, list[tuple[str, bytes]]]:
        """The decision, or the end of a run whose signals cannot be decided; those are kept as a dead letter."""
        fault = loaded.fault
        if entry.deliveries > self._max_deliveries:
            fault = f"delivered {entry.deliveries} times without a commit"
        if fault is None:
            try:
                return decide(loaded.view, loaded.signals, loaded.now, random.random()), []  # noqa: S311
            except Exception as error:
                log.exception("a signal could not be decided", run=loaded.view.run.id)
                fault = error.message if isinstance(error, EngineFault) else type(error).__name__
        log.error("run failed by the engine", run=loaded.view.run.id, reason=fault)
        changes = fail_run(
            loaded.view, loaded.now, "The engine could not go on with this run; its signals are kept."
        )
        changes.consumed = len(loaded.raw)
        return changes, [(fault, b"[" + b",".join(raw for raw in loaded.raw) + b"]")]


class TriggerHandler:
    """Handles one entry of `triggers`: the trigger becomes a run, once."""

    def __init__(self, store: Store, stream: SharedStream, settings: Settings) -> None:
        self._store = store
        self._stream = stream
        self._lease_ms = round(settings.lease * 1000)
        self._max_deliveries = settings.max_deliveries

    async def __call__(self, entry: Entry) -> None:
        if entry.fields.get(b"v", ENTRY_VERSION) not in ENTRY_VERSIONS:
            await self._stream.give_back(entry, self._lease_ms)
            return
        end = aftermath.read_end(entry)
        if end is not None and entry.deliveries <= self._max_deliveries:
            await aftermath.fire(self._store, *end)
            await self._stream.drop(entry)
            return
        trigger: QueuedTrigger | None = None
        try:
            trigger = read_trigger(entry.id, entry.fields)
            if entry.deliveries > self._max_deliveries:
                raise ValueError(f"delivered {entry.deliveries} times without success")
            if trigger.is_child:
                trigger = await children.prepared(self._store, trigger)
            graph = await self._store.graphs.get(trigger.workflow, trigger.version)
            limit = graph.concurrency and graph.concurrency.limit(
                trigger.record["p"], trigger.record.get("ev")
            )
            kept = await self._store.takeover.take(trigger, graph)
        except (ValueError, NotFound, Conflict, InvalidInput, ExpressionError, children.Refused) as error:
            await self._give_up(entry, trigger, error)
            return
        above = None
        if limit is not None and trigger.is_child:
            up = trigger.record["up"]
            above = await self._store.concurrency.held_above(trigger.workflow, limit.digest, up)
        placed = await self._store.triggers.place_run(
            trigger, len(graph.nodes), limit, kept, nested=above is not None
        )
        if limit is None:
            return
        if placed is Placed.REJECTED and trigger.is_child:
            reason = limit.refusal_below(above) if above else limit.refusal
            await self._refuse_child(trigger, "child_rejected", reason, retryable=above is None)
        elif placed is Placed.WAITS and limit.on_limit is OnLimit.CANCEL_RUNNING:
            await self._store.concurrency.make_room(trigger.workflow, limit.digest)

    async def _give_up(self, entry: Entry, trigger: QueuedTrigger | None, error: Exception) -> None:
        """It cannot become a run: a dead letter, or the failure of the node run that waits for it."""
        reason = error.message if isinstance(error, HeadraceError) else str(error)
        if trigger is not None and trigger.is_child:
            kind = error.kind if isinstance(error, children.Refused) else "child_start"
            await self._refuse_child(trigger, kind, reason)
            return
        receipt = entry.fields.get(b"t", b"").decode(errors="replace")
        log.error("trigger buried", receipt=receipt, reason=reason)
        await self._store.triggers.bury(entry.id, receipt, entry.fields.get(b"d", b""), reason)

    async def _refuse_child(
        self, trigger: QueuedTrigger, kind: str, reason: str, *, retryable: bool = False
    ) -> None:
        """The node run that waits for it hears why, and tries again where that may help."""
        log.warning("child run refused", run=trigger.run, workflow=trigger.workflow, reason=reason)
        await self._store.triggers.refuse_child(trigger, kind, reason, retryable=retryable)
