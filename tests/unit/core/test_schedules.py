"""The ticks of a schedule, compared with the rule itself: every minute whose wall clock matches."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.schedules import MOST_AT_ONCE, MOST_COUNTED, Schedule, Timetable, due, schedules, timetable

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
BERLIN = ZoneInfo("Europe/Berlin")


def ms(text: str, zone: ZoneInfo | None = None) -> int:
    moment = datetime.fromisoformat(text)
    return int((moment.replace(tzinfo=zone) if zone else moment).timestamp() * 1000)


def local(table: Timetable, begin: str, end: str) -> list[str]:
    return [table.local(tick) for tick in table.ticks(ms(begin), ms(end))]


# daylight saving ----------------------------------------------------------------------------------------------


def test_a_time_that_the_clock_jumps_over_does_not_happen():
    table = Timetable("30 2 * * *", "Europe/Berlin")
    assert local(table, "2026-03-27T12:00Z", "2026-03-30T12:00Z") == [
        "2026-03-28T02:30:00+01:00", "2026-03-30T02:30:00+02:00",
    ]  # fmt: skip


def test_a_time_that_the_clock_shows_twice_happens_twice():
    table = Timetable("30 2 * * *", "Europe/Berlin")
    assert local(table, "2026-10-24T12:00Z", "2026-10-25T12:00Z") == [
        "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00",
    ]  # fmt: skip


def test_every_quarter_of_an_hour_is_even_in_real_time_whatever_the_clock_does():
    table = Timetable("*/15 * * * *", "Europe/Berlin")
    for day in ("2026-03-29T00:00Z", "2026-10-25T00:00Z"):
        ticks = list(islice(table.ticks(ms(day), ms(day) + DAY), 96))
        assert {b - a for a, b in pairwise(ticks)} == {15 * MINUTE}


FIELDS = (
    st.sampled_from(["*", "0", "30", "*/15", "59", "10-40/10", "5,35"]),
    st.sampled_from(["*", "0", "1", "2", "3", "23", "*/2", "1-3", "0,2,12"]),
    st.sampled_from(["*", "*", "*", "1", "*/2", "25-31", "29", "1-31"]),
    st.sampled_from(["*", "*", "MAR,APR", "10", "2"]),
    st.sampled_from(["*", "*", "SUN", "7", "1-5", "*/2", "6,0"]),
)
ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Havana",
     "Asia/Kolkata", "America/St_Johns", "Africa/Casablanca", "Pacific/Chatham", "Europe/Dublin"]
)  # fmt: skip
BEGINS = st.one_of(
    st.integers(ms("2026-01-01T00:00Z"), ms("2028-12-31T00:00Z")),
    *(st.integers(ms(day) - DAY, ms(day) + DAY) for day in (
        "2026-03-29T01:00Z", "2026-10-25T01:00Z", "2026-03-08T07:00Z", "2026-11-01T06:00Z",
        "2026-04-23T22:00Z", "2026-04-04T15:00Z", "2026-10-03T15:30Z")),
)  # fmt: skip


def numbers(field: str, low: int, high: int, names: str = "") -> set[int]:
    """The values of a field, read anew for this test."""
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        begin, _, end = span.partition("-")
        bounds = [low, high] if begin == "*" else [
            names.split().index(x) + low if x in names.split() else int(x) for x in (begin, end or begin)]  # fmt: skip
        if step and begin != "*" and not end:
            bounds[1] = high
        found |= set(range(bounds[0], bounds[1] + 1, int(step or 1)))
    return found


def by_the_rule(cron: str, zone: str, after: int, until: int) -> Iterator[int]:
    """What Kubernetes' controller counts: each minute of real time whose wall clock matches."""
    minute, hour, day, month, weekday = cron.split(" ")
    minutes, hours, days = numbers(minute, 0, 59), numbers(hour, 0, 23), numbers(day, 1, 31)
    months = numbers(month, 1, 12, "JAN FEB MAR APR")
    weekdays = {value % 7 for value in numbers(weekday, 0, 7 if "7" in weekday else 6, "SUN")}
    one_is_a_star = day == "*" or weekday == "*"
    for at in range((after // MINUTE + 1) * MINUTE, until + 1, MINUTE):
        wall = datetime.fromtimestamp(at // 1000, UTC).astimezone(ZoneInfo(zone))
        by_day, by_weekday = wall.day in days, wall.isoweekday() % 7 in weekdays
        fits = (by_day and by_weekday) if one_is_a_star else (by_day or by_weekday)
        if fits and wall.minute in minutes and wall.hour in hours and wall.month in months:
            yield at


@settings(max_examples=300, deadline=None)
@given(st.tuples(*FIELDS).map(" ".join), ZONES, BEGINS)
def test_the_ticks_are_the_minutes_whose_wall_clock_matches(cron: str, zone: str, begin: int):
    until = begin + 3 * DAY
    assert list(Timetable(cron, zone).ticks(begin, until)) == list(by_the_rule(cron, zone, begin, until))


def test_a_day_that_comes_every_four_years_is_found():
    assert timetable("0 0 29 2 *").after(ms("2025-01-01T00:00Z")) == ms("2028-02-29T00:00Z")


def test_a_day_that_never_comes_has_no_tick():
    assert timetable("0 0 31 2,4 *").after(0) is None


@pytest.mark.parametrize("name", ["Europe/Berlni", "localtime", "../../etc/passwd", ""])
def test_an_unknown_time_zone_is_told(name: str):
    with pytest.raises(ValueError, match="there is no time zone"):
        Timetable("* * * * *", name)


# what is due --------------------------------------------------------------------------------------------------


def schedule(cron: str = "0 * * * *", **more: str) -> Schedule:
    (found,) = schedules([{"webhook": {"name": "h"}}, {"schedule": {"name": "s", "cron": cron, **more}}])
    return found


NOON = ms("2026-05-01T12:00Z")


def test_nothing_is_due_before_its_time():
    found = due(schedule(), NOON, NOON + HOUR - 1)
    assert (found.late, found.ticks, found.next) == (None, [], NOON + HOUR)


def test_a_tick_is_due_from_its_very_moment():
    assert due(schedule(), NOON, NOON + HOUR).ticks == [NOON + HOUR]


def test_a_tick_is_caught_up_within_catch_up_and_missed_after_it():
    late = NOON + HOUR + 30 * MINUTE
    assert due(schedule(catch_up="30m"), NOON, late).ticks == [NOON + HOUR]
    found = due(schedule(catch_up="29m"), NOON, late)
    assert found.ticks == []
    assert found.late is not None
    assert (found.late.first, found.late.last, found.late.count) == (NOON + HOUR, NOON + HOUR, 1)


def test_after_a_long_time_away_the_old_ticks_are_missed_and_the_young_ones_fire():
    found = due(schedule(catch_up="2h"), NOON, NOON + 10 * HOUR + 1)
    assert found.ticks == [NOON + 9 * HOUR, NOON + 10 * HOUR]
    assert found.late is not None
    assert (found.late.first, found.late.last, found.late.count) == (NOON + HOUR, NOON + 8 * HOUR, 8)
    assert "8 ticks from 2026-05-01T13:00" in str(found.late)


def test_many_ticks_come_in_portions_and_none_is_lost():
    every, last, fired = schedule("* * * * *", catch_up="1d"), NOON, list[int]()
    now = NOON + 5 * HOUR
    while ticks := due(every, last, now).ticks:
        assert len(ticks) <= MOST_AT_ONCE
        fired += ticks
        last = ticks[-1]
    assert fired == list(range(NOON + MINUTE, now + 1, MINUTE))


def test_years_of_missed_ticks_are_not_counted_one_by_one():
    found = due(schedule("* * * * *"), NOON, NOON + 700 * DAY)
    assert found.late is not None
    assert found.late.count == MOST_COUNTED
    assert "1,000 ticks or more" in str(found.late)
    assert found.ticks[0] > found.late.last


def test_the_event_tells_the_scheduled_time_in_both_clocks():
    found = schedule("0 2 * * *", time_zone="Europe/Berlin")
    assert found.event(ms("2026-07-01T02:00", BERLIN)) == {
        "schedule": "s", "time": "2026-07-01T00:00:00.000Z", "local": "2026-07-01T02:00:00+02:00",
    }  # fmt: skip


def test_the_table_of_an_expression_is_shared():
    assert timetable("0 2 * * *", "Europe/Berlin") is timetable("0 2 * * *", "Europe/Berlin")
