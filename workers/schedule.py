"""The embedded scheduler: fires the ticks of schedules. Every worker runs one, and none is the leader.

What a tick becomes is decided by the store's script, so it does not matter who fires it, or that two try. A tick costs
the workflows that are due, whatever the number of the others. In a cluster CronJobs can
say when; then this looks after.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from app.core.round import iso
from app.errors import HeadraceError, StoreUnavailable, Unavailable
from app.store.schedules import Done, Look, Schedules

log = structlog.get_logger("headrace.schedule")

LOOK = 1.0
"""Seconds between looks at most: a new schedule is found by one."""
PAUSE = 0.5
BEHIND_MS = 90_000
"""A CronJob's pod has so long to say that a tick is there: the controller looks every 10 s, and a pod takes seconds."""


class Scheduler:
    """`now` gives the time in ms: the store's, so that the clocks of workers do not matter (fault row 29).

    With `changed`, somebody else notices what is due (CronJobs): it is told which workflows were published or resumed, and
    the scheduler fires only what nobody has fired after BEHIND_MS, and reports what was missed.
    """

    def __init__(
        self,
        schedules: Schedules,
        now: Callable[[], Awaitable[int]],
        changed: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._schedules = schedules
        self._now = now
        self._changed = changed
        self._behind = 0 if changed is None else BEHIND_MS

    async def run(self) -> None:
        """Fire what is due, for ever."""
        while True:
            try:
                pause = await self.step()
            except StoreUnavailable:
                pause = PAUSE
            await asyncio.sleep(pause)

    async def step(self) -> float:
        """Fire what is due now; the seconds until another look makes sense."""
        now = await self._now()
        looks, coming = await self._schedules.looks(now - self._behind)
        for look in looks:
            await self._look(look, now)
        if looks:
            return 0
        return LOOK if coming is None else min(max(coming + self._behind - now, 0) / 1000, LOOK)

    async def _look(self, look: Look, now: int) -> None:
        """One workflow; what goes wrong with it is no harm to the others, and is tried again."""
        claimed = await self._schedules.claim(look, now)
        if claimed is None:
            return
        try:
            if self._changed is not None and look.changed:
                await self._changed(look.workflow)
            _report(look.workflow, await self._schedules.look(claimed, now))
        except StoreUnavailable:
            raise
        except Unavailable as error:
            log.warning("schedules wait", workflow=look.workflow, reason=error.message)
        except HeadraceError as error:
            log.error("schedules could not be looked at", workflow=look.workflow, reason=error.message)
        except Exception:
            log.exception("schedules could not be looked at", workflow=look.workflow)


def _report(workflow: str, done: Done) -> None:
    for name, tick, accepted in done.fired:
        log.info("tick", workflow=workflow, schedule=name, tick=iso(tick), receipt=accepted.receipt)
    for name, missed, accepted in done.missed:
        log.warning(
            "ticks missed", workflow=workflow, schedule=name, first=iso(missed.first), last=iso(missed.last),
            count=missed.count, receipt=accepted.receipt,
        )  # fmt: skip
