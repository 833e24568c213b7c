"""P1 and P9: durable triggers and checkpoints per second over HTTP, against an empty POST route of the same server.

The server has processor 0, the client and Valkey share processor 1.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from app.collector import tune_collector
from app.core.tasks import Task
from app.core.tokens import LIFETIME_MS, TokenClaims, sign
from app.embedded import EmbeddedValkey, free_port
from app.main import create_app
from app.settings import Settings
from app.store.nodes import NodeCall
from app.store.store import Store
from loadtests.harness import Result, fire, in_turn, pin, publish, server, settings_for
from loadtests.wire import drive, repeat, request
from workers.runtime import Runtime

KEY = "hr_bench_0123456789abcdef0123456789abcdef"
CONNECTIONS = 128
"""Enough that the server is busy while the disk is: an fsync of a shared machine takes 0.3 to 6 ms."""
REQUESTS = 6000
TRIGGER = orjson.dumps(
    {"params": {"feed": "file:feeds/all.ndjson", "brand": "north", "channel": "search", "note": "x" * 100}}
)


async def _empty(incoming: Request) -> Response:
    await incoming.body()
    return Response(b'{"ok":true}', 202, media_type="application/json")


def application() -> ASGIApp:
    """The API with the route that is the floor: the same middlewares, the same body, nothing done with it."""
    tune_collector()
    return create_app(Settings(), extra_routes=[Route("/bench/empty", _empty, methods=["POST"])])


@dataclass(slots=True)
class Site:
    port: int
    store: Store
    settings: Settings


@asynccontextmanager
async def site() -> AsyncGenerator[Site]:
    """Valkey on processor 1, the API in a process of its own on processor 0."""
    async with server(cpu=1) as valkey:
        port = free_port()
        process = await _serve(valkey, port)
        pin(0, process.pid)
        settings = settings_for(valkey)
        store = await Store.open(settings)
        try:
            await _ready(port)
            yield Site(port, store, settings)
        finally:
            await store.close()
            process.terminate()
            await process.wait()


async def _serve(valkey: EmbeddedValkey, port: int) -> asyncio.subprocess.Process:
    environment = {**os.environ, "HEADRACE_REDIS_URL": valkey.url, "HEADRACE_BOOTSTRAP_KEY": KEY,
                   "HEADRACE_LOG_LEVEL": "error", "HEADRACE_LOG_DIR": tempfile.gettempdir(),
                   "HEADRACE_EXECUTORS": "kubernetes"}  # fmt: skip
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "uvicorn", "--factory", "loadtests.http_rates:application", "--port", str(port),
        "--no-access-log", "--log-level", "error", "--loop", "uvloop", "--http", "httptools", env=environment,
    )  # fmt: skip


async def _ready(port: int) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(300):
            try:
                if (await client.get("/livez")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.05)
    raise RuntimeError("the API did not start")


async def _rate(port: int, payload: bytes) -> float:
    budget = [REQUESTS]
    rate, statuses, bodies = await drive(
        "127.0.0.1", port, [repeat(payload, budget) for _ in range(CONNECTIONS)]
    )
    if set(statuses) - {200, 202}:
        raise RuntimeError(f"unexpected answers: {statuses} {bodies[0][:300]!r}")
    return rate


async def triggers(place: Site) -> Result:
    """P1."""
    feed = {"type": "object", "required": ["feed"], "properties": {"feed": {"type": "string"}}}
    document = {"name": "bench-triggers", "params": feed, "nodes": {"read": {"type": "noop"}}}
    await _publish_over_http(place, document)
    headers = {"Authorization": f"Bearer {KEY}"}
    trigger = request("/api/v1/workflows/bench-triggers/runs", TRIGGER, headers)
    empty = request("/bench/empty", TRIGGER, headers)
    figure, floor, ratio = await in_turn(lambda: _rate(place.port, trigger), lambda: _rate(place.port, empty))
    return Result(figure, floor, ratio, 0.6, "durable triggers/s by POST")


async def _publish_over_http(place: Site, document: Mapping[str, object]) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{place.port}/api/v1", headers=headers) as client:
        node_type = {"title": "No-op", "image": "localhost/noop:1", "config_schema": {"type": "object"}}
        answer = await client.put("/node-types/noop", json=node_type)
        answer.raise_for_status()
        (await client.put(f"/workflows/{document['name']}", json=document)).raise_for_status()


async def checkpoints(place: Site) -> Result:
    """P9: positions inside execute, one running node run per connection."""
    sources = await _running_nodes(place)
    headers = {"Authorization": f"Bearer {KEY}"}
    empty = request("/bench/empty", TRIGGER, headers)

    async def acks() -> float:
        budget = [REQUESTS]
        rate, statuses, bodies = await drive("127.0.0.1", place.port, [source(budget) for source in sources])
        if set(statuses) - {200}:
            raise RuntimeError(f"unexpected answers: {statuses} {bodies[0][:300]!r}")
        return rate

    figure, floor, ratio = await in_turn(acks, lambda: _rate(place.port, empty))
    return Result(figure, floor, ratio, 0.6, "checkpoint acks/s")


async def _running_nodes(place: Site) -> list[Callable[[list[int]], Callable[[], bytes | None]]]:
    """Start as many node runs as there are connections, and end their configure step."""
    store, name = place.store, "bench-checkpoints"
    await publish(store, {"name": name, "nodes": {f"n{i}": {"type": "noop"} for i in range(CONNECTIONS)}})
    runtime = Runtime(store, place.settings, lambda *_: _Still())
    await runtime.start()
    run = await fire(store, name)
    async for _, event in store.events.subscribe(run):
        if event.get("to") == "starting" and len(await store.workers.holders()) == CONNECTIONS:
            break
    await runtime.stop()
    sources: list[Callable[[list[int]], Callable[[], bytes | None]]] = []
    for task in await store.workers.holders():
        started = await store.nodes.start(NodeCall(task.run, task.ref, 1), "bench", 3_600_000, [])
        claims = TokenClaims(task.run, task.ref, 1, name, 1, (await store.workers.now()) + LIFETIME_MS)
        sources.append(_positions(task, started.epoch, sign(store.secret, claims)))
    return sources


def _positions(task: Task, epoch: int, token: str) -> Callable[[list[int]], Callable[[], bytes | None]]:
    """Requests with a rising seq for one node run, as long as the shared budget lasts."""
    seq = -1
    path = f"/api/v1/runs/{task.run}/nodes/{task.ref}/checkpoints"
    headers = {"Authorization": f"Bearer {token}"}

    def source(budget: list[int]) -> Callable[[], bytes | None]:
        def following() -> bytes | None:
            nonlocal seq
            if budget[0] <= 0:
                return None
            budget[0] -= 1
            seq += 1
            step: dict[str, object] = {"step": "configure"}
            if seq:
                data = {"consumed": seq * 500, "emitted": seq * 498, "parts": seq, "bytes": seq * 90_000}
                step = {
                    "step": "execute",
                    "seq": seq,
                    "data": data,
                    "progress": {"done": seq * 500, "total": 1_000_000},
                }
            return request(path, orjson.dumps({"epoch": epoch, "steps": [step]}), headers)

        return following

    return source


class _Still:
    """An executor that takes every launch and does nothing with it."""

    def __init__(self) -> None:
        self.on_free: Callable[[], None] = lambda: None

    def free(self) -> int:
        return 1000

    async def submit(self, launch: object) -> None:
        return

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        return
