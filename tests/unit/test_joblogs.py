"""The log of a Job in parts and in one: the same text, holes named, the middle of what is too long left out."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from app.api.handlers.logs import LaunchLog
from app.cli.commands.doctor import examine_cluster
from app.errors import Unavailable, UsageError
from app.joblogs import HEAD, PART, TAIL, JobLog, Part, PartsReader, check_shared, untimed
from app.main import create_app
from app.objects import Objects
from app.settings import Settings
from tests.unit.podlog import POD
from workers.executors.kubernetes.tail import Tail
from workers.main import configured_executors


@pytest.fixture
def log(tmp_path: Path) -> JobLog:
    return JobLog(Objects(f"file:{tmp_path}"), "r" + "0" * 24, "price:7", 1, 0)


def timed(*lines: str) -> bytes:
    return "".join(
        f"2026-01-01T00:00:0{number}.000000000Z {line}" for number, line in enumerate(lines)
    ).encode()


async def read(reader: PartsReader, *, final: bool = False) -> bytes:
    return b"".join([chunk async for chunk in reader.more(final=final)])


async def whole(log: JobLog) -> bytes:
    return b"".join([chunk async for chunk in log.chunks(0)])


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"2026-01-01T00:00:00.1Z hello world", b"hello world"),
        (b"2026-01-01T00:00:00.1Z ", b""),
        (b"not a time", b"not a time"),
    ],
)
def test_a_line_is_read_without_its_time(line: bytes, text: bytes):
    assert untimed(line) == text


async def test_a_reader_gets_each_byte_once_as_parts_grow_and_come(log: JobLog):
    reader, text = PartsReader(log), timed("one\n", "two\n", "three\n")
    await log.write(POD, 0, text[:45])
    assert await read(reader) == b"one\n"
    await log.write(POD, 0, text[:80])
    await log.write(POD, 80, text[80:])
    assert await read(reader) == b"two\nthree\n"
    assert await read(reader) == b""


async def test_the_archived_log_is_what_the_parts_gave(log: JobLog):
    await log.write(POD, 0, timed("one\n", "no end"))
    before = await read(PartsReader(log), final=True)
    assert await log.archive() == len(before)
    await log.clear_parts()
    assert (await whole(log), await log.parts()) == (before, [])
    assert before == b"one\nno end\n"


async def test_a_hole_between_parts_is_named_with_its_size(log: JobLog):
    text = timed("one\n", "two\n")
    await log.write(POD, 0, text)
    await log.write(POD, len(text) + 500, timed("three\n"))
    assert await read(PartsReader(log)) == b"one\ntwo\n[headrace: 500 bytes are left out here]\nthree\n"


async def test_the_pods_of_a_launch_follow_each_other(log: JobLog):
    await log.write("20260101T000500Z.ffffffff", 0, timed("second pod\n"))
    await log.write(POD, 0, timed("first pod"))
    assert await read(PartsReader(log), final=True) == b"first pod\nsecond pod\n"


async def test_of_a_long_log_head_and_tail_are_kept(log: JobLog):
    tail = Tail(None, log, "pod", POD, lambda: True)  # pyright: ignore[reportArgumentType]  (it never calls)
    line = timed("x" * (PART - len(timed("\n"))) + "\n")
    for _ in range((HEAD + TAIL) // PART + 5):
        await tail.take(line)
    parts = await log.parts()
    assert sum(part.size for part in parts) <= HEAD + TAIL
    assert parts[HEAD // PART - 1].end == HEAD
    assert parts[-1] == Part(POD, (HEAD + TAIL) + 4 * PART, PART)
    await log.archive()
    assert f"[headrace: {5 * PART} bytes are left out here]".encode() in await whole(log)


async def test_who_follows_a_log_while_it_is_archived_and_its_parts_go_misses_nothing(
    log: JobLog, tmp_path: Path
):
    text = timed("one\n", "two\n", "three\n")
    places = [0, *(at + 1 for at, byte in enumerate(text) if byte == ord("\n"))]
    for start, end in pairwise(places):
        await log.write(POD, start, text[start:end])
    follower = LaunchLog(tmp_path / "no-file", log)
    coming = follower.more(final=False)
    seen = [await anext(coming)]
    await log.archive()
    await log.drop(Part(POD, places[1], 0))  # the second is gone, the third is there still
    seen += [chunk async for chunk in coming]
    assert follower.complete
    assert b"".join(seen) == b"one\ntwo\nthree\n"


async def test_a_log_that_was_archived_between_two_looks_is_read_whole(log: JobLog, tmp_path: Path):
    class Quick(JobLog):
        async def parts(self) -> list[Part]:
            if await log.archived() is None:
                await log.archive()
                await log.clear_parts()
            return await log.parts()

    await log.write(POD, 0, timed("one\n"))
    quick = Quick(Objects(f"file:{tmp_path}"), "r" + "0" * 24, "price:7", 1, 0)
    reader = LaunchLog(tmp_path / "no-file", quick)
    assert [chunk async for chunk in reader.more(final=True)] == [b"one\n"]


async def test_a_log_whose_parts_another_removes_is_not_archived_again(log: JobLog, tmp_path: Path):
    text = timed("one\n", "two\n")
    half = text.index(b"\n") + 1
    await log.write(POD, 0, text[:half])
    await log.write(POD, half, text[half:])
    await log.archive()

    class Late(JobLog):
        async def parts(self) -> list[Part]:
            listed = await log.parts()
            await log.drop(listed[0])
            return listed

    late = Late(Objects(f"file:{tmp_path}"), "r" + "0" * 24, "price:7", 1, 0)
    with pytest.raises(Unavailable, match="archived by another"):
        await late.archive()
    assert await whole(log) == b"one\ntwo\n"


@pytest.fixture
def pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")


@pytest.mark.usefixtures("pod")
def test_in_a_pod_neither_worker_nor_api_starts_without_a_place_for_the_logs_of_jobs():
    settings = Settings(executors="process, kubernetes", log_dir=Path("/tmp/logs"))
    for start in (configured_executors, create_app):
        with pytest.raises(UsageError, match=r"HEADRACE_LOG_URI is not set.*s3://BUCKET/PREFIX.*log-volume"):
            start(settings)


@pytest.mark.usefixtures("pod")
async def test_doctor_finds_that_logs_would_be_lost_with_a_pod(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEADRACE_EXECUTORS", "kubernetes")
    found = {each.check: each for each in await examine_cluster()}
    assert not found["logs"].ok
    assert "HEADRACE_LOG_URI" in found["logs"].detail


@pytest.mark.usefixtures("pod")
@pytest.mark.parametrize(
    "settings",
    [Settings(executors="kubernetes", log_uri="file:/logs"), Settings(executors="process")],
    ids=["a place is named", "no Jobs are made"],
)
def test_a_pod_may_start_with_a_place_for_logs_or_without_jobs(settings: Settings):
    check_shared(settings)


def test_outside_a_cluster_logs_of_jobs_may_lie_in_the_log_directory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    check_shared(Settings(executors="kubernetes"))
