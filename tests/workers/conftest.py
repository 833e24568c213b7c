"""The real thing, in processes of its own: an API, workers, node programs; and a hand that kills any of them."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr

from app.embedded import EmbeddedValkey, die_with_parent, free_port
from app.settings import Settings
from app.store.keys import Keys
from app.store.store import Store
from workers.executors.process import end_all

ROOT = Path(__file__).parents[2]
KEY = "hr_root_0123456789abcdef0123"
LEASE = 1.0
SECRET = "s3cr3t/of-the-engine"
"""The value of the secret `engine-key`, which may be sent to 127.0.0.1."""
OLDER = ("-c", "from app.core import signals; signals.VERSION = 1; from app.cli.main import run; run()")
"""The command of a release that reads signals of the first version only."""
PROGRAM = str(Path(__file__).with_name("node_program.py"))
# fmt: off
TYPES: dict[str, list[str]] = {
    "program": ["{python}", "-I", "-S", PROGRAM],
    "late": ["/bin/sh", "-c", 'until [ -e "${HEADRACE_OUTPUT%/*}/go" ]; do sleep 0.02; done; exec "$0" -I -S "$1"',
             "{python}", PROGRAM],
    "picky": ["{python}", "-I", str(Path(__file__).with_name("picky_node.py"))],
    "leaks": ["{python}", "-I", str(Path(__file__).with_name("leaking_node.py"))],
    "plain": ["/bin/sh", "-c", 'printf \'{"plain": true}\' > "$HEADRACE_OUTPUT"'],
    "exits-42": ["/bin/sh", "-c", "exit 42"],
    "exits-1": ["/bin/sh", "-c", "exit 1"],
    "stubborn": ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"],
    "sleeps": ["/bin/sh", "-c", "sleep 600"],
    "babbles": ["/bin/sh", "-c", 'printf "not JSON" > "$HEADRACE_OUTPUT"'],
}
# fmt: on


class Installation:
    """One server, one prefix, one API process; any number of worker processes."""

    def __init__(self, valkey: EmbeddedValkey, folder: Path, prefix: str | None = None) -> None:
        self.valkey = valkey
        self.folder = folder
        self.port = free_port()
        self.settings = Settings(
            redis_url=SecretStr(valkey.url), prefix=prefix or f"t-{secrets.token_hex(6)}", lease=LEASE,
            api_url=f"http://127.0.0.1:{self.port}", log_dir=folder / "logs", data_uri=f"file:{folder}/data",
            node_types=str(folder / "types"), bootstrap_key=SecretStr(KEY), log_level="info", worker_capacity=8,
            stop_grace=1.5,
            url_allow="127.0.0.1", secrets_dir=str(folder / "secrets"), secrets_allow=str(folder / "allow.yaml"),
            circuit_failures=4, circuit_pause=2.0, listen_stream=f"events-{secrets.token_hex(6)}",
        )  # fmt: skip
        (folder / "secrets").mkdir()
        (folder / "secrets" / "engine-key").write_text(f"{SECRET}\n")
        (folder / "allow.yaml").write_text(
            "engine-key: {hosts: ['http://127.0.0.1']}\nelsewhere: {hosts: [search.example]}\n"
        )
        self.keys = Keys(self.settings.prefix)
        (folder / "types").mkdir()
        for name, command in TYPES.items():
            manifest = {"name": name, "version": 1, "command": command}
            (folder / "types" / f"{name}.json").write_bytes(orjson.dumps(manifest))
        self.processes: list[subprocess.Popen[bytes]] = []
        self.api = self._spawn("server", "--port", str(self.port))

    def _spawn(
        self, *command: str, program: Sequence[str] = ("-m", "app.cli.main")
    ) -> subprocess.Popen[bytes]:
        settings = self.settings.model_dump()
        env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        for name, value in settings.items():
            plain = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            env[f"HEADRACE_{name.upper()}"] = plain
        with (self.folder / f"{command[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *program, *command], cwd=ROOT, env=env, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, preexec_fn=die_with_parent,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def wait_for_api(self) -> None:
        def answers() -> bool:
            try:
                return httpx.get(f"{self.settings.api_url}/readyz", timeout=2).status_code == 200
            except httpx.HTTPError:
                return False

        deadline = time.monotonic() + 120  # a loaded machine imports slowly
        while not answers():
            assert time.monotonic() < deadline, (self.folder / "server.log").read_text()
            assert self.api.poll() is None, (self.folder / "server.log").read_text()

    def worker(self, *, older: bool = False) -> subprocess.Popen[bytes]:
        return self._spawn("worker", program=OLDER) if older else self._spawn("worker")

    def listener(self) -> subprocess.Popen[bytes]:
        return self._spawn("listener")

    def kill_all(self, *, api: bool) -> None:
        for process in self.processes if api else self.processes[1:]:
            if process.poll() is None:
                process.kill()
            process.wait()
        del self.processes[0 if api else 1 :]


@pytest.fixture(scope="session")
def installation(valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = Installation(valkey, tmp_path_factory.mktemp("installation"))
    made.wait_for_api()
    yield made
    made.kill_all(api=True)
    asyncio.run(end_all(made.settings, grace=0.0))


Condition = Callable[[], Awaitable[Any]]


class Site:
    """What a test does with an installation, and what it can see of it from outside."""

    def __init__(self, installation: Installation, store: Store, folder: Path) -> None:
        self.installation = installation
        self.store = store
        self.keys = store.keys
        self.folder = folder
        headers = {"authorization": f"Bearer {KEY}"}
        url = f"{installation.settings.api_url}/api/v1"
        self.http = httpx.AsyncClient(base_url=url, headers=headers, timeout=10)

    async def worker(self, *, older: bool = False) -> subprocess.Popen[bytes]:
        """Start a worker process, of an older release at will, and wait until it can claim."""
        process = self.installation.worker(older=older)

        async def announced() -> bool:
            assert process.poll() is None, (self.installation.folder / "worker.log").read_text()
            return any(record["pid"] == process.pid for record in (await self.store.workers.live()).values())

        await self.until(announced, "the worker is live")
        return process

    async def fire(
        self, nodes: dict[str, Any], name: str | None = None, times: int = 1, **document: Any
    ) -> list[str]:
        """Publish these nodes and trigger them, over HTTP; the ids of the runs. `dir` is added to configs."""
        name = name or f"w{secrets.token_hex(4)}"
        for node in nodes.values():
            if node.get("type") in ("program", "late", "picky"):
                node["config"] = {**node.get("config", {}), "dir": str(self.folder)}
        (
            await self.http.put(f"/workflows/{name}", json={"name": name, "nodes": nodes, **document})
        ).raise_for_status()
        answers = [await self.http.post(f"/workflows/{name}/runs", json={}) for _ in range(times)]
        assert {answer.status_code for answer in answers} == {202}
        return [answer.json()["run"] for answer in answers]

    async def ended(self, run: str, seconds: float = 40) -> str:
        """Wait until the run has ended; its status."""

        async def watch() -> str:
            status = "queued"
            async for _, event in self.store.events.subscribe(run):
                if event["type"] == "run":
                    status = event["to"]
            return status

        try:
            return await asyncio.wait_for(watch(), seconds)
        except TimeoutError:
            logs = (self.installation.folder / "worker.log").read_text().splitlines()[-60:]
            nodes, _ = await self.store.runs.nodes(run)
            raise AssertionError("\n".join([f"run {run} has not ended: {nodes}", *logs])) from None

    async def node(self, run: str, ref: str) -> dict[str, Any]:
        return await self.store.runs.node(run, ref)

    async def until(self, condition: Condition, what: str, seconds: float = 60) -> Any:
        deadline = time.monotonic() + seconds
        while not (value := await condition()):
            assert time.monotonic() < deadline, f"not seen within {seconds} s: {what}"
            await asyncio.sleep(0.02)
        return value

    def diary(self, node: str, **has: Any) -> list[dict[str, Any]]:
        """What the programs of a node wrote down, those lines that have these members."""
        try:
            lines = (self.folder / f"{node}.diary").read_bytes().splitlines()
        except FileNotFoundError:
            return []
        found = [orjson.loads(line) for line in lines]
        return [line for line in found if all(line.get(name) == value for name, value in has.items())]

    async def waits(self, node: str, attempt: int = 1) -> int:
        """Wait until an attempt's program waits at its gate; its pid."""

        async def there() -> list[dict[str, Any]]:
            return self.diary(node, waits=True, attempt=attempt)

        return (await self.until(there, f"{node} waits at its gate"))[-1]["pid"]

    def open(self, gate: str) -> None:
        (self.folder / gate).touch()

    async def moves(self, run: str) -> list[tuple[Any, ...]]:
        """Every transition of the run."""
        events = [event for _, event in await self.store.events.read(run, "0")]
        return [
            (e.get("node"), e.get("item"), e.get("attempt"), e.get("from"), e.get("to"))
            for e in events
            if "to" in e
        ]

    async def check(self, *runs: str, faults: bool = False) -> None:
        """Each transition was made once, and no slot, timer or submission is left of these runs.

        With infrastructure faults an attempt is launched more than once, and its events do not tell which.
        """
        for run in runs if not faults else ():
            moves = await self.moves(run)
            assert len(moves) == len(set(moves)), moves

        async def clean() -> bool:
            tasks = [*await self.store.pools.all_holders()]
            tasks += [waiting.task for waiting in await self.store.admission.queued()]
            timers = await self.store.batcher.call("ZRANGE", self.keys.timers, 0, -1)
            launches = await self.store.batcher.call("ZRANGE", self.keys.launches, 0, -1)
            left = [task.run for task in tasks] + [raw.decode().split("|")[0] for raw in [*timers, *launches]]
            return not set(left) & set(runs)

        await self.until(clean, "nothing is left of the runs")

    async def clear(self) -> None:
        """No worker and no node program is there."""
        self.installation.kill_all(api=False)
        await end_all(self.installation.settings, grace=0.0)
        await self.store.batcher.call("DEL", self.keys.workers, self.keys.worker_info)

    async def close(self) -> None:
        await self.http.aclose()
        await self.store.close()


