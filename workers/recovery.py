"""Recovery sweeps, run by arq's cron: they rebuild everything from what is recorded. A lost sweep is only a delay."""

from __future__ import annotations

import asyncio
from time import monotonic

import structlog

from app.core.signals import exit_of
from app.core.tasks import Task
from app.errors import HeadraceError
from app.store.store import Store
from app.store.streams import SharedStream
from workers.dispatch import Dispatcher

log = structlog.get_logger("headrace.recovery")

LOST_AFTER = 8.0
"""Seconds that a holder of a slot may be without a submission and without a process before it is lost."""
FORGET_AFTER_MS = 60_000


class Recovery:
    def __init__(
        self, store: Store, dispatcher: Dispatcher, streams: list[SharedStream], worker: str
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._streams = streams
        self._worker = worker
        self._suspects: dict[Task, float] = {}

    async def sweep_launches(self) -> int:
        """Submissions whose worker died before it could say that they run."""
        count = await self._dispatcher.resubmit()
        if count:
            log.info("submissions taken over", count=count)
        return count

    async def sweep_holders(self) -> int:
        """Holders of slots that nothing runs any more: their machine lost them. Used slots are facts, so they are checked
        against the node runs: one whose attempt is over is taken out."""
        workers = self._store.workers
        holders = await self._store.pools.all_holders()
        live = await workers.live()
        running = await self._store.calls.held()
        for host in {host for record in live.values() for host in (record["host"], *record.get("hosts", ()))}:
            running |= (await workers.processes(host)).keys()
        suspects = [task for task in holders if task not in running and not await workers.is_launching(task)]
        now = monotonic()
        self._suspects = {task: self._suspects.get(task, now) for task in suspects}
        lost = [task for task, since in self._suspects.items() if now - since >= LOST_AFTER]
        states = await workers.states(lost)
        count = 0
        for task, state in zip(lost, states, strict=True):
            if state.lives(task):
                log.error("a holder of a slot is lost", task=task.encode())
                gone = exit_of(task, type="lost", message="nothing runs this attempt any more", infra=True)
                await workers.exited(task.run, gone)
                count += 1
            elif await self._store.pools.reconcile(task, holders[task]):
                log.error(
                    "a holder whose attempt was over is taken out", task=task.encode(), pools=holders[task]
                )
                count += 1
        return count

    async def sweep_queue(self) -> int:
        """Node runs that are ready and not in their place in the queue."""
        count = await self._store.mending.sweep()
        if count:
            log.info("lanes filed anew", count=count)
        return count

    async def sweep_active(self) -> int:
        """Runs with signals, where the stream that should name them was lost."""
        count = await self._store.mending.reactivate()
        if count:
            log.warning("runs put into the stream again", count=count)
        return count

    async def sweep_consumers(self) -> None:
        """Consumers of dead workers that hold nothing, and the dead workers' records."""
        workers = self._store.workers
        live = set(await workers.live()) | {self._worker}
        for stream in self._streams:
            await stream.forget_consumers(live)
        await workers.bury(await workers.now() - FORGET_AFTER_MS)

    async def sweep(self) -> dict[str, int]:
        """All of them; each failure is logged and none stops another."""
        launches, holders, *others = await asyncio.gather(
            self.sweep_launches(), self.sweep_holders(), self.sweep_queue(), self.sweep_consumers(), self.sweep_active(),
            return_exceptions=True,
        )  # fmt: skip
        for result in (launches, holders, *others):
            if isinstance(result, HeadraceError):
                log.warning("a sweep was cut short", reason=result.message)
            elif isinstance(result, BaseException):
                log.error("a sweep failed", exc_info=result)
        return {"launches": launches if isinstance(launches, int) else -1,
                "holders": holders if isinstance(holders, int) else -1}  # fmt: skip
