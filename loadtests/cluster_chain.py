"""P11: a chain of SDK nodes on the real cluster, against a bare loop that makes the next Job when the pod before has Succeeded.

Real pods on a real kubelet. The chain's programs speak the protocol, checkpoint their steps over HTTP and write results; those
of the loop are `true`, in pods that are otherwise the same. API and worker are processes on the machine of the cluster.
"""

from __future__ import annotations

import secrets
import tempfile
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson

from app.core.graph import compile_graph
from app.core.podspec import PodSpec, Resources
from app.core.tasks import Task
from loadtests.api import until
from loadtests.harness import Result, in_turn
from loadtests.on_cluster import USER, OnCluster, on_cluster
from workers.executors.kubernetes.client import JOBS, PODS
from workers.executors.kubernetes.logs import settled
from workers.executors.kubernetes.manifest import Pattern, Stencil

NODES = 10
IMAGE = "localhost/nodes:dev"
ROUNDS = 3
PATIENCE = 180.0
"""Seconds that one chain, or one pod of the loop, may take."""
PROGRAM = """
from headrace import Node

class Link(Node):
    type = "link"
    def configure(self, ctx):
        return [{"id": number} for number in range(10)]
    def execute(self, ctx, record):
        return record

Link.main()
"""
LINK: dict[str, Any] = {
    "title": "Link", "image": IMAGE, "entrypoint": ["python", "-c", PROGRAM],
    "config_schema": {"type": "object"}, "metadata_schema": {"type": "object"},
}  # fmt: skip
CHAIN: dict[str, Any] = {
    "name": "chain",
    "nodes": {
        f"n{number}": {"type": "link", "needs": [f"n{number - 1}"] if number else []}
        for number in range(NODES)
    },
}


class Chains:
    """Both ways to run one pod after another."""

    def __init__(self, place: OnCluster) -> None:
        self._place = place
        graph = compile_graph({"name": "loop", "nodes": {"n": {"image": IMAGE}}}, version=1)
        pod = PodSpec(run_as_user=USER, image_pull_policy="Never")
        self._stencil = Stencil(
            Pattern("loop", place.cluster.namespace, "loop", 1, graph.node("n"), IMAGE, ("true",), Resources(), pod)
        )  # fmt: skip

    async def by_headrace(self) -> float:
        """Seconds per node of a chain, from its trigger's acceptance to its end by the engine's clock.

        Returns when its logs are archived too: what it leaves to do is no burden on the other figure.
        """
        record = await self._place.api.ended(await self._place.fire("chain"), PATIENCE)
        assert record["status"] == "succeeded", record
        took = datetime.fromisoformat(record["ended"]) - datetime.fromisoformat(record["created"])
        await until(self._settled, PATIENCE, 0.25)
        return took.total_seconds() / NODES

    async def _settled(self) -> bool:
        jobs = await self._place.cluster.call(
            "GET",
            self._place.cluster.url(JOBS, "jobs"),
            params={"labelSelector": "headrace.dev/workflow=chain"},
        )
        return all(settled(job) for job in jobs["items"])

    async def by_bare_loop(self) -> float:
        """Seconds per pod of a loop that only creates Jobs and watches pods."""
        run = "r" + secrets.token_hex(12)
        cluster = self._place.cluster
        pods = cluster.url(PODS, "pods")
        ours = {"labelSelector": f"headrace.dev/run={run}", "watch": "1"}
        made = 0
        async with cluster.stream(pods, ours, silence=PATIENCE) as answer:
            began = perf_counter()
            while made < NODES:
                await cluster.create_job(self._stencil.job(Task(run, f"n:{made}", 1, 0), {}))
                made += 1
                while True:
                    event = orjson.loads(await answer.content.readline())["object"]
                    number = event["metadata"]["labels"]["headrace.dev/item"]
                    if number == str(made - 1) and event["status"]["phase"] == "Succeeded":
                        break
            return (perf_counter() - began) / NODES


async def pace(kubeconfig: str) -> Result:
    """P11. Raises ClusterError, TimeoutError."""
    with tempfile.TemporaryDirectory() as folder:
        async with on_cluster(Path(folder), kubeconfig, workers=1) as place:
            await place.publish(CHAIN, link=LINK)
            chains = Chains(place)
            figure, floor, ratio = await in_turn(chains.by_headrace, chains.by_bare_loop, ROUNDS)
    note = f"a chain of {NODES} SDK nodes against pods that run `true`, {ROUNDS} rounds"
    return Result(figure, floor, ratio, 0.7, "s/node", upper=True, note=note)
