"""Logs, then TTL: a Job goes only when its log was archived and verified (M17, B7)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from app.joblogs import JobLog
from app.objects import Objects

WRITES = "for i in $(seq 1 200); do echo line $i; done; printf 'no newline'"
ALL = "".join(f"line {number}\n" for number in range(1, 201)) + "no newline\n"


def log_of(site, run: str, attempt: int = 1, launch: int = 0) -> JobLog:
    return JobLog(Objects(site.settings.logs_at), run, "work", attempt, launch)


async def text(log: JobLog) -> str:
    return b"".join([chunk async for chunk in log.chunks(0)]).decode()


async def archived(site, log: JobLog, seconds: float = 40) -> str:
    async def there() -> bool:
        return await log.archived() is not None and not await log.parts()

    await site.until(there, "the log is archived", seconds)
    return await text(log)


async def no_jobs(site) -> bool:
    return not await site.items("jobs")


async def test_the_log_is_archived_whole_and_only_then_the_job_goes(site):
    await site.worker(kubernetes_ttl=1)
    run = await site.fire({"type": "shell"}, site.shell(WRITES))
    await site.ended(run)
    assert await archived(site, log_of(site, run)) == ALL
    await site.until(lambda: no_jobs(site), "the Job is gone by its TTL")


async def test_a_job_has_no_ttl_before_its_log_is_archived_and_says_so_afterwards(site, tmp_path):
    """Fault row 27: the place for logs is away, so the Job stays; it goes on when the place is back."""
    blocked = tmp_path / "logs-are-here"
    blocked.write_text("a file where a directory belongs")
    site.settings = site.settings.model_copy(update={"log_uri": f"file:{blocked}/jobs"})
    await site.worker(kubernetes_ttl=600)
    run = await site.fire({"type": "shell"}, site.shell(WRITES))
    assert (await site.ended(run))["status"] == "succeeded"
    await site.kubectl("wait", "--for=condition=Complete", "job", "--all", "--timeout=40s")
    (job,) = await site.items("jobs")
    assert "ttlSecondsAfterFinished" not in job["spec"]
    blocked.unlink()
    assert await archived(site, log_of(site, run)) == ALL

    async def annotated() -> bool:
        (job,) = await site.items("jobs")
        logs = job["metadata"]["annotations"].get("headrace.dev/logs")
        return (logs, job["spec"].get("ttlSecondsAfterFinished")) == ("archived", 600)

    await site.until(annotated, "the Job has its TTL")


async def test_each_launch_and_attempt_has_a_log_of_its_own(site):
    await site.worker()
    node = {"type": "shell", "retry": {"max_attempts": 2, "initial": "10ms"}}
    run = await site.fire(node, site.shell("echo attempt $HEADRACE_ATTEMPT; exit 1"))
    await site.ended(run)
    for attempt in (1, 2):
        assert await archived(site, log_of(site, run, attempt)) == f"attempt {attempt}\n"


async def test_a_log_that_is_followed_is_read_alike_while_it_grows_and_when_it_is_archived(site):
    client = await site.api()
    await site.worker()
    run = await site.fire({"type": "shell"}, site.shell("for i in 1 2 3 4; do echo tick $i; sleep 1; done"))
    await site.pod()
    place = f"/api/v1/runs/{run}/nodes/work/logs"
    seen: list[str] = []
    grew = False
    async with client.stream("GET", place, params={"follow": "true"}) as answer:
        async for piece in answer.aiter_text():
            grew = grew or (await site.store.runs.node(run, "work"))["status"] == "starting"
            seen.append(piece)
    assert "".join(seen) == "tick 1\ntick 2\ntick 3\ntick 4\n"
    assert grew, "some of it was read while the pod ran"
    await archived(site, log_of(site, run))
    assert (await client.get(place)).text == "".join(seen)


async def test_a_worker_that_takes_over_goes_on_where_the_log_was_left(site):
    """Nothing is missing and nothing is there twice."""
    await site.worker()
    run = await site.fire(
        {"type": "shell"}, site.shell("for i in $(seq 1 60); do echo line $i; sleep 0.1; done")
    )
    await site.pod()
    log = log_of(site, run)

    async def begun() -> bool:
        return bool(await log.parts())

    await site.until(begun, "the first part is there")
    await site.workers.pop().stop()
    await site.worker()
    await site.ended(run)
    assert await archived(site, log) == "".join(f"line {number}\n" for number in range(1, 61))


async def test_a_pod_that_was_gone_before_it_was_read_is_a_log_that_says_so(site):
    """A gap is recorded as `truncated`, and releases the TTL."""
    first = await site.worker()
    run = await site.fire({"type": "shell"}, site.shell("echo hello; sleep 2"))
    await site.pod()
    await first.stop()
    site.workers.clear()
    await site.kubectl("wait", "--for=condition=Complete", "job", "--all", "--timeout=40s")
    folder = Path(site.settings.log_dir)
    await asyncio.to_thread(lambda: [path.unlink() for path in folder.rglob("*") if path.is_file()])
    await site.kubectl("delete", "pods", "--all", "--wait=true")
    await site.worker()
    assert "[headrace: " in await archived(site, log_of(site, run))
    (job,) = await site.items("jobs")
    assert json.dumps(job).count('"headrace.dev/logs": "truncated"')


async def test_a_cancelled_node_keeps_what_it_had_written(site):
    await site.worker()
    run = await site.fire(
        {"type": "shell"},
        site.shell("echo begun; trap 'echo told; exit 1' TERM; while :; do echo again; sleep 0.2; done"),
    )
    await site.pod()
    log = log_of(site, run)

    async def begun() -> bool:
        return bool(await log.parts())

    await site.until(begun, "the first part is there")
    await site.store.control.cancel(run)
    await site.ended(run)
    kept = await archived(site, log, 60)
    assert kept.startswith("begun\nagain\n")
    assert kept.endswith("told\n")
