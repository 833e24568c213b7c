"""P6 and P7: what the worker adds to the API server's own price of a Job.

    HEADRACE_TEST_KUBECONFIG=... python -m loadtests.cluster_rates [--freeze] [P6 P7]     (make cluster prints one)

With --freeze everything of a cluster of `make cluster` but the API server and etcd stands still meanwhile; without it its
controllers work in both figures. Jobs are made in a namespace of their own, which is removed at the end.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import statistics
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson
import structlog
import uvloop

from app.core.graph import compile_graph
from app.core.podspec import PodSpec, Resources
from app.core.spec import parse_workflow
from app.core.tasks import Task
from app.core.validate import check
from app.settings import Settings
from app.store.nodes import NodeCall, StepReport
from app.store.store import Store
from loadtests.harness import Result, fire, in_turn, server, settings_for, show
from tests.cluster import processes
from tests.cluster.layout import KUBECONFIG_VARIABLE, Layout, default_root
from workers.executors.base import Executor
from workers.executors.kubernetes.client import Cluster
from workers.executors.kubernetes.manifest import Pattern, Stencil
from workers.main import configured_executors
from workers.runtime import Runtime

WIDTH = 400
"""Jobs of one measurement of P6."""
CONNECTIONS = 64
"""Of the bare loop; as many as a worker has submissions under way."""
LENGTH = 25
"""Nodes of the chain of P7."""
STEPS = [
    StepReport("configure"),
    StepReport("execute"),
    StepReport("output", metadata=b"{}"),
    StepReport("finalize"),
]
IMAGE = "localhost/busybox:1"
FAN: dict[str, Any] = {"name": "floor", "nodes": {"n": {"image": IMAGE, "map": {"over": {"count": WIDTH}}}}}


class Bench:
    """A worker of ours on a cluster, and how many Jobs it has made."""

    def __init__(self, store: Store, settings: Settings, cluster: Cluster) -> None:
        self.store = store
        self.settings = settings
        self.cluster = cluster
        self.made = 0
        self.last = 0.0
        self._goal: tuple[int, asyncio.Event] | None = None

    def watch(self, executor: Executor) -> None:
        """Count what an executor creates, as it creates it."""
        create = Cluster.create_job

        async def counted(cluster: Cluster, job: Any) -> dict[str, Any]:
            answer = await create(cluster, job)
            self.made, self.last = self.made + 1, perf_counter()
            if self._goal is not None and self.made >= self._goal[0]:
                self._goal[1].set()
            return answer

        Cluster.create_job = counted  # pyright: ignore[reportAttributeAccessIssue]
        self._create = create

    async def reached(self, count: int) -> None:
        self._goal = (count, asyncio.Event())
        if self.made < count:
            await self._goal[1].wait()

    async def publish(self, name: str, nodes: dict[str, Any]) -> None:
        workflow = check(parse_workflow({"name": name, "nodes": nodes}), {})
        key = self.store.keys.workflow_version(name, 1)
        await self.store.batcher.call("SET", key, orjson.dumps(workflow.canonical()))

    # P6 ---------------------------------------------------------------------------------------------------------

    async def by_worker(self) -> float:
        """Jobs per second of one fan-out, from the trigger to the last Job's answer."""
        goal, began = self.made + WIDTH, perf_counter()
        await fire(self.store, "fan")
        await self.reached(goal)
        took = self.last - began
        return WIDTH / took

    async def by_bare_loop(self) -> float:
        """Jobs per second of a loop that only posts: the same body, the same session, made before the clock runs."""
        stencil = self._stencil()
        bodies = iter(
            [
                stencil.job(Task("r" + secrets.token_hex(12), f"n:{number}", 1, 0), {})
                for number in range(WIDTH)
            ]
        )
        url = self.cluster.url("batch/v1", "jobs")

        async def one() -> None:
            for body in bodies:
                await self.cluster.call("POST", url, body)

        began = perf_counter()
        await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
        return WIDTH / (perf_counter() - began)

    def _stencil(self) -> Stencil:
        graph = compile_graph(FAN, version=1)
        node, pod = graph.node("n"), PodSpec(run_as_user=65532)
        return Stencil(
            Pattern("floor", self.cluster.namespace, "floor", 1, node, IMAGE, (), Resources(), pod)
        )

    # P7 ---------------------------------------------------------------------------------------------------------

    async def next_after(self) -> float:
        """Median ms from the final checkpoint's acceptance to the answer that the next Job is created."""
        run = await fire(self.store, "chain")
        gaps: list[float] = []
        await self.reached(self.made + 1)
        for number in range(LENGTH - 1):
            call = NodeCall(run, f"n{number}", 1)
            started = await self.store.nodes.start(call, "bench", 60_000, [])
            goal = self.made + 1
            await self.store.nodes.checkpoint(call, started.epoch, STEPS)
            accepted = perf_counter()
            await self.reached(goal)
            gaps.append(1000 * (self.last - accepted))
        return statistics.median(gaps)

    async def one_create(self) -> float:
        """Median ms of one create call."""
        stencil, url = self._stencil(), self.cluster.url("batch/v1", "jobs")
        took: list[float] = []
        for number in range(LENGTH):
            body = stencil.job(Task("r" + secrets.token_hex(12), f"n:{number}", 1, 0), {})
            began = perf_counter()
            await self.cluster.call("POST", url, body)
            took.append(1000 * (perf_counter() - began))
        return statistics.median(took)


