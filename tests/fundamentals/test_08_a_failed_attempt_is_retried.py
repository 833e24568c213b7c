"""A failed attempt is followed by another, after a back-off that holds no slot. The machine's faults do not count."""

from __future__ import annotations

QUICK = {"max_attempts": 3, "initial": "10ms", "max": "20ms"}
NODES = {"call": {"type": "step", "retry": QUICK}}


async def test_a_node_that_fails_twice_succeeds_with_its_third_attempt(stage):
    async def third_time_lucky(program):
        await program.start()
        await (program.succeed() if program.task.attempt == 3 else program.fail())

    stage.plays("call", third_time_lucky)
    run = await stage.run_of(NODES)
    assert await stage.ended(run) == "succeeded"
    attempts = await stage.store.runs.attempts(run, "call")
    assert [attempt["attempt"] for attempt in attempts] == [1, 2, 3]
    assert [attempt["status"] for attempt in attempts] == ["failed", "failed", "succeeded"]
    broken = {"type": "Broken", "message": "it broke"}
    assert [attempt["error"] for attempt in attempts] == [broken, broken, None]
    assert (await stage.node(run, "call"))["error"] is None


async def test_after_the_last_attempt_the_node_has_failed(stage):
    stage.plays("call", lambda program: program.exit(1))
    run = await stage.run_of(NODES)
    assert await stage.ended(run) == "failed"
    node = await stage.node(run, "call")
    assert (node["status"], node["attempt"]) == ("failed", 3)


async def test_exit_code_42_is_never_retried(stage):
    stage.plays("call", lambda program: program.exit(42))
    run = await stage.run_of(NODES)
    assert await stage.ended(run) == "failed"
    assert (await stage.node(run, "call"))["attempt"] == 1


async def test_back_off_holds_no_slot(stage):
    stage.by_hand("call")
    run = await stage.run_of({"call": {"type": "step", "retry": {"initial": "30d", "max": "30d"}}})
    call = await stage.launched("call")
    assert list(await stage.store.workers.holders()) == [call.task]
    await call.exit(1)
    node = await stage.until(run, "call", "waiting")
    assert node["waiting_until"] is not None
    assert await stage.store.workers.holders() == {}


async def test_a_fault_of_the_machine_is_the_same_attempt_again(stage):
    stage.by_hand("call")
    run = await stage.run_of({"call": {"type": "step", "retry": {"max_attempts": 1}}})
    first = await stage.launched("call")
    await first.is_lost()
    second = await stage.launched("call")
    assert (second.task.attempt, second.task.launch) == (1, 1)
    await second.succeed()
    assert await stage.ended(run) == "succeeded"


async def test_an_attempt_that_has_not_started_yet_is_not_listed(stage):
    stage.by_hand("call")
    run = await stage.run_of({"call": {"type": "step", "retry": {"initial": "30d", "max": "30d"}}})
    await (await (await stage.launched("call")).start()).fail()
    node = await stage.until(run, "call", "waiting")
    assert (node["attempt"], node["started"]) == (2, None)
    (only,) = await stage.store.runs.attempts(run, "call")
    assert (only["attempt"], only["error"]["type"]) == (1, "Broken")
