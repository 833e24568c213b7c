"""P6, P7 and P11: what the worker adds to the API server's own price of a Job, and what a chain of pods takes.

    make bench-cluster      or, with a cluster: python -m loadtests.cluster_rates [--freeze] [P6 P7 P11]

With --freeze everything of a cluster of `make cluster` but the API server and etcd stands still while P6 and P7 are measured;
without it its controllers work in both figures. Jobs are made in namespaces of their own, which are removed at the end.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import statistics
import sys
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import aiohttp
import orjson
import structlog
import uvloop

from app.collector import tune_collector
from app.core.spec import parse_workflow
from app.core.validate import check
from app.settings import Settings
from app.store.nodes import NodeCall, StepReport
from app.store.store import Store
from loadtests.cluster_chain import pace
from loadtests.harness import ROUNDS, Result, fire, in_turn, server, settings_for, show
from loadtests.on_cluster import namespaced, removed, workers_account, workers_rules
from tests.cluster import processes
from tests.cluster.layout import KUBECONFIG_VARIABLE, Layout, default_root
from workers.executors.kubernetes.client import CREATED, JOBS, Cluster, configuration, tls
from workers.executors.naming import INSTANCE
from workers.main import configured_executors
from workers.runtime import Runtime

WIDTH = 1500
"""Jobs of one fan-out, and of one turn of the bare loop, of P6: so many that what comes before the first one counts little."""
CONNECTIONS = 64
"""Of the bare loop; as many as a worker has submissions under way."""
DIGEST = 10
"""Bytes of the digest at the end of a Job's name."""
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


class BareLoop:
    """What a program must do at least: post raw JSON, as long as the worker's own Jobs, with the same credentials."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self.sample = b""
        """A Job of the worker's, as it was sent."""

    def bodies(self, count: int) -> list[bytes]:
        """Jobs like the sample, each of a run and an installation of its own: no worker looks after them."""
        metadata = orjson.loads(self.sample)["metadata"]
        name, run = metadata["name"].encode(), metadata["labels"]["headrace.dev/run"].encode()
        ours, other = (f'"{INSTANCE}":"{text}"'.encode() for text in (metadata["labels"][INSTANCE], "floor"))
        whole = self.sample.replace(ours, other.ljust(len(ours)))
        fixed = name[: -2 * DIGEST]
        return [
            whole.replace(name, fixed + secrets.token_hex(DIGEST).encode()).replace(
                run, b"r" + secrets.token_hex(12).encode()
            )
            for _ in range(count)
        ]

    async def post(self, body: bytes) -> None:
        async with self._session.post(self._url, data=body) as answer:
            text = await answer.read()
            assert answer.status == CREATED, text

    async def all(self, bodies: Iterable[bytes]) -> None:
        left = iter(bodies)

        async def one() -> None:
            for body in left:
                await self.post(body)

        await asyncio.gather(*(one() for _ in range(CONNECTIONS)))