@contextmanager
def quiet(*, freeze: bool) -> Generator[str]:
    """Freeze all parts of a cluster of ours but the API server and etcd; says what floor that makes."""
    layout = Layout.load(default_root())
    if not freeze or layout is None:
        yield "controllers of the cluster at work in both"
        return
    parts = [
        each
        for each in processes.all_recorded(layout)
        if each.name in ("controllers", "scheduler", "kubelet", "kwok")
    ]
    alive = [each for each in parts if each.alive()]
    for each in alive:
        os.kill(each.pid, signal.SIGSTOP)
    try:
        yield "API server and etcd alone"
    finally:
        for each in alive:
            os.kill(each.pid, signal.SIGCONT)


@asynccontextmanager
async def bench(kubeconfig: str) -> AsyncGenerator[Bench]:
    namespace = f"bench-{secrets.token_hex(4)}"
    async with server(cpu=1) as valkey:
        settings = settings_for(
            valkey, executors="kubernetes", image_allow="*", kubeconfig=kubeconfig, kubernetes_namespace=namespace,
            kubernetes_rate=100_000, kubernetes_pod='{"run_as_user": 65532}', global_slots=1_000_000,
        )  # fmt: skip
        cluster = await Cluster.open(settings)
        namespaces = cluster.url("v1", "x").rpartition(f"/{namespace}/")[0]
        await cluster.call("POST", namespaces, {"metadata": {"name": namespace}})
        quota = {"metadata": {"name": "no-pods"}, "spec": {"hard": {"pods": "0"}}}
        await cluster.call(
            "POST", cluster.url("v1", "resourcequotas"), quota
        )  # Jobs are what is measured here
        store = await Store.open(settings)
        worker = Runtime(store, settings, configured_executors(settings))
        made = Bench(store, settings, cluster)
        made.watch(worker.executor)
        await made.publish("fan", FAN["nodes"])
        chained = {f"n{i}": {"image": IMAGE, "needs": [f"n{i - 1}"] if i else []} for i in range(LENGTH)}
        await made.publish("chain", chained)
        await worker.start()
        try:
            yield made
        finally:
            await worker.stop()
            await store.close()
            await cluster.call("DELETE", f"{namespaces}/{namespace}")
            await cluster.close()


async def measure(chosen: set[str], *, freeze: bool) -> dict[str, Result]:
    kubeconfig = os.environ.get(KUBECONFIG_VARIABLE) or str(default_root() / "kubeconfig" / "admin")
    results: dict[str, Result] = {}
    async with bench(kubeconfig) as made:
        with quiet(freeze=freeze) as floor:
            if "P6" in chosen:
                figure, least, ratio = await in_turn(made.by_worker, made.by_bare_loop)
                results["P6"] = Result(figure, least, ratio, 0.9, "Jobs/s", note=floor)
            if "P7" in chosen:
                figure, least, _ = await in_turn(made.next_after, made.one_create)
                note = f"{figure - least:.1f} ms more than one create call; at most 10"
                results["P7"] = Result(
                    figure, least + 10, figure / (least + 10), 1.0, "ms", upper=True, note=note
                )
    return results


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    words = set(sys.argv[1:])
    chosen = words - {"--freeze"} or {"P6", "P7"}
    results = uvloop.run(measure(chosen, freeze="--freeze" in words))
    sys.exit(0 if show(results, Path("bench-cluster.json")) else 1)


if __name__ == "__main__":
    main()
