"""A pod's log is received once and whole: in any zone, with lines of any length, however often another reads on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from app.joblogs import PART, JobLog, moment, untimed
from app.objects import Objects
from tests.unit.podlog import POD, Pod, at, text_of
from workers.executors.kubernetes import tail as module
from workers.executors.kubernetes.tail import LONGEST, Tail


@pytest.fixture
def log(tmp_path: Path) -> JobLog:
    return JobLog(Objects(f"file:{tmp_path}"), "r" + "0" * 24, "price", 1, 0)


def tail(pod: Any, log: JobLog) -> Tail:
    return Tail(pod, log, "pod", POD, lambda: True)


async def test_a_stream_that_was_silent_too_long_is_opened_anew(log: JobLog):
    pod = Pod(at(0) + b" one\n")
    pod.error = aiohttp.SocketTimeoutError()
    assert await tail(pod, log).run()
    assert pod.asked == [None, "2026-01-01T00:00:00Z"]
    assert await text_of(log) == b"one\n"


async def test_a_stream_that_its_machine_does_not_end_is_left_once_the_pod_has_ended(
    log: JobLog, monkeypatch: pytest.MonkeyPatch
):
    """What was not heard before is read without waiting for more."""
    monkeypatch.setattr(module, "FLUSH", 0.01)
    monkeypatch.setattr(module, "STUCK", 0.02)
    pod = Pod(at(0) + b" one\n")
    pod.ends_followed = False
    over = False
    reading = asyncio.create_task(Tail(cast("Any", pod), log, "pod", POD, lambda: over).run())
    await asyncio.wait_for(pod.followed.wait(), 20)
    pod.text += at(1) + b" two\n"
    over = True
    assert await asyncio.wait_for(reading, 20)
    assert await text_of(log) == b"one\ntwo\n"


async def test_each_part_holds_whole_lines(log: JobLog):
    lines = [at(number) + b" " + b"%03d" % number * 700 + b"\n" for number in range(700)]
    assert await tail(Pod(b"".join(lines)), log).run()
    contents = [await log.read(part) for part in await log.parts()]
    assert len(contents) > 1
    assert all(content.endswith(b"\n") and len(content) <= PART for content in contents)
    assert b"".join(contents) == b"".join(lines)


@pytest.mark.parametrize("size", [40, 100, PART - 7, PART])
async def test_another_reader_goes_on_where_the_parts_end_even_within_a_line(log: JobLog, size: int):
    text = b"".join(at(number) + b" " + b"%03d" % number * 700 + b"\n" for number in range(700))
    await log.write(POD, 0, text[:size])
    assert await tail(Pod(text), log).run()
    assert await text_of(log) == b"".join(untimed(line) for line in text.splitlines(keepends=True))


async def test_lines_of_one_moment_that_fill_parts_are_not_received_twice(log: JobLog):
    text = b"".join(at(0) + b" " + b"%03d" % number * 700 + b"\n" for number in range(700))
    assert await tail(Pod(text[: 2 * PART]), log).run()
    assert await tail(Pod(text), log).run()
    assert await text_of(log) == b"".join(untimed(line) for line in text.splitlines(keepends=True))


async def test_a_line_without_an_end_is_kept_in_pieces_and_again_the_same(log: JobLog):
    pod = Pod(at(0) + b" " + b"x" * (3 * LONGEST + 5) + b"\n" + at(1) + b" end\n")
    reader = tail(pod, log)
    for _ in range(2):  # the second time the parts are there
        assert await reader.run()
        assert await text_of(log) == (b"x" * LONGEST + b"\n") * 3 + b"xxxxx\nend\n"
        reader = tail(pod, log)


@pytest.mark.parametrize(
    ("word", "utc"),
    [
        (b"2026-01-01T00:30:00.5+02:00", b"2025-12-31T22:30:00.500000000Z"),
        (b"2026-01-01T00:30:00.123456789-05:30", b"2026-01-01T06:00:00.123456789Z"),
        (b"2026-01-01T00:30:00Z", b"2026-01-01T00:30:00.000000000Z"),
        (b"2026-13-01T00:30:00+02:00", b""),
        (b"unable", b""),
    ],
)
def test_the_time_before_a_line_is_told_in_utc(word: bytes, utc: bytes):
    assert moment(word) == utc


async def test_a_machine_may_tell_its_times_in_its_own_zone(log: JobLog):
    pod = Pod(b"2026-01-01T02:00:00.5+02:00 one\n2026-01-01T02:00:01.5+02:00 two\n")
    assert await tail(pod, log).run()
    assert await text_of(log) == b"one\ntwo\n"
    pod = Pod(pod.text + b"2026-01-01T02:00:01.5+02:00 three\n")
    assert await tail(pod, log).run()
    assert pod.asked == ["2026-01-01T00:00:01Z"]
    assert await text_of(log) == b"one\ntwo\nthree\n"


async def test_what_a_machine_says_instead_of_a_log_is_no_line_of_it(log: JobLog):
    assert not await tail(Pod(b"unable to retrieve container logs\n"), log).run()
    assert await text_of(log) == b""


async def test_a_last_line_without_an_end_is_kept_though_its_pod_is_gone_when_it_is_asked_again(log: JobLog):
    pod: Any = Pod(at(0) + b" one\n" + at(1) + b" last words")
    pod.gone_after = 1
    assert await Tail(pod, log, "pod", POD, lambda: False).run()
    assert await text_of(log) == b"one\nlast words\n"


async def test_a_pod_that_is_not_there_any_more_has_no_log(log: JobLog):
    pod = Pod(b"")
    pod.gone_after = 0
    assert not await tail(pod, log).run()


async def test_a_log_that_its_machine_took_away_where_reading_left_off_is_not_whole(log: JobLog):
    lines = [at(number) + b" %d\n" % number for number in range(9)]
    assert await tail(Pod(b"".join(lines[:3])), log).run()
    assert not await tail(Pod(b"".join(lines[6:])), log).run()
    assert await text_of(log) == b"0\n1\n2\n6\n7\n8\n"


async def test_lines_as_all_are_and_lines_as_few_are_come_in_their_order(log: JobLog):
    """Plain ones are looked at as one; a zone of its own, a line too long and one without an end are not plain."""
    lines = [
        at(0) + b" plain\n",
        b"2026-01-01T01:00:01+01:00 zone\n",
        at(2) + b" plain\n",
        at(3) + b" " + b"x" * LONGEST + b"y\n",
        at(4) + b" plain\n",
        at(4) + b" no end",
    ]
    for _ in range(2):
        assert await tail(Pod(b"".join(lines), chunk=100_000), log).run()
        assert await text_of(log) == b"plain\nzone\nplain\n" + b"x" * LONGEST + b"\ny\nplain\nno end\n"
