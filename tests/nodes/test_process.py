"""Every stock node type runs as a process, by the command in its manifest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import orjson
import pytest

from headrace import Node
from headrace.testing import MemoryEngine
from headrace_nodes.generate import write
from headrace_nodes.manifests import node_types


class Api:
    """The node protocol over HTTP, answered by the SDK's engine in memory."""

    def __init__(self, engine: MemoryEngine) -> None:
        self.engine = engine

    def answer(self, call: str, body: dict[str, Any]) -> dict[str, Any]:
        """What the API answers to one call."""
        engine = self.engine
        if call == "start":
            start = engine.start(body["instance"])
            return asdict(start) | {"checkpoint": start.checkpoint._asdict()}
        if call == "checkpoints":
            return {"cancel": engine.checkpoints(body["epoch"], body["steps"])}
        if call == "records":
            return {"count": engine.records(body["epoch"], body["failed"])}
        if call == "fail":
            engine.fail(body["epoch"], body["type"], body["message"], body["retryable"])
            return {}
        return {"cancel": engine.heartbeat(body["epoch"])}


@pytest.fixture
def serve() -> Iterator[Any]:
    """Serves an engine in memory; gives its URL."""
    api: list[Api] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = orjson.dumps(api[0].answer(self.path.rpartition("/")[2], body))
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()

    def start(engine: MemoryEngine) -> str:
        api.append(Api(engine))
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("node", node_types(), ids=lambda node: node.type)
def test_the_command_of_the_manifest_runs_the_node_to_its_end(serve: Any, tmp_path: Path, node: type[Node]):
    write(tmp_path / "feed.ndjson", 3)
    (tmp_path / "feed.ndjson").write_bytes(
        b"".join(
            orjson.dumps(json.loads(line) | {"images": []}) + b"\n"
            for line in (tmp_path / "feed.ndjson").read_bytes().splitlines()
        )
    )
    configs = {
        "catalog-read": {"uri": "file:feed.ndjson"},
        "noop": {"count": 3},
    }  # the others read what comes
    config = configs.get(node.type, {})
    engine = MemoryEngine(config=config, inputs={} if config else {"before": {"uri": "file:feed.ndjson"}})
    command = [part.replace("{python}", sys.executable) for part in node.manifest()["command"]]
    environment = {
        "PATH": os.environ["PATH"],
        "HEADRACE_API_URL": serve(engine),
        "HEADRACE_TOKEN": "token",
        "HEADRACE_RUN_ID": "run",
        "HEADRACE_NODE": "node",
        "HEADRACE_ATTEMPT": "1",
        "HEADRACE_DATA_URI": f"file:{tmp_path}",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert engine.checkpoint.metadata["count"] == 3
    assert engine.checkpoint.step == "finalize"
