"""Schedules: which are due, firing their ticks once, and when the next ones are.

The last tick of each schedule is its mark, moved by the script that accepts the tick (fault row 28). So any number of
schedulers may do the same work at the same time, or one may die at any point: each tick becomes one trigger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from app.core.firing import fired_params
from app.core.round import iso
from app.core.schedules import Missed, Schedule, due, missed, schedules
from app.errors import NotFound
from app.store.client import Batcher, Script, pairs
from app.store.keys import Keys
from app.store.triggers import Accepted, Mark, Trigger, Triggers
from app.store.workflows import Interface, Workflows

MOVE = Script("schedule_move")

CLAIM_MS = 5_000
"""For so long other workers leave a workflow alone whose schedules one looks at; nothing but work is saved by it."""
NEVER = 1 << 52
"""When a workflow is looked at whose schedules have no tick any more."""
MOST_LOOKS = 100
SHOWN = 5
"""Coming ticks that are told of each schedule."""


class Look(NamedTuple):
    """A workflow whose schedules are to be looked at, and the time of it as it stands in the store."""

    workflow: str
    score: str

    @property
    def changed(self) -> bool:
        """It was published or resumed since the last look."""
        return self.score.startswith("-")


@dataclass(slots=True)
class Done:
    """What a look at the schedules of a workflow did; what another scheduler did before is not in it."""

    fired: list[tuple[str, int, Accepted]]
    """Schedule, tick, receipt."""
    missed: list[tuple[str, Missed, Accepted]]
    next: int
    """When to look again, ms."""

    def until(self, next: int | None) -> None:
        """A schedule is to be looked at again then; None: never."""
        if next is not None:
            self.next = min(self.next, next)

    def miss(self, schedule: Schedule, ticks: Missed, accepted: Accepted | None) -> None:
        """Ticks that start no run are reported; by another scheduler where there is no receipt."""
        if accepted is not None:
            self.missed.append((schedule.name, ticks, accepted))


class Pause(NamedTuple):
    """Whether a workflow is paused, and when (ms) it last was resumed: 0 for never."""

    paused: bool
    resumed: int


class Schedules:
    def __init__(self, batcher: Batcher, keys: Keys, workflows: Workflows, triggers: Triggers) -> None:
        self._batcher = batcher
        self._keys = keys
        self._workflows = workflows
        self._triggers = triggers

    async def looks(self, now: int) -> tuple[list[Look], int | None]:
        """What is to be looked at by now, and when (ms) something will be where nothing is."""
        key = self._keys.schedules
        command = ("ZRANGE", key, "-inf", now, "BYSCORE", "LIMIT", 0, MOST_LOOKS, "WITHSCORES")
        found = [
            Look(name.decode(), score.decode()) for name, score in pairs(await self._batcher.call(*command))
        ]
        if found:
            return found, None
        first = await self._batcher.call("ZRANGE", key, 0, 0, "WITHSCORES")
        return [], int(float(first[1])) if first else None

    async def claim(self, look: Look, now: int) -> Look | None:
        """Keep others from the same work for a while; None where another one was faster."""
        taken = Look(look.workflow, str(now + CLAIM_MS))
        return taken if await self._move(look, now + CLAIM_MS) else None

    async def look(self, look: Look, now: int) -> Done:
        """Fire what is due, and say when to look again. Raises StoreUnavailable, Backpressure: then it stays due."""
        done = await self.advance(look.workflow, now)
        await self._move(look, done.next)
        return done

    async def _move(self, look: Look, to: int) -> bool:
        reply = await self._batcher.script(MOVE, [self._keys.schedules], [look.workflow, look.score, to])
        return reply == 1

    async def fire(self, workflow: str, now: int) -> Done:
        """Somebody says that a workflow's schedules are due: fire what is. Raises StoreUnavailable, Backpressure."""
        score: bytes | None = await self._batcher.call("ZSCORE", self._keys.schedules, workflow)
        return await self.look(Look(workflow, score.decode() if score is not None else "0"), now)

    async def workflows(self) -> list[str]:
        """Every workflow with schedules."""
        return sorted(
            name.decode() for name in await self._batcher.call("ZRANGE", self._keys.schedules, 0, -1)
        )

    async def current(self, workflow: str) -> tuple[list[Schedule], bool] | None:
        """(schedules, whether they are suspended) of a workflow's current version; None where it is out of use."""
        found = await self._current(workflow)
        return None if found is None else (schedules(found[0].triggers), found[1].paused)

    async def advance(self, workflow: str, now: int) -> Done:
        """Fire the ticks of a workflow's current version that are due and not fired yet; report those that were missed."""
        done = Done([], [], NEVER)
        current = await self._current(workflow)
        if current is None:
            return done
        interface, pause = current
        marks = await self._marks(workflow)
        for schedule in schedules(interface.triggers):
            if schedule.name not in marks:  # published a moment ago: its look stands in the store already
                continue
            if pause.paused:
                done.until(schedule.timetable.after(now))
            else:
                last = await self._pass(interface, schedule, marks[schedule.name], pause.resumed, done)
                await self._advance(interface, schedule, last, now, done)
        return done

    async def _pass(
        self, interface: Interface, schedule: Schedule, last: int, resumed: int, done: Done
    ) -> int:
        """Ticks of the time in which the workflow was paused are told, and not caught up; where to go on after them."""
        gone = missed(schedule, last, resumed) if last < resumed else None
        if gone is not None:
            reason = f"{gone} not fired: the workflow was paused"
            done.miss(schedule, gone, await self._accept(interface, schedule, gone.last, filtered=reason))
        return max(last, resumed)

    async def _advance(
        self, interface: Interface, schedule: Schedule, last: int, now: int, done: Done
    ) -> None:
        coming = due(schedule, last, now)
        if coming.late is not None:
            late = (
                f"{coming.late} missed: noticed later than catch_up allows ({schedule.catch_up_ms // 1000} s)"
            )
            done.miss(
                schedule, coming.late, await self._accept(interface, schedule, coming.late.last, dead=late)
            )
        for tick in coming.ticks:
            accepted = await self._accept(interface, schedule, tick)
            if accepted is not None:
                done.fired.append((schedule.name, tick, accepted))
        done.until(coming.next)

    async def _accept(
        self,
        interface: Interface,
        schedule: Schedule,
        tick: int,
        *,
        dead: str | None = None,
        filtered: str | None = None,
    ) -> Accepted | None:
        """None where another scheduler did."""
        event = schedule.event(tick)
        params, unfit = fired_params(interface.params, schedule.params, event)
        mark = Mark(self._keys.ticks(interface.name), schedule.name, tick)
        source = f"schedule:{schedule.name}"
        trigger = Trigger(
            interface.name, interface.version, source, params, event=event, mark=mark, filtered=filtered,
            dead=dead or (None if filtered else unfit),
        )  # fmt: skip
        accepted = await self._triggers.accept(trigger)
        return None if accepted.repeated else accepted

    async def coming(self, workflow: str, now: int) -> list[dict[str, object]]:
        """[{name, cron, time_zone, last, next: [...]}] of the current version; `last` is None before the first tick.

        While the workflow is paused nothing comes next.
        """
        current = await self._current(workflow)
        if current is None:
            return []
        interface, pause = current
        marks = await self._marks(workflow)
        shown: list[dict[str, object]] = []
        for schedule in schedules(interface.triggers):
            last, ticks = marks.get(schedule.name), list[str]()
            tick = None if pause.paused else schedule.timetable.after(now)
            while tick is not None and len(ticks) < SHOWN:
                ticks.append(iso(tick))
                tick = schedule.timetable.after(tick)
            fired = last is not None and last % 60_000 == 0
            shown.append(
                {"name": schedule.name, "cron": schedule.cron, "time_zone": schedule.time_zone,
                 "last": iso(last) if fired and last is not None else None, "next": ticks}
            )  # fmt: skip
        return shown

    async def _current(self, workflow: str) -> tuple[Interface, Pause] | None:
        """The current version, None where the workflow is out of use."""
        try:
            head = await self._workflows.head(workflow)
            if head.archived is not None:
                return None
            interface = await self._workflows.interface(workflow, head.version)
        except NotFound:
            return None
        resumed = await self._batcher.call("HGET", self._keys.workflow(workflow), "resumed")
        return interface, Pause(head.paused is not None, int(resumed or 0))

    async def _marks(self, workflow: str) -> dict[str, int]:
        """The last tick of each schedule, or when it came to be."""
        flat = pairs(await self._batcher.call("HGETALL", self._keys.ticks(workflow)))
        return {name.decode(): int(value) for name, value in flat if not name.endswith(b":times")}
