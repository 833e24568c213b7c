"""What is a container's own: images, limits, what it must not do, and what an engine can do to us (M16)."""

from __future__ import annotations

ONCE = {"max_attempts": 1}
FACTS = """
set -- $(grep -E '^(CapEff|CapBnd|NoNewPrivs):' /proc/self/status | cut -f 2)
touch /written 2>/dev/null && root=writable || root=read-only
touch /tmp/written && tmp=writable || tmp=read-only
printf '{"user": %s, "capabilities": "%s", "bounding": "%s", "no_new_privileges": %s, "root": "%s", "tmp": "%s"}' \
    "$(id -u)" "$1" "$2" "$3" "$root" "$tmp" > $HEADRACE_OUTPUT
"""


async def test_a_container_may_do_nothing_that_its_program_does_not_need(site):
    await site.worker()
    site.installation.register(site.place.shell("facts", FACTS))
    node = await site.ended(await site.fire("facts", retry=ONCE))
    assert node["metadata"] == {
        "user": 65532,
        "capabilities": "0000000000000000",
        "bounding": "0000000000000000",
        "no_new_privileges": 1,
        "root": "read-only",
        "tmp": "writable",
    }


async def test_a_container_that_has_ended_is_removed_and_its_log_stays(site):
    await site.worker()
    run = await site.fire("leaves")
    await site.ended(run)

    async def removed() -> bool:
        return await site.place.present(run) == 0

    await site.until(removed, "the container is removed")
    assert await site.log(run) == "hello\n"


async def test_a_container_that_is_removed_by_hand_is_made_again_and_costs_no_attempt(site):
    await site.worker()
    run = await site.fire("program", config={"gate": "removed"})
    await site.waits(run)
    await site.place.clear(site.installation.settings)

    async def again() -> bool:
        return len(site.desk.diary(run, what="waits")) == 2

    await site.until(again, "another container waits")
    site.desk.gates.add("removed")
    node = await site.ended(run)
    assert (node["status"], node["attempt"], node["infrastructure_faults"]) == ("succeeded", 1, 1)
    assert node["metadata"]["began"] == 3


async def test_an_image_that_does_not_come_is_told_by_why_and_the_run_can_be_cancelled(site):
    await site.worker()
    missing = site.place.shell("missing", "true").model_copy(update={"image": "localhost:1/team/none:1"})
    site.installation.register(missing)
    run = await site.fire("missing")
    await site.begun(run)

    async def told() -> str | None:
        reasons = await site.store.why.node(run, "work")
        return next((each["detail"] for each in reasons if each.get("reason") == "ImagePullBackOff"), None)

    assert "localhost:1/team/none:1" in await site.until(told, "why says ImagePullBackOff")
    await site.store.control.cancel(run)
    assert (await site.ended(run))["status"] == "cancelled"


async def test_a_command_that_is_not_in_the_image_fails_its_attempt_with_the_engines_words(site):
    await site.worker()
    wrong = site.place.shell("wrong", "true").model_copy(update={"entrypoint": ["/bin/no-such-program"]})
    site.installation.register(wrong)
    node = await site.ended(await site.fire("wrong", retry=ONCE))
    assert (node["status"], node["error"]["type"]) == ("failed", "executor")
    assert "no-such-program" in node["error"]["message"]


async def test_the_log_of_a_container_goes_on_where_a_dead_worker_left_it(site):
    killed = await site.worker_process()
    run = await site.fire("works-a-while")

    async def begun() -> bool:
        return await site.log(run) == "begins\n"

    await site.until(begun, "the first line is copied")
    killed.kill()
    await site.worker()
    await site.ended(run)
    assert await site.log(run) == "begins\nends\n"


async def test_a_worker_whose_engine_hangs_takes_nothing_further_and_goes_on_when_it_answers(site, proxy):
    worker = await site.worker(container_engine=proxy.address, container_timeout=3.0)
    run = await site.fire("program", config={"gate": "frozen"})
    await site.waits(run)
    proxy.freeze()

    async def noticed() -> bool:
        return site.workers[worker] - worker.executor.free() == site.installation.settings.worker_capacity

    await site.until(noticed, "the worker has no place for containers")
    site.desk.gates.add("frozen")
    assert (await site.ended(run))["status"] == "succeeded"
    later = await site.fire("leaves")
    await site.begun(later)

    async def ready() -> bool:
        return (await site.node(later))["status"] == "ready"

    await site.until(ready, "the next one waits for a place")
    proxy.thaw()
    node = await site.ended(later)
    assert (node["status"], node["infrastructure_faults"]) == ("succeeded", 0)
