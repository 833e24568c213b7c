"""Schedules as CronJobs of a real cluster: made, mended, suspended and removed with their versions; pods post ticks (M8)."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from app.core.round import iso
from tests.kubernetes.site import Site
from workers.cronjobs import CronJobs
from workers.executors.kubernetes.cronjob import name_of
from workers.runtime import Runtime

NIGHTLY = {"name": "nightly", "cron": "0 2 * * MON-FRI", "time_zone": "Europe/Berlin", "catch_up": "1h"}


@pytest.fixture
async def worker(site: Site, python_image: str) -> Runtime:
    """A worker that leaves the clock to CronJobs."""
    site.settings.scheduler, site.settings.tick_image = "cronjobs", python_image
    return await site.worker()


def cronjobs_of(worker: Runtime) -> CronJobs:
    assert worker.cronjobs is not None
    return worker.cronjobs


async def publish(api: httpx.AsyncClient, *schedules: dict[str, Any]) -> None:
    document: dict[str, Any] = {
        "name": "clock",
        "nodes": {"a": {"wait": {"duration": "0s"}}},
        "output": {"tick": "${{ params.tick }}"},
    }
    document["triggers"] = [{"schedule": each} for each in schedules]
    (await api.put("/api/v1/workflows/clock", json=document)).raise_for_status()


async def found(site: Site) -> dict[str, dict[str, Any]]:
    """The specs of the CronJobs that are there, by their names."""
    raw = await site.kubectl("get", "cronjobs", "-o", "json")
    return {each["metadata"]["name"]: each["spec"] for each in json.loads(raw)["items"]}


async def test_a_published_schedule_is_a_cronjob_at_once(site: Site, worker: Runtime):
    api = await site.api()
    await publish(api, NIGHTLY)

    async def there() -> bool:
        return bool(await found(site))

    await site.until(there, "the CronJob is there", 20)
    ((name, spec),) = (await found(site)).items()
    assert name == name_of(site.settings.prefix, "clock", "nightly")
    assert (spec["schedule"], spec["timeZone"]) == ("0 2 * * 1,2,3,4,5", "Europe/Berlin")
    assert (spec["concurrencyPolicy"], spec["startingDeadlineSeconds"]) == ("Forbid", 3600)
    assert spec["suspend"] is False
    assert await cronjobs_of(worker).sweep() == {"applied": 0, "removed": 0}


async def test_drift_is_mended(site: Site, worker: Runtime):
    api, name = await site.api(), name_of(site.settings.prefix, "clock", "nightly")
    await publish(api, NIGHTLY)
    await cronjobs_of(worker).sweep()
    change = '{"spec": {"schedule": "* * * * *", "suspend": true}}'
    await site.kubectl("patch", "cronjob", name, "--type=merge", "-p", change)
    assert await cronjobs_of(worker).sweep() == {"applied": 1, "removed": 0}
    spec = (await found(site))[name]
    assert (spec["schedule"], spec["suspend"]) == ("0 2 * * 1,2,3,4,5", False)
    await site.kubectl("delete", "cronjob", name)
    assert await cronjobs_of(worker).sweep() == {"applied": 1, "removed": 0}
    assert name in await found(site)


async def test_a_paused_workflow_is_suspended_and_goes_on_when_it_is_resumed(site: Site, worker: Runtime):
    api, name = await site.api(), name_of(site.settings.prefix, "clock", "nightly")
    await publish(api, NIGHTLY)
    await cronjobs_of(worker).sweep()
    (await api.post("/api/v1/workflows/clock/pause")).raise_for_status()
    await cronjobs_of(worker).sweep()
    assert (await found(site))[name]["suspend"] is True
    (await api.post("/api/v1/workflows/clock/resume")).raise_for_status()

    async def goes_on() -> bool:
        return (await found(site))[name]["suspend"] is False

    await site.until(goes_on, "it is not suspended any more", 20)


async def test_a_cronjob_goes_with_its_version(site: Site, worker: Runtime):
    api = await site.api()
    await publish(api, NIGHTLY, {"name": "hourly", "cron": "0 * * * *"})
    await cronjobs_of(worker).sweep()
    assert len(await found(site)) == 2
    await publish(api, NIGHTLY)
    await cronjobs_of(worker).sweep()
    assert list(await found(site)) == [name_of(site.settings.prefix, "clock", "nightly")]
    (await api.delete("/api/v1/workflows/clock")).raise_for_status()
    await cronjobs_of(worker).sweep()
    assert await found(site) == {}


@pytest.mark.timeout(300)
async def test_the_pod_of_a_cronjob_posts_the_tick_which_becomes_one_run(site: Site, worker: Runtime):
    api = await site.api()
    await publish(api, {"name": "often", "cron": "* * * * *", "params": {"tick": "${{ event.time }}"}})

    async def posted() -> str | None:
        pods = json.loads(
            await site.kubectl("get", "pods", "-l", "headrace.dev/schedule=often", "-o", "json")
        )["items"]
        done = [each["metadata"]["name"] for each in pods if each["status"]["phase"] == "Succeeded"]
        return done[0] if done else None

    pod = await site.until(posted, "a pod has posted", 150)
    (receipt,) = json.loads(await site.kubectl("logs", pod))["receipts"]

    async def ended() -> dict[str, Any] | None:
        run = (await api.get(f"/api/v1/runs/{receipt['run']}")).json()
        return run if run.get("status") == "succeeded" else None

    run = await site.until(ended, "its run has ended", 30)
    assert run["output"]["tick"] == receipt["time"]
    minutes = int(json.loads(await site.kubectl("get", "pod", pod, "-o", "json"))["metadata"]["labels"][
        "batch.kubernetes.io/job-name"].rpartition("-")[2])  # fmt: skip
    assert receipt["time"] == iso(minutes * 60_000)