@pytest.fixture
async def site(installation: Installation, tmp_path: Path) -> AsyncIterator[Site]:
    """An installation without any worker; those that a test starts are killed afterwards."""
    made = Site(installation, await Store.open(installation.settings), tmp_path)
    await made.clear()
    yield made
    await made.clear()
    await made.close()


@pytest.fixture
async def working_site(installation: Installation, tmp_path: Path) -> AsyncIterator[Site]:
    """An installation with a worker, which is there already where a test before needed one."""
    made = Site(installation, await Store.open(installation.settings), tmp_path)
    if not await made.store.workers.live() or len(installation.processes) < 2:
        await made.clear()
        await made.worker()
    yield made
    await made.close()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Callable[[str], EmbeddedValkey]]:
    """Servers that may be killed."""
    started: list[EmbeddedValkey] = []

    def start(name: str) -> EmbeddedValkey:
        server = EmbeddedValkey(tmp_path / name)
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
async def sites(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Installations of their own, on a server and in a folder that a test names."""
    made: list[Site] = []

    async def make(server: EmbeddedValkey, name: str, prefix: str | None = None) -> Site:
        (tmp_path / name).mkdir()
        own = Installation(server, tmp_path / name, prefix=prefix)
        own.wait_for_api()
        made.append(Site(own, await Store.open(own.settings), tmp_path))
        return made[-1]

    yield make
    for each in made:
        await each.close()
        each.installation.kill_all(api=True)


@pytest.fixture
def stop_and_go() -> Iterator[Callable[[subprocess.Popen[bytes]], None]]:
    """Freezes a process; whatever was frozen goes on at the end."""
    frozen: list[subprocess.Popen[bytes]] = []

    def freeze(process: subprocess.Popen[bytes]) -> None:
        frozen.append(process)
        os.kill(process.pid, signal.SIGSTOP)

    yield freeze
    for process in frozen:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGCONT)
