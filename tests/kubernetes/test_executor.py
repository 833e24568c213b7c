"""Node runs as Jobs of a real cluster: they run to their end, and outlive what people do to their Jobs (M10, M13, M16)."""

from __future__ import annotations

import json

SLEEPER = {"type": "shell"}


async def test_a_node_with_an_image_runs_to_success(site):
    await site.worker()
    node = await site.ended(await site.fire({"image": site.cluster.image("busybox:1")}))
    assert (node["status"], node["attempt"]) == ("succeeded", 1)


async def test_what_a_program_without_the_protocol_left_is_its_metadata(site):
    await site.worker()
    kind = site.shell("""printf '{"rows": 3}' > $HEADRACE_OUTPUT""")
    assert (await site.ended(await site.fire({"type": "shell"}, kind)))["metadata"] == {"rows": 3}


async def test_a_job_deleted_by_hand_is_made_again_and_costs_no_attempt(site):
    """Fault row 26."""
    await site.worker()
    run = await site.fire({"type": "shell"}, site.shell("sleep 6"))
    await site.pod()
    await site.kubectl("delete", "job", (await site.items("jobs"))[0]["metadata"]["name"])
    node = await site.ended(run)
    assert (node["status"], node["attempt"], node["infrastructure_faults"]) == ("succeeded", 1, 1)
    assert [job["metadata"]["labels"]["headrace.dev/launch"] for job in await site.items("jobs")] == ["1"]


async def test_a_cancelled_run_takes_its_job_away(site):
    await site.worker()
    run = await site.fire({"type": "stoppable"}, site.stoppable())
    await site.pod()
    name = (await site.items("jobs"))[0]["metadata"]["name"]
    await site.store.control.cancel(run)
    node = await site.ended(run)
    await site.kubectl("wait", "--for=delete", f"job/{name}", "--timeout=40s")
    assert node["status"] == "cancelled"


async def test_one_worker_watches_and_another_takes_over_when_it_dies(site):
    """The Lease of the namespace: given back by a worker that ends, run out for one that was killed."""
    killed = site.process("worker")

    async def holder() -> str:
        found = await site.kubectl("get", "leases", "-o", "jsonpath={.items[*].spec.holderIdentity}")
        return found.strip()

    first = await site.until(holder, "a worker holds the lease")
    assert f"-{killed.pid}-" in first
    run = await site.fire({"type": "shell"}, site.shell("sleep 3"))
    await site.pod()
    second = await site.worker()
    killed.kill()
    node = await site.ended(run)
    assert (node["status"], node["attempt"], node["infrastructure_faults"]) == ("succeeded", 1, 0)
    assert await holder() == second.id


async def test_a_run_that_is_cancelled_before_its_job_could_be_made_ends(site):
    """There is no Job, so no watch tells its end: whoever could not make it does."""
    none = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "no-jobs"},
            "spec": {"hard": {"count/jobs.batch": "0"}}}  # fmt: skip
    await site.kubectl("apply", "-f", "-", given=json.dumps(none))
    await site.worker()
    run = await site.fire({"type": "shell"}, site.shell("true"))
    await site.until_why(run, "QuotaExceeded")
    await site.store.control.cancel(run)
    assert (await site.ended(run, 20))["status"] == "cancelled"
    assert await site.items("jobs") == []
