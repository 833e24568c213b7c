"""The engine for one certification: an embedded server, the API behind the gate, and a worker, in a directory of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import httpx
import orjson
import uvicorn
from pydantic import SecretStr

from app.cli.certify.gate import Gate
from app.cli.certify.lives import Lives
from app.cli.certify.moments import Case
from app.cli.certify.programs import Programs
from app.cli.certify.subject import GIVEN, Subject
from app.cli.certify.trial import Trial
from app.cli.client import API, error_of
from app.embedded import EmbeddedValkey
from app.errors import Unavailable
from app.main import create_app
from app.settings import Settings
from app.store.store import Store
from workers.executors.base import Executor, Launch, Report
from workers.runtime import Runtime


class _Server(uvicorn.Server):
    """Leaves signals to the command."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class Place:
    """The directories of one certification."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data, self.logs, self.types = root / "data", root / "logs", root / "types"
        for directory in (self.data, self.logs, self.types):
            directory.mkdir(parents=True, exist_ok=True)


def settings_of(place: Place, subject: Subject, port: int, redis_url: str) -> Settings:
    """Those of the environment, but for where everything is."""
    given = Settings()
    roots = [str(subject.sample.directory), given.data_roots]
    return Settings(
        redis_url=SecretStr(redis_url), prefix=f"certify-{secrets.token_hex(4)}", host="127.0.0.1", port=port,
        api_url=f"http://127.0.0.1:{port}", data_uri=f"file:{place.data}",
        data_roots=",".join(root for root in roots if root), log_dir=place.logs, log_uri="", archive_uri="",
        node_types=os.pathsep.join([str(place.types), *([given.node_types] if given.node_types else [])]),
        executors="container,process" if subject.image else "process", image_allow=subject.image or "",
        bootstrap_key=SecretStr(f"hr_certify_{secrets.token_urlsafe(32)}"), scheduler="embedded",
        log_level="critical", drain=2.0,
    )  # fmt: skip


class Bench:
    """Runs cases of one subject."""

    def __init__(
        self, subject: Subject, settings: Settings, gate: Gate, store: Store, client: httpx.AsyncClient
    ) -> None:
        self.subject = subject
        self.settings = settings
        self._gate = gate
        self._trials: dict[str, Trial] = {}
        """By workflow."""
        self._numbers = iter(range(1, 1_000_000))
        self._client = client
        self.store = store

    def trial_of(self, launch: Launch) -> Trial:
        """Whose launch it is; from now on the gate knows its run."""
        trial = self._trials[launch.graph.workflow]
        trial.run = launch.task.run
        self._gate.trials[trial.run] = trial
        return trial

    async def run(self, case: Case, limit: float) -> Trial:
        """One run to its end, or given up after `limit` seconds. Raises InputError where the document is not valid."""
        name = f"certify-{next(self._numbers)}"
        trial = self._trials[name] = Trial(case)
        await self._send("PUT", f"/workflows/{name}", self.subject.workflow(name))
        trial.run = str((await self._send("POST", f"/workflows/{name}/runs", {}))["run"])
        try:
            async with asyncio.timeout(limit):
                async for _ in self.store.events.subscribe(trial.run):
                    pass
                await trial.close()
        except TimeoutError:
            await trial.give_up()
        return trial

    async def _send(self, method: str, path: str, body: Any) -> Any:
        # not the commands' own client: its calls would wait in the threads that the API needs to answer them
        answer = await self._client.request(method, f"{API}{path}", json=body)
        if not answer.is_success:
            raise error_of(answer)
        return answer.json()

    async def node(self, trial: Trial) -> dict[str, Any]:
        """The record of the node run, at its end."""
        return await self.store.runs.node(trial.run, self.subject.ref)

    async def ledger(self, trial: Trial) -> list[Any]:
        """Its failed records, in the order of the stream."""
        found: list[Any] = []
        first: int | None = 0
        while first is not None:
            rows, after = await self.store.ledger.page(trial.run, self.subject.ref, 1000, first)
            found += [orjson.loads(orjson.dumps(row)) for row in rows]
            first = None if after is None else int(after)
        return found


@contextlib.asynccontextmanager
async def engine(place: Place, subject: Subject, programs: Programs) -> AsyncGenerator[Bench]:
    """Everything that a certification needs; nothing of it is left afterwards.

    Raises Unavailable where it does not start, UsageError where the node cannot be.
    """
    for each in (GIVEN, subject.type):
        if each is not None:
            written = each.model_dump(exclude_defaults=True, exclude_none=True)
            (place.types / f"{each.name}@{each.version}.json").write_bytes(orjson.dumps(written))
    valkey = EmbeddedValkey(place.root / "valkey", fsync="no")
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2048))
        settings = settings_of(place, subject, int(listener.getsockname()[1]), valkey.url)
        stack.push_async_callback(programs.close)
        await programs.check()
        stack.callback(valkey.stop)
        await asyncio.to_thread(valkey.start)
        gate = Gate(create_app(settings))
        await stack.enter_async_context(_serving(gate, listener))
        headers = {"authorization": f"Bearer {settings.bootstrap_key.get_secret_value()}"}
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=settings.api_url, headers=headers, timeout=60, trust_env=False)
        )
        store = await Store.open(settings)
        stack.push_async_callback(store.close)
        bench = Bench(subject, settings, gate, store, client)

        def make(_: Store, __: str, report: Report) -> Executor:
            return Lives(programs, subject.sample.inputs, bench.trial_of, report)

        worker = Runtime(store, settings, make)
        stack.push_async_callback(worker.stop)
        await worker.start()
        yield bench


@contextlib.asynccontextmanager
async def _serving(gate: Gate, listener: socket.socket) -> AsyncGenerator[None]:
    config = uvicorn.Config(gate, http="httptools", ws="none", lifespan="on", access_log=False, log_config=None,
                            server_header=False, timeout_graceful_shutdown=1)  # fmt: skip
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        while not server.started:
            if serving.done():
                raise Unavailable("the API did not start")
            await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await serving
