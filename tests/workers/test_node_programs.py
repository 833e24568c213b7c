"""Node programs as local processes: with the protocol and without it, and what each way of ending means."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest

ONCE = {"max_attempts": 1}


@pytest.fixture
def site(working_site):
    return working_site


async def test_a_program_speaks_the_protocol_and_its_metadata_is_kept(site):
    (run,) = await site.fire({"a": {"type": "program", "config": {"positions": 3}}})
    assert await site.ended(run) == "succeeded"
    node = await site.node(run, "a")
    assert node["metadata"] == {"epoch": 1, "attempt": 1}
    assert (node["step"], node["seq"]) == ("finalize", 3)
    await site.check(run)


async def test_a_program_without_the_protocol_succeeds_by_exit_0_and_leaves_its_metadata_in_a_file(site):
    (run,) = await site.fire({"a": {"type": "plain"}})
    assert await site.ended(run) == "succeeded"
    assert (await site.node(run, "a"))["metadata"] == {"plain": True}
    await site.check(run)


async def test_metadata_that_is_not_json_fails_clearly(site):
    (run,) = await site.fire({"a": {"type": "babbles", "retry": ONCE}})
    assert await site.ended(run) == "failed"
    assert (await site.node(run, "a"))["error"]["type"] == "bad_output"


async def test_a_secret_that_an_error_repeats_is_seen_nowhere(site):
    """Fault row 39: not in the node run's error, not in its log, not in what the API tells."""
    (run,) = await site.fire({"a": {"type": "leaks", "retry": ONCE}})
    assert await site.ended(run) == "failed"
    log = (await site.http.get(f"/runs/{run}/nodes/a/logs")).text
    node = (await site.http.get(f"/runs/{run}/nodes/a")).text
    history = str(await site.store.events.read(run, "0"))
    assert "refused Bearer ***" in log
    assert "refused Bearer ***" in node
    shown = re.findall(r"Bearer ([^\\\s]+)", log + node + history)
    assert set(shown) == {"***", "{TOKEN}"}, "the second is the program's line, in its traceback"


async def test_exit_42_is_not_retried_and_exit_1_is(site):
    retry = {"max_attempts": 2, "initial": "10ms"}
    (run,) = await site.fire(
        {"a": {"type": "exits-42", "retry": retry}, "b": {"type": "exits-1", "retry": retry}}
    )
    assert await site.ended(run) == "failed"
    assert ((await site.node(run, "a"))["attempt"], (await site.node(run, "b"))["attempt"]) == (1, 2)
    await site.check(run)


async def test_a_program_that_is_killed_alone_is_a_failed_attempt_and_the_next_resumes(site):
    node = {"type": "program", "config": {"positions": 5, "gate": "go"}, "retry": {"initial": "10ms"}}
    (run,) = await site.fire({"a": node})
    os.kill(await site.waits("a"), signal.SIGKILL)
    await site.waits("a", attempt=2)
    site.open("go")
    assert await site.ended(run) == "succeeded"
    first, second = [line for line in site.diary("a") if "epoch" in line]
    assert (first["attempt"], first["seq"]) == (1, None)
    assert (second["attempt"], second["epoch"], second["step"], second["seq"]) == (2, 2, "configure", 5)
    record = await site.node(run, "a")
    assert (record["attempt"], record["infrastructure_faults"]) == (2, 0)
    await site.check(run)


async def test_a_silent_program_is_stopped_and_its_attempt_has_failed(site):
    node = {"type": "program", "config": {"hang": True}, "retry": ONCE, "timeout": {"heartbeat": "300ms"}}
    (run,) = await site.fire({"a": node})
    assert await site.ended(run) == "failed"
    assert (await site.node(run, "a"))["error"]["type"] == "heartbeat_timeout"
    with pytest.raises(ProcessLookupError):
        os.kill(site.diary("a")[0]["pid"], 0)
    await site.check(run)


async def test_a_program_without_the_protocol_is_stopped_by_its_run_timeout(site):
    (run,) = await site.fire({"a": {"type": "sleeps", "retry": ONCE, "timeout": {"run": "300ms"}}})
    assert await site.ended(run) == "failed"
    assert (await site.node(run, "a"))["error"]["type"] == "run_timeout"
    await site.check(run)


async def test_every_answer_may_be_lost_and_asked_for_again(site):
    """Fault row 20: the retry after a lost answer gets the same answer."""
    (run,) = await site.fire({"a": {"type": "program", "config": {"twice": True, "positions": 2}}})
    assert await site.ended(run) == "succeeded"

    async def asked_for_all() -> bool:
        return sum("same" in line for line in site.diary("a")) == 6

    await site.until(asked_for_all, "the program has asked for its last answer again")
    answers = [line["same"] for line in site.diary("a") if "same" in line]
    assert all(answers)
    await site.check(run)


async def test_of_two_processes_of_one_attempt_the_older_is_refused_and_exits(site):
    """Fault rows 18, 19: the second instance is the same program in the same environment."""
    node = {"type": "program", "config": {"gate": "go"}, "retry": {"initial": "10ms"}}
    (run,) = await site.fire({"a": node})
    older = await site.waits("a")
    environment = Path(f"/proc/{older}/environ").read_bytes().split(b"\0")
    env = {k.decode(): v.decode() for k, _, v in (line.partition(b"=") for line in environment) if k}
    command = Path(f"/proc/{older}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    newer = await asyncio.create_subprocess_exec(*command, env=env)

    async def refused():
        return [line for line in site.diary("a") if "stale" in line and line["pid"] == older]

    await site.until(refused, "the older process is refused")
    site.open("go")
    assert await site.ended(run) == "succeeded"
    await newer.wait()
    epochs = [line["epoch"] for line in site.diary("a") if "epoch" in line]
    assert epochs == sorted(set(epochs)), "every instance had an epoch of its own"
    assert (await site.node(run, "a"))["metadata"]["epoch"] in epochs[1:]
    await site.check(run)
