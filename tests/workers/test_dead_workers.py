"""Any worker may die at any time: what it had is taken over within its lease, and every transition is made once."""

from __future__ import annotations

import os
import signal
import time

import pytest

from app.core.tasks import Task
from app.errors import EngineFault
from app.store.keys import GROUP
from workers.executors.process import host

GATED = {"type": "program", "config": {"positions": 2, "gate": "go"}, "retry": {"initial": "10ms"}}
LEASE = 1.0


async def pending(site, stream: str) -> int:
    try:
        return (await site.store.batcher.call("XPENDING", stream, GROUP))[0]
    except EngineFault:  # no worker has read the stream yet, so its group is not there
        return 0


def kill(process) -> None:
    process.kill()
    process.wait()


async def test_a_worker_killed_between_claim_and_transition_loses_nothing(site, stop_and_go):
    """Fault row 1: frozen while it waits for work, it is handed the trigger and dies before it acts on it."""
    doomed = await site.worker()
    runs: list[str] = []
    while not runs or not await pending(site, site.keys.triggers):
        os.kill(doomed.pid, signal.SIGCONT)  # its read had just ended: once more
        stop_and_go(doomed)
        runs += await site.fire({"a": {"type": "plain"}})
    kill(doomed)
    died = time.monotonic()
    await site.worker()
    for run in runs:
        assert await site.ended(run) == "succeeded"
    assert time.monotonic() - died < LEASE + 15
    await site.check(*runs)
    assert await pending(site, site.keys.triggers) == 0


async def test_a_redelivery_after_the_transition_changes_nothing(site):
    """Fault row 2: trigger and run are delivered again, as if the acknowledgement had been lost."""
    (run,) = await site.fire({"a": {"type": "plain"}})
    ((_, fields),) = await site.store.batcher.call("XRANGE", site.keys.triggers, "-", "+")
    await site.worker()
    assert await site.ended(run) == "succeeded"
    before = await site.store.events.read(run, "0")
    await site.store.batcher.call("XADD", site.keys.triggers, "*", *fields)
    await site.store.batcher.call("XADD", site.keys.active, "*", "r", run)

    async def drained() -> bool:
        left = [await site.store.batcher.call("XLEN", key) for key in (site.keys.triggers, site.keys.active)]
        return left == [0, 0]

    await site.until(drained, "both are handled")
    assert await site.store.events.read(run, "0") == before
    await site.check(run)


async def test_a_process_whose_worker_was_killed_is_adopted(site):
    """Fault row 3: the worker dies after it started the process; another takes the process over, and starts none."""
    doomed = await site.worker()
    (run,) = await site.fire({"a": GATED, "b": {"type": "plain", "needs": ["a"]}})
    pid = await site.waits("a")
    kill(doomed)
    second = await site.worker()

    async def adopted() -> bool:
        records = await site.store.workers.processes(host())
        return any(task.run == run and record["worker_pid"] == second.pid for task, record in records.items())

    await site.until(adopted, "the second worker has the process")
    site.open("go")
    assert await site.ended(run) == "succeeded"
    assert {line["pid"] for line in site.diary("a")} == {pid}
    assert (await site.node(run, "a"))["metadata"] == {"epoch": 1, "attempt": 1}
    await site.check(run)


async def test_a_process_that_was_started_but_never_recorded_is_adopted_too(site):
    """Fault row 3, a moment earlier: the worker died before it could say that the process runs."""
    doomed = await site.worker()
    (run,) = await site.fire({"a": GATED})
    pid = await site.waits("a")
    kill(doomed)
    task = Task(run, "a", 1, 0)
    await site.store.workers.forget_process(task, host())
    await site.store.batcher.call("ZADD", site.keys.launches, 1, task.encode())
    await site.worker()

    async def recorded() -> bool:
        return task in await site.store.workers.processes(host())

    await site.until(recorded, "the process is recorded")
    site.open("go")
    assert await site.ended(run) == "succeeded"
    assert {line["pid"] for line in site.diary("a")} == {pid}
    await site.check(run)


async def test_a_task_that_was_admitted_and_never_launched_is_submitted_by_another(site):
    (run,) = await site.fire({"a": {"type": "plain"}})
    triggers, active = (site.store.stream(key, "dead") for key in (site.keys.triggers, site.keys.active))
    from app.core.decide import decide
    from app.store.admission import Asking
    from app.store.engine import waiting
    from app.store.triggers import read_trigger

    (entry,) = await triggers.read(1, 1000)
    await site.store.triggers.start_run(read_trigger(entry.id, entry.fields), 1)
    (entry,) = await active.read(1, 1000)
    loaded = await site.store.engine.load(run)
    changes = decide(loaded.view, loaded.signals, loaded.now, 0.5)
    await site.store.engine.commit(loaded, entry.id, changes)
    asking = [Asking(waiting(loaded.view, ready), 60_000) for ready in changes.ready]
    assert await site.store.admission.admit(asking, loaded.now, fresh=True) == [1]
    await site.worker()
    assert await site.ended(run) == "succeeded"
    await site.check(run)


async def test_a_process_that_died_with_its_worker_is_an_infrastructure_fault(site):
    doomed = await site.worker()
    (run,) = await site.fire({"a": {**GATED, "retry": {"max_attempts": 1}}})
    pid = await site.waits("a")
    kill(doomed)
    os.killpg(os.getpgid(pid), signal.SIGKILL)
    site.open("go")
    await site.worker()
    assert await site.ended(run) == "succeeded"
    record = await site.node(run, "a")
    assert (record["attempt"], record["infrastructure_faults"]) == (1, 1)
    assert [line["seq"] for line in site.diary("a") if "epoch" in line] == [None, 2]
    await site.check(run, faults=True)


async def test_a_worker_that_is_told_to_end_drains_and_nothing_is_lost(site):
    """Fault row 4: SIGTERM under load."""
    first = await site.worker()
    chain = {
        "a": {"type": "plain"},
        "b": {"type": "plain", "needs": ["a"]},
        "c": {"type": "plain", "needs": ["b"]},
    }
    runs = await site.fire(chain, times=12)

    async def under_way() -> bool:
        return bool(await site.store.workers.holders())

    await site.until(under_way, "work is under way")
    first.terminate()
    assert first.wait(15) == 0
    assert await pending(site, site.keys.triggers) == 0
    assert await pending(site, site.keys.active) == 0
    await site.worker()
    for run in runs:
        assert await site.ended(run) == "succeeded"
    await site.check(*runs)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_node_programs_go_on_while_no_worker_is_there(site, number: signal.Signals):
    doomed = await site.worker()
    (run,) = await site.fire({"a": GATED, "b": {"type": "plain", "needs": ["a"]}})
    pid = await site.waits("a")
    doomed.send_signal(number)
    doomed.wait(15)
    site.open("go")

    async def won() -> bool:
        return (await site.node(run, "a"))["step"] == "finalize"

    await site.until(won, "the program ends its steps")
    assert {line["pid"] for line in site.diary("a")} == {pid}
    await site.worker()
    assert await site.ended(run) == "succeeded"
    await site.check(run)
