"""Cancel and its kin against real processes and real workers."""

from __future__ import annotations

import pytest

GATED = {"type": "program", "config": {"positions": 2, "gate": "go"}, "retry": {"initial": "10ms"}}


async def ask(site, run: str, what: str) -> str:
    answer = await site.http.post(f"/runs/{run}/{what}")
    assert answer.status_code == 202
    return answer.json()["status"]


async def running(site, run: str, ref: str):
    async def there() -> bool:
        return (await site.node(run, ref))["status"] == "running" or bool(
            await site.store.batcher.call("HGET", site.keys.node(run, ref), "g")
        )

    await site.until(there, f"{ref} runs")


async def test_a_cancelled_program_is_told_to_stop_and_does(working_site):
    """Graceful: SIGTERM, and `cancel` in the node protocol's answers."""
    site = working_site
    (run,) = await site.fire({"a": GATED, "b": {"type": "plain", "needs": ["a"]}})
    await site.waits("a")
    await ask(site, run, "cancel")
    assert await site.ended(run) == "cancelled"
    assert [(await site.node(run, ref))["status"] for ref in "ab"] == ["cancelled", "cancelled"]
    await site.check(run)


async def test_one_that_does_not_listen_is_killed_after_the_grace(working_site):
    site = working_site
    (run,) = await site.fire({"a": {"type": "stubborn"}})
    await running(site, run, "a")
    await ask(site, run, "cancel")
    assert await site.ended(run) == "cancelled"
    (attempt,) = await site.store.runs.attempts(run, "a")
    assert attempt["status"] == "cancelled"
    await site.check(run)


async def test_a_worker_killed_in_the_middle_of_a_wide_cancel(site):
    """Every node run is cancelled once, by whoever is there; the live one ends with its process."""
    count = 4000
    nodes = {"a": GATED, **{f"n{i}": {"type": "plain", "needs": ["a"]} for i in range(count)}}
    doomed = await site.worker()
    (run,) = await site.fire(nodes)
    await site.waits("a")
    await ask(site, run, "cancel")

    async def half_way() -> bool:
        return int(await site.store.batcher.call("HGET", site.keys.run(run), "d")) > 500

    await site.until(half_way, "the cancel is under way")
    doomed.kill()
    doomed.wait()
    done = int(await site.store.batcher.call("HGET", site.keys.run(run), "d"))
    assert done <= count + 1
    await ask(site, run, "cancel")
    await site.worker()
    assert await site.ended(run) == "cancelled"
    left = [
        item for page in range(5) for item in (await site.store.runs.nodes(run, 1000, str(page * 1000)))[0]
    ]
    assert {item["status"] for item in left} == {"cancelled"}
    await site.check(run)


async def test_fail_fast_stops_what_runs_and_then_cleans_up(working_site):
    site = working_site
    tidy = {"type": "plain", "needs": ["slow"], "join": "all_done"}
    nodes = {"slow": {"type": "stubborn"}, "bad": {"type": "exits-42", "needs": ["first"]}, "first": {"type": "plain"},
             "tidy": tidy, "after": {"type": "plain", "needs": ["tidy"]}}  # fmt: skip
    (run,) = await site.fire(nodes, on_failure="fail")
    assert await site.ended(run) == "failed"
    found = {name: (await site.node(run, name))["status"] for name in nodes}
    assert found == {
        "slow": "cancelled", "bad": "failed", "first": "succeeded", "tidy": "succeeded", "after": "cancelled",
    }  # fmt: skip
    await site.check(run)


async def test_a_run_past_its_timeout_fails_with_that_type(working_site):
    site = working_site
    (run,) = await site.fire({"a": {"type": "sleeps"}, "b": {"type": "plain", "needs": ["a"]}}, timeout="1s")
    assert await site.ended(run) == "failed"
    assert (await site.store.runs.get(run))["error"]["type"] == "timeout"
    await site.check(run)


async def test_a_paused_run_starts_nothing_and_goes_on_when_it_is_resumed(working_site):
    site = working_site
    (run,) = await site.fire({"a": GATED, "b": {"type": "plain", "needs": ["a"]}})
    await site.waits("a")
    await ask(site, run, "pause")
    site.open("go")

    async def ready() -> bool:
        return (await site.node(run, "b"))["status"] == "ready"

    await site.until(ready, "b is ready")
    (other,) = await site.fire({"a": {"type": "plain"}})
    assert await site.ended(other) == "succeeded"
    assert (await site.node(run, "b"))["status"] == "ready"
    await ask(site, run, "resume")
    assert await site.ended(run) == "succeeded"
    await site.check(run, other)


@pytest.mark.parametrize("what", ["cancel", "pause", "resume"])
async def test_an_ended_run_stays_as_it_is(working_site, what: str):
    site = working_site
    (run,) = await site.fire({"a": {"type": "plain"}})
    assert await site.ended(run) == "succeeded"
    assert await ask(site, run, what) == "succeeded"


async def test_one_at_a_time_in_the_order_they_came(working_site):
    site = working_site
    runs = await site.fire({"a": {"type": "plain"}}, times=5, concurrency={"max": 1})
    for run in runs:
        assert await site.ended(run) == "succeeded"
    records = [await site.store.runs.get(run) for run in runs]
    times = [record[name] for record in records for name in ("started", "ended")]
    assert times == sorted(times)


async def test_a_worker_killed_while_runs_wait_for_a_place(site):
    doomed = await site.worker()
    first, second = await site.fire({"a": GATED}, times=2, concurrency={"max": 1})
    await site.waits("a")
    doomed.kill()
    doomed.wait()
    await site.worker()
    site.open("go")
    assert [await site.ended(run) for run in (first, second)] == ["succeeded", "succeeded"]
    await site.check(first, second)


async def test_the_newest_run_takes_the_place_of_those_before_it(working_site):
    site = working_site
    limit = {"max": 1, "on_limit": "cancel_running"}
    *old, newest = await site.fire(
        {"a": {"type": "plain"}, "b": {"wait": {"duration": "1s"}}}, times=4, concurrency=limit
    )
    assert await site.ended(newest) == "succeeded"
    assert {await site.ended(run) for run in old} <= {"cancelled", "succeeded"}


async def test_a_paused_workflow_keeps_its_triggers_and_runs_them_when_it_is_resumed(working_site):
    site = working_site
    name = "held-back"
    (before,) = await site.fire({"a": {"type": "plain"}}, name=name)
    assert await site.ended(before) == "succeeded"
    assert (await site.http.post(f"/workflows/{name}/pause")).status_code == 202
    runs = await site.fire({"a": {"type": "plain"}}, name=name, times=3)

    async def placed() -> bool:
        return await site.store.batcher.call("EXISTS", *(site.keys.run(run) for run in runs)) == len(runs)

    await site.until(placed, "the triggers are taken")
    assert {(await site.store.runs.get(run))["status"] for run in runs} == {"queued"}
    assert (await site.http.post(f"/workflows/{name}/resume")).status_code == 202
    assert [await site.ended(run) for run in runs] == ["succeeded"] * 3
