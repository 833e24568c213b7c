"""Stands between a worker and the API server, and does to their talk what networks and API servers do."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

from app.settings import Settings
from workers.executors.kubernetes.client import configuration

PASSED = ("Content-Type", "Accept")


@dataclass(frozen=True)
class Fault:
    """What happens to a request instead of its answer."""

    kind: str
    """hang: no answer ever; deaf: it is carried out, and the answer is lost; answer: `status` and `body` at once;
    cut: the answer breaks off after `after` bytes."""
    status: int = 500
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    after: int = 0


def refusal(status: int, reason: str, message: str, **headers: str) -> Fault:
    """A refusal in Kubernetes' own form."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": status,
        "reason": reason,
        "message": message,
    }
    return Fault("answer", status, json.dumps(body).encode(), tuple(headers.items()))


EXPIRED = {
    "type": "ERROR",
    "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"},
}
WATCH_FAULTS = {
    "expired": Fault("answer", 200, json.dumps(EXPIRED).encode() + b"\n"),
    "gone": refusal(410, "Gone", "too old resource version"),
    "empty": Fault("answer", 200),
    "html": Fault("answer", 502, b"<html>Bad Gateway</html>", (("Content-Type", "text/html"),)),
    "html that says 200": Fault("answer", 200, b"<html>Welcome</html>\n"),
    "cut": Fault("cut", after=40),
}


class Proxy:
    """`choose` is asked about each request (method, path with query) and gives the fault that meets it, or None."""

    def __init__(self, config, session: aiohttp.ClientSession) -> None:
        self._host = str(config.host).rstrip("/")
        self._session = session
        self._open: set[asyncio.Task[object]] = set()
        self.choose: Callable[[str, str], Fault | None] = lambda _method, _path: None
        self.asked: list[str] = []
        """"METHOD path?query" of every request."""
        self.met: Counter[str] = Counter()
        """How many requests met a fault, by its kind."""
        self.url = ""

    def break_all(self) -> None:
        """Cut every connection that is open now."""
        for task in self._open:
            task.cancel()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            return await self._handle(request)
        finally:
            self._open.discard(task)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path_qs}")
        fault = self.choose(request.method, request.path_qs)
        if fault is not None:
            self.met[fault.kind] += 1
        if fault is not None and fault.kind == "answer":
            return web.Response(status=fault.status, body=fault.body, headers=dict(fault.headers))
        if fault is not None and fault.kind == "hang":
            await asyncio.Event().wait()
        headers = {name: request.headers[name] for name in PASSED if name in request.headers}
        async with self._session.request(
            request.method, self._host + request.path_qs, data=await request.read(), headers=headers
        ) as answer:
            if fault is not None and fault.kind == "deaf":
                await asyncio.Event().wait()
            reply = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
            await reply.prepare(request)
            sent = 0
            async for chunk in answer.content.iter_any():
                if fault is not None and fault.kind == "cut" and sent + len(chunk) > fault.after:
                    await reply.write(chunk[: fault.after - sent])
                    assert request.transport is not None
                    request.transport.abort()
                    return reply
                sent += len(chunk)
                await reply.write(chunk)
            await reply.write_eof()
            return reply


def _context(config) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=config.ssl_ca_cert)
    context.load_cert_chain(config.cert_file, keyfile=config.key_file)
    return context


@asynccontextmanager
async def proxied(settings: Settings, folder: Path) -> AsyncGenerator[tuple[Proxy, str]]:
    """A proxy to the cluster of these settings, and a kubeconfig that leads through it, with all rights of the first."""
    config = await configuration(settings)
    connector = aiohttp.TCPConnector(limit=0, ssl=_context(config))
    async with aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(total=None)
    ) as session:
        proxy = Proxy(config, session)
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", proxy.handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        kubeconfig = folder / "through-proxy"
        kubeconfig.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": proxy.url}}],
            "users": [{"name": "proxy", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
        }))  # fmt: skip
        try:
            yield proxy, str(kubeconfig)
        finally:
            proxy.choose = lambda _method, _path: None
            proxy.break_all()
            await runner.cleanup()
