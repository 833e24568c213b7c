"""An external engine, as a process of its own: it does work for whoever calls it, and knows nothing of Headrace but HTTP.

    python external_engine.py FILE      serves on a free port of 127.0.0.1, which it writes to FILE

| path | what it does |
|---|---|
| /now | the work is done at once: 200 and what the config says under `result` |
| /created, /empty | the same with 201; 204 |
| /later | 202; the result comes by the callback, when /release/NAME is asked for |
| /jobs | 202 and a Location; the job there is done after /release/NAME; Retry-After 1 |
| /flaky | 500 or whatever `statuses` says for each attempt, then 200 |
| /slow | answers when /release/NAME is asked for |
| /huge | 200 and a body without end |
| /redirect | 302 to the metadata address |
| /echo | 500 and everything that it was sent, the headers too |
| /text, /html | 200 and what is not JSON |
| /journal | every request so far: {method, path, query, headers, body} |

NAME is `name` of the config. A job is known by its Idempotency-Key: the same key again is the same job.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
from aiohttp import ClientSession, web

METADATA = "http://169.254.169.254/latest/meta-data/"


class Engine:
    def __init__(self) -> None:
        self.journal: list[dict[str, Any]] = []
        self.released: dict[str, asyncio.Event] = {}
        self.jobs: dict[str, tuple[str, Any]] = {}
        """By Idempotency-Key: the name that releases it, and its result."""
        self.tries: dict[str, int] = {}
        self.http: ClientSession | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    def gate(self, name: str) -> asyncio.Event:
        return self.released.setdefault(name, asyncio.Event())

    @web.middleware
    async def write_down(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> Any:
        raw = await request.read()
        body = orjson.loads(raw) if raw else None
        request["body"] = body or {}
        request["config"] = (body or {}).get("config", {}) if isinstance(body, dict) else {}
        if request.path not in ("/journal",) and not request.path.startswith("/release/"):
            headers = {name.lower(): value for name, value in request.headers.items()}
            self.journal.append(
                {
                    "method": request.method,
                    "path": request.path,
                    "query": request.rel_url.raw_query_string,
                    "headers": headers,
                    "body": body,
                }
            )
        return await handler(request)

    async def show(self, _: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(self.journal), content_type="application/json")

    async def release(self, request: web.Request) -> web.Response:
        self.gate(request.match_info["name"]).set()
        return web.Response(status=204)

    async def now(self, request: web.Request) -> web.Response:
        status = 201 if request.path == "/created" else 200
        return web.json_response(request["config"].get("result", {"done": True}), status=status)

    async def item(self, request: web.Request) -> web.Response:
        return web.json_response({"item": request.match_info["item"], "body": request["body"].get("item")})

    async def empty(self, _: web.Request) -> web.Response:
        return web.Response(status=204)

    async def later(self, request: web.Request) -> web.Response:
        task = asyncio.create_task(self.call_back(request["body"]))
        self.tasks.add(task)
        return web.Response(status=202)

    async def call_back(self, body: dict[str, Any]) -> None:
        config = body["config"]
        await self.gate(config["name"]).wait()
        if self.http is None:
            self.http = ClientSession()
        told = (
            {"error": config["error"]}
            if "error" in config
            else {"metadata": config.get("result", {"done": True})}
        )
        for _ in range(config.get("times", 1)):
            async with self.http.post(body["callback"]["url"], json=told) as answer:
                self.journal.append({"callback": answer.status, "answer": await answer.json()})

    async def jobs_post(self, request: web.Request) -> web.Response:
        key = request.headers["Idempotency-Key"]
        config = request["config"]
        self.jobs.setdefault(key, (config["name"], config.get("result", {"done": True})))
        number = list(self.jobs).index(key)
        return web.Response(status=202, headers={"Location": f"/jobs/{number}", "Retry-After": "1"})

    async def jobs_get(self, request: web.Request) -> web.Response:
        name, result = list(self.jobs.values())[int(request.match_info["number"])]
        if not self.gate(name).is_set():
            return web.Response(status=202, headers={"Retry-After": "1"})
        return web.json_response(result)

    async def jobs_delete(self, _: web.Request) -> web.Response:
        return web.Response(status=204)

    async def flaky(self, request: web.Request) -> web.Response:
        body = request["body"]
        statuses = request["config"]["statuses"]
        number = body["attempt"] - 1
        if number < len(statuses):
            return web.json_response(
                {"title": "Out of order"}, status=statuses[number], headers={"Retry-After": "1"}
            )
        return web.json_response({"attempt": body["attempt"]})

    async def slow(self, request: web.Request) -> web.Response:
        await self.gate(request["config"]["name"]).wait()
        return web.json_response({"slow": True})

    async def huge(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for _ in range(16_384):
            await response.write(b" " * 65_536)
        return response

    async def redirect(self, _: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": METADATA})

    async def echo(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"message": f"denied: {request.headers.get('Authorization')} \x1b[31m"}, status=400
        )

    async def echo_well(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"you_sent": request.headers.get("Authorization"), "token": request["body"]["callback"]["token"]}
        )

    async def text(self, request: web.Request) -> web.Response:
        return web.Response(text="done" if request.path == "/text" else "<html>done</html>")

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self.write_down])
        app.add_routes(
            [
                web.get("/journal", self.show),
                web.post("/release/{name}", self.release),
                web.post("/now", self.now),
                web.post("/created", self.now),
                web.get("/now", self.now),
                web.post("/items/{item}", self.item),
                web.post("/empty", self.empty),
                web.post("/later", self.later),
                web.post("/jobs", self.jobs_post),
                web.get("/jobs/{number}", self.jobs_get),
                web.delete("/jobs/{number}", self.jobs_delete),
                web.post("/flaky", self.flaky),
                web.post("/slow", self.slow),
                web.post("/huge", self.huge),
                web.post("/redirect", self.redirect),
                web.post("/echo", self.echo),
                web.post("/echo-well", self.echo_well),
                web.post("/text", self.text),
                web.post("/html", self.text),
            ]
        )
        return app


async def serve(file: Path) -> None:
    runner = web.AppRunner(Engine().app(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port: int = runner.addresses[0][1]
    early = file.with_suffix(".tmp")
    early.write_text(str(port))
    early.rename(file)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
