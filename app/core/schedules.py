"""The ticks of schedules: which points in time a cron expression means in a time zone, and what is due.

A tick is a minute whose wall clock in the zone matches the expression. So one that the clock jumps over in spring does
not happen, and one that it shows twice in autumn happens twice: Kubernetes' CronJob controller counts so too.
Time zones are data, of the system or of the package tzdata; nothing else is read here. Times are Unix milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from app.core.cron import parse_cron
from app.core.durations import parse_duration
from app.core.pointers import suggest
from app.core.round import iso

DEFAULT_ZONE = "UTC"
DEFAULT_CATCH_UP_MS = 600_000
"""How late a tick may start a run where the schedule does not say: a restart of everything misses none."""
LEAST_CATCH_UP_MS = 10_000
"""Below that, a tick could be missed by nothing but a busy moment (Kubernetes' controller looks every 10 s)."""
MOST_AT_ONCE = 100
"""Ticks that one look fires; the next look goes on."""
MOST_COUNTED = 1_000
"""Missed ticks that are counted exactly."""
HORIZON_YEARS = 50
"""An expression without a tick for so long has none."""

_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)
_MINUTE_MS = 60_000
_NO_ZONES = frozenset({"localtime", "Factory", "Local"})
"""Names that mean another thing on another machine."""


class Timetable:
    """The ticks of a cron expression in a time zone. Raises ValueError with a message fit for the user."""

    __slots__ = ("cron", "zone")

    def __init__(self, cron: str, time_zone: str = DEFAULT_ZONE) -> None:
        self.cron = parse_cron(cron)
        self.zone = _zone(time_zone)

    def after(self, ms: int) -> int | None:
        """The first tick after a time, None where there is none.

        Between two changes of the zone's offset the wall clock runs evenly, so the naive time of the next match is right
        there; where the offset changes first, the search goes on from the change.
        """
        start = datetime.fromtimestamp((ms // _MINUTE_MS + 1) * 60, UTC)
        horizon = start + timedelta(days=366 * HORIZON_YEARS)
        while start < horizon:
            offset = self._offset(start)
            wall = (start + offset).replace(tzinfo=None)
            match = _next_match(self.cron, wall - _MINUTE)
            if match is None:
                return None
            tick = (match - offset).replace(tzinfo=UTC)
            change = self._change(start, tick, offset)
            if change is None:
                return int(tick.timestamp()) * 1000
            start = change
        return None

    def ticks(self, after: int, until: int) -> Iterator[int]:
        """The ticks after a time, up to and including another."""
        tick = self.after(after)
        while tick is not None and tick <= until:
            yield tick
            tick = self.after(tick)

    def local(self, ms: int) -> str:
        """A time as RFC 3339 with the zone's offset."""
        return datetime.fromtimestamp(ms / 1000, self.zone).isoformat(timespec="seconds")

    def _offset(self, at: datetime) -> timedelta:
        return at.astimezone(self.zone).utcoffset() or timedelta()

    def _change(self, start: datetime, end: datetime, offset: timedelta) -> datetime | None:
        """The first minute after `start`, up to `end`, at which the offset is another."""
        low = start
        while low < end:
            high = min(low + _DAY, end)
            if self._offset(high) != offset:
                while high - low > _MINUTE:
                    middle = low + (high - low) // (2 * _MINUTE) * _MINUTE
                    if self._offset(middle) == offset:
                        low = middle
                    else:
                        high = middle
                return high
            low = high
        return None


def _next_match(cron: str, after: datetime) -> datetime | None:
    try:
        return next(CronSim(cron, after))
    except (StopIteration, CronSimError):  # the latter for a day that none of the months has
        return None


@lru_cache(maxsize=256)
def timetable(cron: str, time_zone: str | None = None) -> Timetable:
    """The shared Timetable of an expression. Raises ValueError."""
    return Timetable(cron, time_zone or DEFAULT_ZONE)


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - _NO_ZONES


def _zone(name: str) -> ZoneInfo:
    if name not in _zones():
        raise ValueError(
            f"there is no time zone '{name}'{suggest(name, _zones())}; Europe/Berlin, for example"
        )
    return ZoneInfo(name)


@dataclass(slots=True, frozen=True)
class Schedule:
    """A schedule trigger of a document."""

    name: str
    cron: str
    time_zone: str
    catch_up_ms: int
    params: Mapping[str, Any]

    @property
    def timetable(self) -> Timetable:
        return timetable(self.cron, self.time_zone)

    @property
    def times(self) -> str:
        """What tells whether its ticks are still the same ones."""
        return f"{self.cron}|{self.time_zone}"

    def event(self, tick: int) -> dict[str, str]:
        """What expressions see as `event`: the scheduled time, never the time at which it was noticed."""
        return {"schedule": self.name, "time": iso(tick), "local": self.timetable.local(tick)}


def schedules(triggers: Iterable[Mapping[str, Any]]) -> list[Schedule]:
    """The schedule triggers of a document that was checked."""
    return [_schedule(each["schedule"]) for each in triggers if each.get("schedule") is not None]


def _schedule(fields: Mapping[str, Any]) -> Schedule:
    catch_up = parse_duration(fields["catch_up"]) if "catch_up" in fields else DEFAULT_CATCH_UP_MS
    return Schedule(
        fields["name"], fields["cron"], fields.get("time_zone", DEFAULT_ZONE),
        max(catch_up, LEAST_CATCH_UP_MS), fields.get("params") or {},
    )  # fmt: skip


@dataclass(slots=True, frozen=True)
class Missed:
    """Ticks that start no run."""

    first: int
    last: int
    count: int
    """MOST_COUNTED stands for that many or more."""

    def __str__(self) -> str:
        if self.count == 1:
            return f"the tick of {iso(self.first)} was"
        many = f"{self.count:,} ticks" if self.count < MOST_COUNTED else f"{MOST_COUNTED:,} ticks or more"
        return f"{many} from {iso(self.first)} to {iso(self.last)} were"


def missed(schedule: Schedule, last: int, until: int) -> Missed | None:
    """The ticks after a time, up to and including another; None where there is none."""
    found = list(islice(schedule.timetable.ticks(last, until), MOST_COUNTED))
    if not found:
        return None
    final = found[-1] if len(found) < MOST_COUNTED else until // _MINUTE_MS * _MINUTE_MS
    return Missed(found[0], final, len(found))


@dataclass(slots=True, frozen=True)
class Due:
    """What is to be done at a look: report `late`, then fire `ticks` in their order; then look again at `next`."""

    late: Missed | None
    ticks: list[int]
    next: int | None


def due(schedule: Schedule, last: int, now: int) -> Due:
    """What is due at `now` when `last` was the last tick that was dealt with, or when the schedule came to be."""
    table, oldest = schedule.timetable, now - schedule.catch_up_ms
    begin = max(last, oldest - 1)
    ticks = list(islice(table.ticks(begin, now), MOST_AT_ONCE))
    more = len(ticks) == MOST_AT_ONCE
    return Due(missed(schedule, last, oldest - 1), ticks, table.after(ticks[-1] if more else now))
