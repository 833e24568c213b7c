"""Where the examples of the documentation run: a real API and a worker in a thread of their own, on a real Valkey."""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import uvicorn
from pydantic import SecretStr

from app.embedded import EmbeddedValkey
from app.main import create_app
from app.settings import Settings
from app.store.store import Store
from headrace_nodes import demo
from tests.docs.noop import NoopExecutor
from workers.executors.base import Executor, Report
from workers.executors.process import end_all
from workers.main import configured_executors
from workers.runtime import Runtime

KEY = "hr_root_0123456789abcdef0123"
TERMINAL = ("succeeded", "failed", "cancelled")
PATIENCE = 30.0
"""Seconds after which an example that has not ended is a failure."""


T = TypeVar("T")


class Place:
    """The server and the worker, and what a reader of the documentation would do with them."""

    def __init__(self, valkey: EmbeddedValkey, folder: Path) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.settings = Settings(
            redis_url=SecretStr(valkey.url), prefix=f"t-{secrets.token_hex(6)}", api_url=url,
            bootstrap_key=SecretStr(KEY), log_dir=folder / "logs", log_level="critical",
            data_uri=f"file:{folder}/data", data_roots=str(demo.ROOT),
        )  # fmt: skip
        self.http = httpx.Client(
            base_url=f"{url}/api/v1", headers={"authorization": f"Bearer {KEY}"}, timeout=10
        )
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self.failure: BaseException | None = None

    def __enter__(self) -> Place:
        self._thread.start()
        assert self._ready.wait(20), self.failure
        self.until(self._answers, lambda: "the API answers")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        self.http.close()
        asyncio.run(end_all(self.settings, grace=0.0))
        assert self.failure is None, self.failure

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        config = uvicorn.Config(
            create_app(self.settings), http="httptools", log_level="critical", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([self._listener]))
        store = await Store.open(self.settings)
        make_processes = configured_executors(self.settings)

        def make(store: Store, worker: str, report: Report) -> Executor:
            return NoopExecutor(store, report, make_processes(store, worker, report))

        worker = Runtime(store, self.settings, make)
        await worker.start()
        self._ready.set()
        await self._stop.wait()
        await worker.stop()
        self.failure = worker.failure
        server.should_exit = True
        await serving
        await store.close()

    def _answers(self) -> bool | None:
        try:
            return self.http.get("/workflows").is_success or None
        except httpx.TransportError:
            return None

    # what a reader does -------------------------------------------------------------------------------------------

    def publish(self, document: dict[str, Any]) -> None:
        answer = self.http.put(f"/workflows/{document['name']}", json=document)
        assert answer.status_code in (200, 201), answer.text

    def fire(self, workflow: str, params: Any) -> str:
        """The id of the run."""
        answer = self.http.post(f"/workflows/{workflow}/runs", json={"params": params or {}})
        assert answer.status_code == 202, answer.text
        return answer.json()["run"]

    def get(self, path: str) -> Any:
        return self.http.get(path).raise_for_status().json()

    def ended(self, run: str) -> dict[str, Any]:
        """The run at its end."""

        def over() -> dict[str, Any] | None:
            found = self.get(f"/runs/{run}")
            return found if found["status"] in TERMINAL else None

        return self.until(over, lambda: f"the run ended: {self.get(f'/runs/{run}/nodes')}")

    def until(self, condition: Callable[[], T | None], what: Callable[[], str]) -> T:
        deadline = time.monotonic() + PATIENCE
        while (value := condition()) is None:
            assert time.monotonic() < deadline, f"not seen within {PATIENCE:g} s: {what()}"
            time.sleep(0.02)
        return value
