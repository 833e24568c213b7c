"""An installation whose executor is a real cluster: workers in this process, an API that pods reach, a hand for kubectl."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
from pydantic import SecretStr

from app.core.nodetypes import NodeType
from app.core.spec import parse_workflow
from app.core.validate import check
from app.embedded import die_with_parent
from app.settings import Settings
from app.store.store import Store
from app.store.triggers import Trigger
from tests.kubernetes.conftest import TestCluster
from workers.main import configured_executors
from workers.runtime import Runtime

ROOT = Path(__file__).parents[2]
OURS = ("-l", "app.kubernetes.io/managed-by=headrace")
PROGRAM = Path(__file__).with_name("pod_program.py").read_text("utf-8")

STOPPABLE = "trap 'exit 1' TERM; sleep 300 & wait"


class Site:
    """Its workflows have the one node `work`, unless a test says otherwise."""

    def __init__(self, store: Store, settings: Settings, cluster: TestCluster, namespace: str) -> None:
        self.store = store
        self.settings = settings
        self.cluster = cluster
        self.namespace = namespace
        self.workers: list[Runtime] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self.clients: list[httpx.AsyncClient] = []

    # workers ----------------------------------------------------------------------------------------------------

    async def worker(self, **settings: Any) -> Runtime:
        """A worker inside this process."""
        ours = self.settings.model_copy(update=settings)
        worker = Runtime(self.store, ours, configured_executors(ours))
        await worker.start()
        self.workers.append(worker)
        return worker

    def process(self, *command: str, **settings: Any) -> subprocess.Popen[bytes]:
        """`headrace COMMAND` in a process of its own, which may be killed."""
        values = {**self.settings.model_dump(), **settings}
        env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        for name, value in values.items():
            plain = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            env[f"HEADRACE_{name.upper()}"] = plain
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli.main", *command], cwd=ROOT, env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent,
        )  # fmt: skip
        self.processes.append(process)
        return process

    async def api(self) -> httpx.AsyncClient:
        """An API that pods reach, and a client of it."""
        port = self.settings.api_url.rpartition(":")[2]
        self.process("server", "--host", "0.0.0.0", "--port", port)
        key = self.settings.bootstrap_key.get_secret_value()
        client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers={"authorization": f"Bearer {key}"}, timeout=60
        )

        self.clients.append(client)

        async def answers() -> bool:
            try:
                return (await client.get("/readyz")).status_code == 200
            except httpx.HTTPError:
                return False

        await self.until(answers, "the API answers")
        return client

    async def close(self) -> None:
        for client in self.clients:
            await client.aclose()
        for worker in self.workers:
            await worker.stop()
            assert worker.failure is None, worker.failure
        for process in self.processes:
            process.kill()
            process.wait()

    # runs -------------------------------------------------------------------------------------------------------

    async def fire(self, node: dict[str, Any], *types: NodeType, **document: Any) -> str:
        """Publish a workflow with the node `work`, trigger it; the id of the run."""
        for each in types:
            await self.store.node_types.install(each)
        nodes = {"work": node, **document.pop("nodes", {})}
        workflow = check(
            parse_workflow({"name": "shop", "nodes": nodes, **document}), {each.name: each for each in types}
        )
        key = self.store.keys.workflow_version(workflow.name, 1)
        await self.store.batcher.call("SET", key, orjson.dumps(workflow.canonical()))
        accepted = await self.store.triggers.accept(Trigger(workflow.name, 1, "api", {}))
        assert accepted.run is not None
        return accepted.run

    def shell(self, script: str, **more: Any) -> NodeType:
        """A node type that runs a script of the shell, and never heard of the node protocol."""
        return NodeType(
            name="shell", image=self.cluster.image("busybox:1"), entrypoint=["sh", "-c", script], **more
        )

    def stoppable(self) -> NodeType:
        """The node type `stoppable`, which runs for minutes and leaves at once when it is told to."""
        return self.shell(STOPPABLE).model_copy(update={"name": "stoppable"})

    def program(self, **more: Any) -> NodeType:
        """A node type that speaks the protocol: pod_program.py."""
        # behind a shell, so that it is not the first process of its container, which no signal from inside can kill
        entrypoint = ["sh", "-c", 'python3 -c "$0"; exit $?', PROGRAM]
        return NodeType(
            name="program",
            image=self.cluster.image("headrace-base:1"),
            entrypoint=entrypoint,
            config_schema={"type": "object"},
            **more,
        )

    async def ended(self, run: str, seconds: float = 90) -> dict[str, Any]:
        """The record of the node run `work` at the end of the run."""
        try:
            async with asyncio.timeout(seconds):
                async for _, event in self.store.events.subscribe(run):
                    if event["type"] == "run" and event["to"] in ("succeeded", "failed", "cancelled"):
                        break
        except TimeoutError:
            node = await self.store.runs.node(run, "work")
            raise AssertionError(
                f"the run has not ended: {node}\n{await self.kubectl('get', 'pods,jobs', '-o', 'wide')}"
            ) from None
        return await self.store.runs.node(run, "work")

    async def why(self, run: str) -> list[dict[str, Any]]:
        return await self.store.why.node(run, "work")

    async def until(self, condition: Callable[[], Awaitable[Any]], what: str, seconds: float = 60) -> Any:
        deadline = time.monotonic() + seconds
        while not (value := await condition()):
            assert time.monotonic() < deadline, f"not seen within {seconds} s: {what}"
            await asyncio.sleep(0.1)
        return value

    async def until_why(self, run: str, reason: str, seconds: float = 60) -> str:
        """Wait until the executor gives this reason; its detail."""

        async def said() -> str | None:
            return next(
                (each["detail"] for each in await self.why(run) if each.get("reason") == reason), None
            )

        return await self.until(said, f"why says {reason}", seconds)

    # the cluster ------------------------------------------------------------------------------------------------

    async def kubectl(self, *words: str, given: str | None = None) -> str:
        return await asyncio.to_thread(
            self.cluster.kubectl, f"--namespace={self.namespace}", *words, given=given
        )

    async def items(self, kind: str) -> list[dict[str, Any]]:
        found = json.loads(await self.kubectl("get", kind, *OURS, "-o", "json"))["items"]
        return sorted(found, key=lambda each: each["metadata"]["creationTimestamp"])

    async def pod(self, without: str = "") -> str:
        """The name of the newest pod, once it runs; another one than `without`."""

        async def running() -> str | None:
            pods = [each for each in await self.items("pods") if each["metadata"]["name"] != without]
            ready = [each for each in pods if each["status"]["phase"] == "Running"
                     and "deletionTimestamp" not in each["metadata"]]  # fmt: skip
            return ready[-1]["metadata"]["name"] if ready else None

        return await self.until(running, "a pod runs")

    async def execute(self, pod: str, *command: str) -> str:
        return await self.kubectl("exec", pod, "--", *command)

    async def at_position(self, pod: str) -> None:
        """Wait until the program of a pod has checkpointed its positions and waits."""

        async def there() -> bool:
            return "waiting" in await self.kubectl("logs", pod)

        await self.until(there, "the program waits at its gate")


@asynccontextmanager
async def site_of(
    store: Store, settings: Settings, cluster: TestCluster, namespace: str
) -> AsyncGenerator[Site]:
    site = Site(store, settings, cluster, namespace)
    try:
        yield site
    finally:
        await site.close()
