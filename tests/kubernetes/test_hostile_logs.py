"""Logs of programs that mean no good, or too well: too fast, too long, no text at all, nothing."""

from __future__ import annotations

import re

from app.joblogs import HEAD, TAIL, JobLog
from app.objects import Objects

LINES = 1_000_000
FAST = f'awk \'BEGIN {{ pad = sprintf("%190s", "x"); for (i = 1; i <= {LINES}; i++) print i pad }}\''
"""Writes 198 MB as fast as its log is taken."""
NOTE = re.compile(rb"\[headrace: (.*)\]")
LONG = 4 << 20
"""Bytes of one line: less than a file of its machine; a longer one, written for seconds, would look like a gap behind it."""
RUBBISH = rf"printf '\000\001\377\376\033[31mred\033[0m 50%%\r100%%\n'; head -c {LONG} /dev/zero | tr '\000' x; echo; echo end"


def log_of(site, run: str) -> JobLog:
    return JobLog(Objects(site.settings.logs_at), run, "work", 1, 0)


async def archived(site, run: str, seconds: float = 60) -> bytes:
    log = log_of(site, run)

    async def there() -> bool:
        return await log.archived() is not None and not await log.parts()

    await site.until(there, "the log is archived", seconds)
    return b"".join([chunk async for chunk in log.chunks(0)])


async def said_of(site) -> str:
    """What is said of the log of the one Job there is, once it is said."""

    async def said() -> str | None:
        (job,) = await site.items("jobs")
        return job["metadata"]["annotations"].get("headrace.dev/logs")

    return await site.until(said, "the Job says what became of its log")


async def test_of_much_that_is_written_fast_the_head_is_kept_and_what_is_missing_is_told(site):
    """More than the machine keeps: it takes files away behind a reader who is late. Then the log says that it may have gaps."""
    await site.worker()
    run = await site.fire({"type": "shell"}, site.shell(FAST))
    await site.ended(run, 110)
    lines = (await archived(site, run)).splitlines()
    assert len(b"".join(lines)) < HEAD + TAIL + (1 << 20)
    assert [int(line.split(b" ")[0]) for line in lines[:10_000]] == list(range(1, 10_001))
    notes = [found[1] for line in lines if (found := NOTE.fullmatch(line))]
    if await said_of(site) == "archived":
        (note,) = notes
        assert note.endswith(b"bytes are left out here")
        dropped = int(note.split(b" ")[0])
        received = dropped + sum(len(line) + 32 for line in lines)
        assert received > LINES * 200
        assert lines[-1].startswith(str(LINES).encode())
    else:
        assert notes[-1] == b"the log may have gaps or end early: its machine had no more of it"


async def test_rubbish_and_a_line_of_four_megabytes_are_kept(site):
    await site.worker()
    run = await site.fire({"type": "shell"}, site.shell(RUBBISH))
    await site.ended(run)
    first, *pieces, last = (await archived(site, run)).removesuffix(b"\n").split(b"\n")
    assert first == b"\x00\x01\xff\xfe\x1b[31mred\x1b[0m 50%\r100%"
    assert b"".join(pieces) == b"x" * LONG
    assert last == b"end"
    assert await said_of(site) == "archived"


async def test_a_node_that_writes_nothing_has_an_empty_log(site):
    client = await site.api()
    await site.worker()
    run = await site.fire({"type": "shell"}, site.shell("true"))
    await site.ended(run)
    assert await archived(site, run) == b""
    answer = await client.get(f"/api/v1/runs/{run}/nodes/work/logs", params={"follow": "true"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert await said_of(site) == "archived"
