"""What hinders or ends a pod is said by `why`, within two seconds of the cluster's own word (B4, M18)."""

from __future__ import annotations

import json
import time

import pytest

ONCE = {"max_attempts": 1}


def quota(pods: int) -> str:
    spec = {"hard": {"pods": str(pods)}}
    return json.dumps(
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": spec}
    )


async def test_a_pod_that_no_machine_can_hold_is_unschedulable(site):
    await site.worker()
    kind = site.shell("true", resources={"requests": {"cpu": "1000"}})
    run = await site.fire({"type": "shell"}, kind)

    async def told_by_cluster():
        pods = await site.items("pods")
        return pods and any(
            each["type"] == "PodScheduled" for each in pods[0]["status"].get("conditions", ())
        )

    await site.until(told_by_cluster, "the cluster says so")
    began = time.monotonic()
    assert "Insufficient cpu" in await site.until_why(run, "Unschedulable", 5)
    assert time.monotonic() - began < 2


async def test_an_image_that_cannot_be_pulled_is_named(site):
    await site.worker()
    kind = site.shell("true", kubernetes={"image_pull_policy": "IfNotPresent"})
    run = await site.fire({"type": "shell"}, kind.model_copy(update={"image": "localhost:1/none:1"}))
    assert "localhost:1/none:1" in await site.until_why(run, "ImagePullBackOff")


async def test_a_launch_that_never_came_up_fails_with_what_kept_it(site):
    await site.worker()
    kind = site.shell("true", kubernetes={"image_pull_policy": "IfNotPresent"})
    node = {"type": "shell", "retry": ONCE, "timeout": {"start": "5s"}}
    run = await site.fire(node, kind.model_copy(update={"image": "localhost:1/none:1"}))
    ended = await site.ended(run)
    assert ended["status"] == "failed"
    assert ended["error"]["type"] == "start_timeout"
    assert "ImagePullBackOff" in ended["error"]["message"]


async def test_a_full_quota_is_waited_for_and_the_pod_starts_when_there_is_room(site):
    """Fault row 24. The wait is no start timeout: a namespace without room is a queue."""
    await site.kubectl("apply", "-f", "-", given=quota(0))
    await site.worker()
    run = await site.fire({"type": "shell", "retry": ONCE, "timeout": {"start": "8s"}}, site.shell("true"))
    assert "exceeded quota" in await site.until_why(run, "QuotaExceeded")
    began = time.monotonic()

    async def waited() -> bool:
        assert (await site.store.runs.node(run, "work"))["status"] == "starting"
        return time.monotonic() - began > 9

    await site.until(waited, "longer than its start timeout")
    await site.kubectl("apply", "-f", "-", given=quota(5))
    assert (await site.ended(run))["status"] == "succeeded"


async def test_a_container_over_its_memory_limit_fails_its_attempt_as_oomkilled(site):
    """Fault row 25."""
    await site.worker()
    kind = site.shell("tail /dev/zero", resources={"limits": {"memory": "24Mi"}})
    node = {"type": "shell", "retry": {"max_attempts": 2, "initial": "10ms"}}
    ended = await site.ended(await site.fire(node, kind))
    assert (ended["status"], ended["attempt"], ended["infrastructure_faults"]) == ("failed", 2, 0)
    assert ended["error"]["type"] == "OOMKilled"


@pytest.mark.parametrize(("code", "attempts"), [(3, 2), (42, 1)])
async def test_an_exit_code_is_told_and_42_is_final(site, code: int, attempts: int):
    await site.worker()
    node = {"type": "shell", "retry": {"max_attempts": 2, "initial": "10ms"}}
    ended = await site.ended(await site.fire(node, site.shell(f"exit {code}")))
    assert (ended["status"], ended["attempt"]) == ("failed", attempts)
    assert str(code) in ended["error"]["message"]