class Spent:
    """Processor time per Job, of this process (a worker and the bare loop in turn) and of Valkey."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rounds: dict[str, list[tuple[float, float]]] = {}

    async def _now(self) -> tuple[float, float]:
        lines = (await self._store.batcher.call("INFO", "cpu")).decode().splitlines()
        told = dict(line.split(":") for line in lines if ":" in line)
        return process_time(), float(told["used_cpu_user"]) + float(told["used_cpu_sys"])

    @asynccontextmanager
    async def on(self, what: str, jobs: int) -> AsyncGenerator[None]:
        before = await self._now()
        yield
        after = await self._now()
        mine, valkeys = (1e6 * (b - a) / jobs for a, b in zip(before, after, strict=True))
        self._rounds.setdefault(what, []).append((mine, valkeys))

    def told(self) -> str:
        """Medians, in microseconds; the two turns of the first round are not counted."""
        found = {
            what: [statistics.median(column) for column in zip(*rounds[2:], strict=True)]
            for what, rounds in self._rounds.items()
        }
        return ", ".join(
            f"{what} {mine:.0f} µs (Valkey {valkeys:.0f})" for what, (mine, valkeys) in found.items()
        )


class Bench:
    """A worker of ours on a cluster, and how many Jobs it has made."""

    def __init__(self, store: Store, floor: BareLoop) -> None:
        self.store = store
        self.floor = floor
        self.spent = Spent(store)
        self.made = 0
        self.last = 0.0
        self._goal: tuple[int, asyncio.Event] | None = None

    def watch(self) -> None:
        """Count what the executor creates, as it creates it."""
        create, bench = Cluster.create_job, self

        async def counted(self: Cluster, job: bytes) -> None:
            await create(self, job)
            bench.floor.sample = job
            bench.note()

        Cluster.create_job = counted

    def note(self) -> None:
        """One more was made, just now."""
        self.made, self.last = self.made + 1, perf_counter()
        if self._goal is not None and self.made >= self._goal[0]:
            self._goal[1].set()

    async def reached(self, count: int) -> None:
        self._goal = (count, asyncio.Event())
        if self.made < count:
            await self._goal[1].wait()

    async def publish(self, name: str, nodes: dict[str, Any]) -> None:
        workflow = check(parse_workflow({"name": name, "nodes": nodes}), {})
        key = self.store.keys.workflow_version(name, 1)
        await self.store.batcher.call("SET", key, orjson.dumps(workflow.canonical()))

    # P6 ---------------------------------------------------------------------------------------------------------

    async def created(self) -> tuple[float, float, float]:
        """Jobs per second of both, medians of rounds A B B A of which the first is not counted, and their ratio.

        The API server collects its garbage, a third of its time, at every so many Jobs: with A B A B that can meet the same
        of the two each time, and what it meets in one round makes that round's own ratio say little.
        """
        rounds: list[tuple[float, float]] = []
        for number in range(ROUNDS + 1):
            first, *between, last = [
                await turn()
                for turn in (self._by_worker, self._by_bare_loop, self._by_bare_loop, self._by_worker)
            ]
            if number:
                rounds.append((2 * WIDTH / (first + last), 2 * WIDTH / sum(between)))
        figure, floor = (statistics.median(each) for each in zip(*rounds, strict=True))
        return figure, floor, figure / floor

    async def _by_worker(self) -> float:
        """Seconds of one fan-out, from the trigger to the last Job's answer."""
        async with self.spent.on("worker", WIDTH):
            goal, began = self.made + WIDTH, perf_counter()
            await fire(self.store, "fan")
            await self.reached(goal)
            return self.last - began

    async def _by_bare_loop(self) -> float:
        """Seconds of the bare loop for as many, whose bodies are made before the clock runs."""
        bodies = self.floor.bodies(WIDTH)
        async with self.spent.on("bare loop", WIDTH):
            began = perf_counter()
            await self.floor.all(bodies)
            return perf_counter() - began

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
        took: list[float] = []
        for body in self.floor.bodies(LENGTH):
            began = perf_counter()
            await self.floor.post(body)
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
    async with AsyncExitStack() as stack:
        valkey = await stack.enter_async_context(server(cpu=1))
        folder = Path(stack.enter_context(TemporaryDirectory()))
        settings = settings_for(
            valkey, executors="kubernetes", image_allow="*", kubeconfig=kubeconfig,
            kubernetes_namespace=f"bench-{secrets.token_hex(4)}", kubernetes_rate=100_000,
            kubernetes_pod='{"run_as_user": 65532}', global_slots=1_000_000,
        )  # fmt: skip
        cluster = await Cluster.open(settings)
        stack.push_async_callback(cluster.close)
        await namespaced(cluster)
        stack.push_async_callback(removed, cluster)
        quota = {"metadata": {"name": "no-pods"}, "spec": {"hard": {"pods": "0"}}}
        await cluster.call("POST", cluster.url("v1", "resourcequotas"), quota)  # Jobs are what is measured
        account = await workers_account(cluster, kubeconfig, folder, workers_rules())
        settings = settings.model_copy(update={"kubeconfig": account})
        store = await Store.open(settings)
        stack.push_async_callback(store.close)
        made = Bench(
            store, BareLoop(await stack.enter_async_context(_session(settings)), cluster.url(JOBS, "jobs"))
        )
        made.watch()
        await made.publish("fan", FAN["nodes"])
        chained = {f"n{i}": {"image": IMAGE, "needs": [f"n{i - 1}"] if i else []} for i in range(LENGTH)}
        await made.publish("chain", chained)
        worker = Runtime(store, settings, configured_executors(settings))
        await worker.start()
        stack.push_async_callback(worker.stop)
        tune_collector()  # as every worker does
        yield made


@asynccontextmanager
async def _session(settings: Settings) -> AsyncGenerator[aiohttp.ClientSession]:
    """The bare loop's connections, of the same account."""
    config = await configuration(settings)
    token = str(await config.get_api_key_with_prefix("BearerToken"))
    headers = {"Content-Type": "application/json", "Accept": "application/json", "Authorization": token}
    connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=tls(config))
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        yield session


async def measure(chosen: set[str], *, freeze: bool) -> dict[str, Result]:
    kubeconfig = os.environ.get(KUBECONFIG_VARIABLE) or str(default_root() / "kubeconfig" / "admin")
    results: dict[str, Result] = {}
    if "P11" in chosen:  # before the others, whose thousands of Jobs a cluster takes minutes to remove
        results["P11"] = await pace(kubeconfig)
    if chosen & {"P6", "P7"}:
        async with bench(kubeconfig) as made:
            with quiet(freeze=freeze) as floor:
                if "P6" in chosen:
                    figure, least, ratio = await made.created()
                    note = f"{floor}; processor time per Job: {made.spent.told()}"
                    results["P6"] = Result(figure, least, ratio, 0.9, "Jobs/s", note=note)
                if "P7" in chosen:
                    figure, least, _ = await in_turn(made.next_after, made.one_create)
                    note = f"{figure - least:.1f} ms more than one create call; at most 10"
                    results["P7"] = Result(
                        figure, least + 10, figure / (least + 10), 1.0, "ms", upper=True, note=note
                    )
    return dict(sorted(results.items(), key=lambda each: int(each[0][1:])))


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    words = set(sys.argv[1:])
    chosen = words - {"--freeze"} or {"P6", "P7", "P11"}
    results = uvloop.run(measure(chosen, freeze="--freeze" in words))
    sys.exit(0 if show(results, Path("bench-cluster.json")) else 1)


if __name__ == "__main__":
    main()
