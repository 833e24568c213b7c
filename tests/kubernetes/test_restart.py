"""A pod that dies comes back and goes on inside the node, from its position; the one before it is refused (M4, M10, B2)."""

from __future__ import annotations

import json

import pytest

PROGRAM = {"type": "program", "retry": {"max_attempts": 2, "initial": "10ms"}}


@pytest.fixture
async def working(site, python_image):
    """A site with an API and a worker."""
    await site.api()
    await site.worker()
    return site


async def finished(site, run: str, pod: str):
    await site.at_position(pod)
    await site.execute(pod, "touch", "/tmp/go")
    return await site.ended(run)


async def test_a_container_that_was_killed_is_a_failed_attempt_and_the_next_goes_on_from_its_position(
    working,
):
    run = await working.fire(PROGRAM, working.program())
    first = await working.pod()
    await working.at_position(first)
    await working.execute(first, "sh", "-c", "kill -9 -1")
    node = await finished(working, run, await working.pod(without=first))
    assert node["metadata"] == {"epoch": 2, "attempt": 2, "began": 3}
    assert node["infrastructure_faults"] == 0


async def test_a_pod_that_was_deleted_costs_no_attempt(working):
    """Fault row 25: an infrastructure fault of the same attempt."""
    run = await working.fire(PROGRAM, working.program())
    first = await working.pod()
    await working.at_position(first)
    await working.kubectl("delete", "pod", first, "--grace-period=1", "--wait=false")
    node = await finished(working, run, await working.pod(without=first))
    assert node["metadata"] == {"epoch": 2, "attempt": 1, "began": 3}
    assert node["infrastructure_faults"] == 1


async def test_an_evicted_pod_is_followed_by_another_of_the_same_job(working):
    """Fault row 25: the cluster's own new pod is the same attempt, a new epoch, one infrastructure fault."""
    run = await working.fire(PROGRAM, working.program())
    first = await working.pod()
    await working.at_position(first)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction",
                "metadata": {"name": first, "namespace": working.namespace},
                "deleteOptions": {"gracePeriodSeconds": 1}}  # fmt: skip
    place = f"/api/v1/namespaces/{working.namespace}/pods/{first}/eviction"
    await working.kubectl("create", "--raw", place, "-f", "-", given=json.dumps(eviction))
    await working.until_why(run, "Disrupted")
    node = await finished(working, run, await working.pod(without=first))
    assert node["metadata"] == {"epoch": 2, "attempt": 1, "began": 3}
    assert node["infrastructure_faults"] == 1
    assert len(await working.items("jobs")) == 1


async def test_a_pod_that_was_replaced_is_refused_and_leaves(working):
    """Fault row 19: the newest instance holds the attempt; the older one gets 409 and exits."""
    run = await working.fire(PROGRAM, working.program())
    first = await working.pod()
    await working.at_position(first)
    job = (await working.items("jobs"))[0]
    twin = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "twin", "labels": {"app.kubernetes.io/managed-by": "twin"}},
        "spec": job["spec"]["template"]["spec"],
    }  # fmt: skip
    await working.kubectl("create", "-f", "-", given=json.dumps(twin))

    async def older_left() -> bool:
        return "stale" in await working.kubectl("logs", first)

    await working.until(older_left, "the older pod is refused")
    second = await working.pod(without=first)
    node = await finished(working, run, second)
    assert (node["status"], node["attempt"], node["metadata"]["began"]) == ("succeeded", 2, 3)

    async def twin_left() -> bool:
        return "stale" in await working.kubectl("logs", "twin")

    await working.until(twin_left, "the twin of the attempt that is over is refused too")
