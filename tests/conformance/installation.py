"""The real thing on one executor: an API process, workers, and what a test can do with them and see of them."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import httpx
import orjson
from pydantic import SecretStr

from app.core.nodetypes import NodeType
from app.core.tasks import Task
from app.embedded import EmbeddedValkey, die_with_parent, free_port
from app.settings import Settings
from app.store.store import Store
from tests.conformance.desk import Desk
from tests.conformance.places import Place
from workers.executors.base import Launch
from workers.main import configured_executors
from workers.runtime import Runtime

ROOT = Path(__file__).parents[2]
KEY = "hr_root_0123456789abcdef0123"
SCRIPTS = {
    "leaves": """echo hello; printf '{"rows": 3}' > $HEADRACE_OUTPUT""",
    "babbles": "printf 'no JSON' > $HEADRACE_OUTPUT",
    "exits-42": "exit 42",
    "exits-1": "exit 1",
    "sleeps": "trap 'exit 1' TERM; sleep 600 & wait",
    "works-a-while": """echo begins; sleep 6; echo ends; printf '{"late": true}' > $HEADRACE_OUTPUT""",
}
"""Node types that never heard of the protocol."""
WITHIN = 90.0
"""Seconds in which whatever is awaited must be seen."""


class Installation:
    """One server, one prefix, one API process."""

    def __init__(self, place: Place, desk: Desk, valkey: EmbeddedValkey, folder: Path) -> None:
        self.place, self.desk, self.folder = place, desk, folder
        self.port = free_port()
        (folder / "types").mkdir()
        self.settings = Settings(
            redis_url=SecretStr(valkey.url), prefix=f"t-{secrets.token_hex(6)}", lease=2.0, stop_grace=1.5,
            api_url=f"http://{place.host}:{self.port}", allowed_hosts=place.host, data_uri=f"file:{folder}/data",
            log_dir=folder / "logs", bootstrap_key=SecretStr(KEY), worker_capacity=8, log_level="critical",
            **place.settings(folder),
        )  # fmt: skip
        self.types = [place.program(), *(place.shell(name, script) for name, script in SCRIPTS.items())]
        for each in self.types:
            written = each.model_dump(exclude_defaults=True, exclude_none=True)
            if each.command:
                (folder / "types" / f"{each.name}.json").write_bytes(orjson.dumps(written))
        self.api = self.process("server", "--host", "0.0.0.0", "--port", str(self.port))

    def process(self, *command: str) -> subprocess.Popen[bytes]:
        """`headrace COMMAND` in a process of its own, which may be killed."""
        env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        for name, value in self.settings.model_dump().items():
            plain = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            env[f"HEADRACE_{name.upper()}"] = plain
        with (self.folder / f"{command[0]}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "app.cli.main", *command], cwd=ROOT, env=env, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, preexec_fn=die_with_parent,
            )  # fmt: skip

    def wait_for_api(self) -> None:
        def answers() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=2).status_code == 200
            except httpx.HTTPError:
                return False

        deadline = time.monotonic() + 60
        while not answers():
            assert time.monotonic() < deadline, (self.folder / "server.log").read_text()
            assert self.api.poll() is None, (self.folder / "server.log").read_text()
        for each in self.types:
            if each.image:
                self.register(each)

    def register(self, kind: NodeType) -> None:
        """Put a node type that runs an image into the catalog."""
        document = kind.model_dump(exclude_defaults=True, exclude_none=True, exclude={"name"})
        url = f"http://127.0.0.1:{self.port}/api/v1/node-types/{kind.name}"
        headers = {"authorization": f"Bearer {KEY}"}
        httpx.put(url, json=document, headers=headers, timeout=30).raise_for_status()

    def close(self) -> None:
        self.api.kill()
        self.api.wait()


class Site:
    """What a test does. Its workflows have the one node `work`."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.place, self.desk = installation.place, installation.desk
        self.workers: dict[Runtime, int] = {}
        """With the places that each has when it runs nothing."""
        self.processes: list[subprocess.Popen[bytes]] = []

    async def __aenter__(self) -> Self:
        self.store = await Store.open(self.installation.settings)
        url = f"http://127.0.0.1:{self.installation.port}/api/v1"
        self.http = httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {KEY}"}, timeout=60)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()
        for worker, free in self.workers.items():

            async def idle(worker: Runtime = worker, free: int = free) -> bool:
                return worker.executor.free() == free

            await self.until(idle, "what the worker ran has ended")
            await worker.stop()
            assert worker.failure is None, worker.failure
        for process in self.processes:
            process.kill()
            process.wait()
        await self.place.clear(self.installation.settings)
        await self.store.batcher.call("DEL", self.store.keys.workers, self.store.keys.worker_info)
        await self.store.close()

    # workers ----------------------------------------------------------------------------------------------------

    async def worker(self, **more: Any) -> Runtime:
        """A worker inside this process, `more` being settings of its own."""
        settings = self.installation.settings.model_copy(update=more)
        worker = Runtime(self.store, settings, configured_executors(settings))
        self.workers[worker] = worker.executor.free()
        await worker.start()
        return worker

    async def worker_process(self) -> subprocess.Popen[bytes]:
        """A worker that may be killed; it can claim when this returns."""
        process = self.installation.process("worker")
        self.processes.append(process)

        async def announced() -> bool:
            assert process.poll() is None, (self.installation.folder / "worker.log").read_text()
            return any(record["pid"] == process.pid for record in (await self.store.workers.live()).values())

        await self.until(announced, "the worker is live")
        return process

    async def launch(self, run: str) -> Launch:
        """The first launch of `work`, as a worker hands it to its executor."""
        [(workflow, version)] = (await self.store.workers.versions([run])).values()
        graph = await self.store.graphs.get(workflow, version)
        return Launch(Task(run, "work", 1, 0), graph, graph.node_of("work"), dict)

    # runs -------------------------------------------------------------------------------------------------------

    async def fire(self, type: str, **node: Any) -> str:
        """Publish a workflow whose node `work` is of this type, and trigger it; the id of the run."""
        if type == "program":
            desk = f"http://{self.place.host}:{self.desk.port}"
            node["config"] = {**node.get("config", {}), "desk": desk}
        name = f"w{secrets.token_hex(4)}"
        retry = {"initial": "10ms", **node.pop("retry", {})}
        nodes = {"work": {"type": type, "retry": retry, **node}}
        published = await self.http.put(f"/workflows/{name}", json={"name": name, "nodes": nodes})
        assert published.is_success, published.text
        accepted = await self.http.post(f"/workflows/{name}/runs", json={})
        assert accepted.status_code == 202, accepted.text
        return accepted.json()["run"]

    async def ended(self, run: str) -> dict[str, Any]:
        """The record of the node run `work` at the end of the run."""

        async def watch() -> None:
            async for _, event in self.store.events.subscribe(run):
                if event["type"] == "run" and event["to"] in ("succeeded", "failed", "cancelled"):
                    return

        try:
            await asyncio.wait_for(watch(), WITHIN)
        except TimeoutError:
            node = await self.node(run)
            raise AssertionError(f"the run has not ended: {node}") from None
        return await self.node(run)

    async def begun(self, run: str) -> None:
        """Wait until the trigger has become a run."""

        async def there() -> bool:
            return bool(await self.store.workers.versions([run]))

        await self.until(there, "the run is there")

    async def node(self, run: str) -> dict[str, Any]:
        return await self.store.runs.node(run, "work")

    async def waits(self, run: str, attempt: int = 1) -> dict[str, Any]:
        """Wait until the program of an attempt waits at its gate; its line in the diary."""

        async def there() -> list[dict[str, Any]]:
            return self.desk.diary(run, what="waits", attempt=attempt)

        return (await self.until(there, f"attempt {attempt} waits at its gate"))[-1]

    async def runs(self, run: str) -> None:
        """Wait until the node has been started, protocol or none."""

        async def launched() -> bool:
            raw = await self.store.batcher.call("HGET", self.store.keys.node(run, "work"), "g")
            return bool(raw) and raw != b"0"

        await self.until(launched, "it was started")

    async def log(self, run: str) -> str:
        """What GET .../logs gives now; empty while there is none."""
        answer = await self.http.get(f"/runs/{run}/nodes/work/logs")
        return answer.text if answer.status_code == 200 else ""

    async def until(self, condition: Callable[[], Awaitable[Any]], what: str) -> Any:
        deadline = time.monotonic() + WITHIN
        while not (value := await condition()):
            assert time.monotonic() < deadline, f"not seen within {WITHIN} s: {what}"
            await asyncio.sleep(0.05)
        return value
