"""Catalogs on disk, and nodes run one after another as a workflow would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import orjson
import pytest

from headrace import Node
from headrace.testing import Outcome, run_node

WriteCatalog = Callable[..., str]
Mapped = Callable[..., tuple[dict[str, Any], list[Outcome]]]


@pytest.fixture
def catalog(tmp_path: Path) -> WriteCatalog:
    """Writes records as NDJSON into the data directory; gives the file's URI."""

    def write(*records: dict[str, Any], name: str = "catalog.ndjson") -> str:
        path = tmp_path / name
        path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
        return f"file:{name}"

    return write


@pytest.fixture
def product() -> Callable[..., dict[str, Any]]:
    """A product as the nodes pass it on."""

    def make(identity: str = "mug", **fields: Any) -> dict[str, Any]:
        return {
            "id": identity,
            "title": identity.title(),
            "brand": "Alder",
            "price": "10.00",
            "currency": "EUR",
            "images": [],
            "variants": [],
        } | fields

    return make


@pytest.fixture
def mapped(tmp_path: Path) -> Mapped:
    """Runs a node as a map over parts; gives the map's metadata, and what came of each item."""

    def run(
        node: type[Node], parts: list[dict[str, Any]], config: dict[str, Any], **options: Any
    ) -> tuple[dict[str, Any], list[Outcome]]:
        outcomes = [
            run_node(node, config=config, item=part, index=index, data_dir=tmp_path, **options)
            for index, part in enumerate(parts)
        ]
        items = [outcome.metadata for outcome in outcomes]
        done = sum(item is not None for item in items)
        metadata = {"count": len(items), "succeeded": done, "failed": len(items) - done, "items": items}
        return metadata, outcomes

    return run


@pytest.fixture
def web() -> Iterator[Callable[[bytes], str]]:
    """A web server that stumbles once (503), then serves these bytes; gives their URL."""
    content = [b""]
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(503 if len(asked) == 1 else 200)
            self.send_header("Content-Length", str(len(content[0])))
            self.end_headers()
            self.wfile.write(content[0])

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()

    def serve(data: bytes) -> str:
        content[0] = data
        return f"http://127.0.0.1:{server.server_address[1]}/picture.png"

    yield serve
    server.shutdown()
    thread.join()
    server.server_close()
