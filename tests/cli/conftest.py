"""A server that answers what a test tells it, and the command line run in this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest

from app.cli.main import main


class Asked(NamedTuple):
    """One request that the fake API got."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class FakeApi:
    """Answers by (method, path below /api/v1); a list is used up answer by answer, its last one stays."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], list[tuple[int, Any]]] = {}
        self.asked: list[Asked] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                fake.handle(self)

            do_GET = do_PUT = do_POST = do_DELETE = handle_any

            def log_message(self, format: str, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, method: str, path: str, *bodies: Any, status: int = 200) -> None:
        self.answers[method, path] = [(status, body) for body in bodies]

    def problem(self, method: str, path: str, status: int, code: str, detail: str, errors: Any = ()) -> None:
        body = {"code": code, "detail": detail, "status": status, "errors": list(errors)}
        self.answers[method, path] = [(status, body)]

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        url = urlsplit(request.path)
        path = url.path.removeprefix("/api/v1")
        raw = request.rfile.read(int(request.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = json.loads(raw) if raw else None
        self.asked.append(Asked(request.command, path, dict(parse_qsl(url.query)), headers, body))
        known = self.answers.get((request.command, path))
        missing = (404, {"code": "not_found", "detail": f"nothing at {path}"})
        status, answer = missing if known is None else (known.pop(0) if len(known) > 1 else known[0])
        content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        request.send_response(status)
        request.send_header("content-length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """A fake API on a port of its own."""
    fake = FakeApi()
    thread = threading.Thread(target=fake.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield fake
    fake.server.shutdown()
    thread.join()
    fake.server.server_close()


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def headrace(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ran]:
    """Run the command line against the fake API, 80 columns wide and without colour."""
    monkeypatch.setenv("HEADRACE_URL", api.url)
    monkeypatch.setenv("HEADRACE_API_KEY", "hr_test_0123456789abcdef")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        code = main(arguments)
        printed = capsys.readouterr()
        return Ran(code, str(printed.out), str(printed.err))

    return run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headrace: Callable[..., Ran]) -> Path:
    """An empty directory, and no server."""
    monkeypatch.chdir(tmp_path)
    for name in ("HEADRACE_URL", "HEADRACE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def brand_run_served(api: FakeApi, brand_run: dict[str, Any], brand_nodes: list[dict[str, Any]]) -> str:
    """The run's id, its record, nodes, items and ledger being answered by the fake API."""
    name = brand_run["id"]

    def page(path: str, *items: dict[str, Any]) -> None:
        api.answer("GET", f"/runs/{name}{path}", {"items": list(items), "next_cursor": None})

    api.answer("GET", f"/runs/{name}", brand_run)
    api.answer("GET", f"/runs/{name}/events", "id: 1-0\ndata: {}\n\n")
    page("/nodes", *brand_nodes)
    page("/nodes/reprice/items", *({"name": "reprice", "item": i, "failed_records": 0} for i in range(8)))
    page(
        "/nodes/images/items",
        *({"name": "images", "item": i, "failed_records": int(i == 3)} for i in range(8)),
    )
    page(
        "/nodes/images/records",
        {"index": 2, "key": "petit-orme-09", "type": "BadImage", "message": "no picture"},
    )
    return name


@pytest.fixture
def brand_run() -> dict[str, Any]:
    """A finished run of the brand aggregator, as the API showed it."""
    return {
        "id": "r01k9brand", "workflow": "brand-aggregator", "version": 3, "status": "succeeded", "params": {},
        "output": {"published": 60}, "error": None, "labels": {}, "created": "2026-01-05T10:00:00.000Z",
        "started": "2026-01-05T10:00:00.100Z", "ended": "2026-01-05T10:00:04.350Z",
        "nodes": {"total": 7, "ended": 7, "failed": 0},
    }  # fmt: skip


@pytest.fixture
def brand_nodes() -> list[dict[str, Any]]:
    """Its nodes: a chain, a fan-out over maps, a fan-in."""

    def node(name: str, *needs: str, **more: Any) -> dict[str, Any]:
        return {
            "name": name, "status": "succeeded", "attempt": 1, "started": "2026-01-05T10:00:01.000Z",
            "ended": "2026-01-05T10:00:01.840Z", "metadata": None, "error": None, "failed_records": 0,
            "progress": None, "needs": list(needs), **more,
        }  # fmt: skip

    whole = {"count": 8, "pending": 0, "live": 0, "succeeded": 8, "failed": 0}
    return [
        node("read", metadata={"uri": "file:r01k9brand/read", "count": 60}),
        node("filter", "read", attempt=2),
        node("split", "filter"),
        node("reprice", "split", items=whole),
        node("images", "split", items=whole),
        node("merge", "reprice", "images"),
        node("publish", "merge", metadata={"uri": "file:r01k9brand/publish/feed.ndjson", "count": 60}),
    ]
