"""Node runs as Jobs of a real cluster: they run to their end, and outlive what people do to their Jobs (M13, M16)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from app.core.nodetypes import NodeType
from app.core.spec import parse_workflow
from app.core.validate import check
from app.settings import Settings
from app.store.store import Store
from app.store.triggers import Trigger
from tests.kubernetes.conftest import TestCluster
from workers.main import configured_executors
from workers.runtime import Runtime


class Installation:
    """A worker whose executor is the cluster; its workflows have one node, `work`."""

    def __init__(self, store: Store, cluster: TestCluster, namespace: str) -> None:
        self.store = store
        self._cluster = cluster
        self._in = f"--namespace={namespace}"

    async def fire(self, node: dict[str, Any], *types: NodeType) -> str:
        for each in types:
            await self.store.node_types.install(each)
        known = {each.name: each for each in types}
        workflow = check(parse_workflow({"name": "shop", "nodes": {"work": node}}), known)
        key = self.store.keys.workflow_version("shop", 1)
        await self.store.batcher.call("SET", key, orjson.dumps(workflow.canonical()))
        accepted = await self.store.triggers.accept(Trigger("shop", 1, "api", {}))
        assert accepted.run is not None
        return accepted.run

    async def ended(self, run: str) -> dict[str, Any]:
        """The record of the node run at the end of the run."""
        async with asyncio.timeout(90):
            async for _, event in self.store.events.subscribe(run):
                if event["type"] == "run" and event["to"] in ("succeeded", "failed", "cancelled"):
                    break
        return await self.store.runs.node(run, "work")

    async def kubectl(self, *words: str) -> str:
        return await asyncio.to_thread(self._cluster.kubectl, *words, self._in)

    async def first_job(self) -> str:
        """The name of the first Job, once its pod runs."""
        pods = ("-l", "app.kubernetes.io/managed-by=headrace")
        await self.kubectl("wait", "--for=create", "pod", *pods, "--timeout=60s")
        await self.kubectl("wait", "--for=condition=Ready", "pod", *pods, "--timeout=60s")
        return json.loads(await self.kubectl("get", "jobs", "-o", "json"))["items"][0]["metadata"]["name"]


@pytest.fixture
async def installation(
    cluster: TestCluster, namespace: str, store: Store, settings: Settings
) -> AsyncIterator[Installation]:
    ours = settings.model_copy(
        update={
            "executors": "kubernetes",
            "image_allow": cluster.image("*"),
            "kubeconfig": str(cluster.kubeconfig),
            "kubernetes_namespace": namespace,
            "kubernetes_pod": '{"run_as_user": 65532, "image_pull_policy": "Never"}',
        }
    )
    worker = Runtime(store, ours, configured_executors(ours))
    await worker.start()
    yield Installation(store, cluster, namespace)
    await worker.stop()
    assert worker.failure is None, worker.failure


async def test_a_node_with_an_image_runs_to_success(installation: Installation, cluster: TestCluster) -> None:
    node = await installation.ended(await installation.fire({"image": cluster.image("busybox:1")}))
    assert (node["status"], node["attempt"]) == ("succeeded", 1)


async def test_a_job_deleted_by_hand_is_made_again_and_costs_no_attempt(
    installation: Installation, cluster: TestCluster
) -> None:
    sleeper = NodeType(name="sleeper", image=cluster.image("busybox:1"), entrypoint=["sleep", "8"])
    run = await installation.fire({"type": "sleeper"}, sleeper)
    await installation.kubectl("delete", "job", await installation.first_job())
    node = await installation.ended(run)
    launches = json.loads(await installation.kubectl("get", "jobs", "-o", "json"))["items"]
    assert (node["status"], node["attempt"]) == ("succeeded", 1)
    assert [job["metadata"]["labels"]["headrace.dev/launch"] for job in launches] == ["1"]


async def test_a_cancelled_run_takes_its_job_away(installation: Installation, cluster: TestCluster) -> None:
    sleeper = NodeType(name="sleeper", image=cluster.image("busybox:1"), entrypoint=["sleep", "300"])
    run = await installation.fire({"type": "sleeper"}, sleeper)
    job = await installation.first_job()
    await installation.store.control.cancel(run)
    node = await installation.ended(run)
    await installation.kubectl("wait", "--for=delete", f"job/{job}", "--timeout=30s")
    assert node["status"] == "cancelled"
