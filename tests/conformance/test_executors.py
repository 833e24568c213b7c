"""What every executor owes the engine, whatever runs the nodes (M16). The same tests for each of them."""

from __future__ import annotations

import pytest


async def test_a_program_speaks_the_protocol_and_its_metadata_is_kept(site):
    await site.worker()
    run = await site.fire("program", config={"positions": 3})
    node = await site.ended(run)
    assert (node["status"], node["metadata"]) == ("succeeded", {"attempt": 1, "began": 0})
    assert (node["step"], node["seq"]) == ("finalize", 3)


async def test_exit_0_is_the_success_of_a_program_without_the_protocol_and_its_output_the_metadata(site):
    await site.worker()
    node = await site.ended(await site.fire("leaves"))
    assert (node["status"], node["metadata"]) == ("succeeded", {"rows": 3})


async def test_output_that_is_no_json_fails_clearly(site):
    await site.worker()
    node = await site.ended(await site.fire("babbles", retry={"max_attempts": 1}))
    assert (node["status"], node["error"]["type"]) == ("failed", "bad_output")


@pytest.mark.parametrize(("kind", "attempts"), [("exits-42", 1), ("exits-1", 2)])
async def test_exit_42_is_for_good_and_another_one_is_tried_again(site, kind, attempts):
    await site.worker()
    node = await site.ended(await site.fire(kind, retry={"max_attempts": 2}))
    assert (node["status"], node["error"]["type"], node["attempt"]) == ("failed", "exit", attempts)


async def test_after_a_crash_the_next_attempt_goes_on_at_the_position(site):
    await site.worker()
    run = await site.fire("program", config={"positions": 4, "crash": 2})
    node = await site.ended(run)
    assert (node["status"], node["metadata"]) == ("succeeded", {"attempt": 2, "began": 2})
    assert node["infrastructure_faults"] == 0


async def test_a_program_that_is_killed_by_hand_is_a_failed_attempt(site):
    await site.worker()
    run = await site.fire("program", config={"gate": "killed"})
    await site.place.kill(run, (await site.waits(run))["pid"])
    await site.waits(run, attempt=2)
    site.desk.gates.add("killed")
    node = await site.ended(run)
    assert (node["status"], node["attempt"], node["infrastructure_faults"]) == ("succeeded", 2, 0)


async def test_a_launch_that_is_submitted_again_by_anybody_is_not_started_again(site):
    first, second = await site.worker(), await site.worker()
    run = await site.fire("program", config={"gate": "twice"})
    await site.waits(run)
    launch = await site.launch(run)
    await first.executor.submit(launch)
    await second.executor.submit(launch)
    assert await site.place.present(run) == 1
    site.desk.gates.add("twice")
    node = await site.ended(run)
    assert (node["status"], node["attempt"], node["infrastructure_faults"]) == ("succeeded", 1, 0)
    assert len(site.desk.diary(run, what="began")) == 1


async def test_a_cancelled_program_is_asked_to_stop(site):
    await site.worker()
    run = await site.fire("program", config={"gate": "never"})
    await site.waits(run)
    await site.store.control.cancel(run)
    assert (await site.ended(run))["status"] == "cancelled"
    assert len(site.desk.diary(run, what="asked to stop")) == 1


async def test_a_cancelled_program_that_does_not_stop_is_killed_when_its_grace_is_over(site):
    await site.worker()
    run = await site.fire("program", config={"gate": "never", "stubborn": True})
    await site.waits(run)
    await site.store.control.cancel(run)
    assert (await site.ended(run))["status"] == "cancelled"


async def test_the_run_timeout_ends_a_program_without_the_protocol(site):
    await site.worker()
    run = await site.fire("sleeps", timeout={"run": "1s"}, retry={"max_attempts": 1})
    node = await site.ended(run)
    assert (node["status"], node["error"]["type"]) == ("failed", "run_timeout")


async def test_a_program_outlives_its_worker_and_another_one_hears_of_its_end(site):
    killed = await site.worker_process()
    run = await site.fire("works-a-while")
    await site.runs(run)
    killed.kill()
    await site.worker()
    node = await site.ended(run)
    assert (node["status"], node["metadata"]) == ("succeeded", {"late": True})
    assert (node["attempt"], node["infrastructure_faults"]) == (1, 0)


async def test_a_program_sees_the_variables_of_the_protocol_and_nothing_of_its_worker(site, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_WORKER", "s3cr3t")
    await site.worker()
    run = await site.fire("program", config={})
    await site.ended(run)
    [line] = site.desk.diary(run, what="began")
    theirs = set(line["environment"])
    assert "SECRET_OF_THE_WORKER" not in theirs
    assert {name for name in theirs if name.startswith("HEADRACE_")} == {
        "HEADRACE_API_URL", "HEADRACE_RUN_ID", "HEADRACE_NODE", "HEADRACE_ATTEMPT", "HEADRACE_DATA_URI",
        "HEADRACE_DATA_ROOTS", "HEADRACE_URL_ALLOW", "HEADRACE_TOKEN", "HEADRACE_OUTPUT",
    }  # fmt: skip


async def test_what_a_program_prints_is_read_while_it_runs_and_when_it_has_ended(site):
    await site.worker()
    run = await site.fire("works-a-while")

    async def begun() -> bool:
        return await site.log(run) == "begins\n"

    await site.until(begun, "the log shows what was printed so far")
    assert (await site.node(run))["status"] == "starting"
    await site.ended(run)
    assert await site.log(run) == "begins\nends\n"
