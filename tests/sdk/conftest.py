"""A real HTTP server that speaks the node protocol, and real node processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest

from headrace.errors import ProtocolError, StaleEpoch, StepConflict
from headrace.testing import MemoryEngine

SAMPLES = Path(__file__).with_name("sample_nodes.py")
TOKEN = "token-that-nobody-may-see"


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Poll a condition until it holds; its value. Fails naming `what` did not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        threading.Event().wait(0.005)
    raise AssertionError(f"not seen within {seconds} s: {what}")


@dataclass
class Fault:
    """What the server does with one call instead of answering it: a status, or nothing but hanging up."""

    call: str
    status: int | None = None
    after: bool = False
    """Whether the call takes effect first, so that only its answer is lost."""


@dataclass
class ProtocolServer:
    """The engine in memory behind HTTP; `engine.calls` is what took effect, `requests` what arrived."""

    engine: MemoryEngine
    url: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """(name of the call, Authorization header)"""
    connections: int = 0
    faults: list[Fault] = field(default_factory=list[Fault])

    def names(self) -> list[str]:
        return [name for name, _ in self.engine.calls]

    def steps(self) -> list[list[str]]:
        """The entries of each checkpoints call: step names, positions marked by a plus."""
        bodies = [body for name, body in self.engine.calls if name == "checkpoints"]
        return [[e["step"] + ("+" if "seq" in e else "") for e in body["steps"]] for body in bodies]

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        name = path.rpartition("/")[2]
        try:
            if method == "GET":
                return 200, self.engine.fetch(path)
            return 200, self._call(name, body)
        except StaleEpoch as error:
            return 409, {"code": "stale_epoch", "detail": str(error)}
        except StepConflict as error:
            return 409, {"code": "step_conflict", "detail": str(error)}
        except ProtocolError as error:
            return 422, {"code": "invalid", "detail": str(error), "errors": []}

    def _call(self, name: str, body: Any) -> Any:
        engine = self.engine
        if name == "start":
            start = engine.start(body["instance"])
            return {
                "epoch": start.epoch,
                "attempt": start.attempt,
                "config": start.config,
                "inputs": start.inputs,
                "checkpoint": start.checkpoint._asdict(),
                "tolerate": start.tolerate,
                "heartbeat": start.heartbeat,
                "type": "sample@1",
            } | ({} if start.index is None else {"item": start.item, "index": start.index})
        if name == "checkpoints":
            return {"cancel": engine.checkpoints(body["epoch"], body["steps"])}
        if name == "records":
            return {"count": engine.records(body["epoch"], body["failed"])}
        if name == "heartbeat":
            return {"cancel": engine.heartbeat(body["epoch"])}
        assert name == "fail"
        engine.fail(body["epoch"], body["type"], body["message"], body["retryable"])
        return {}

    def take_fault(self, name: str) -> Fault | None:
        for fault in self.faults:
            if fault.call == name:
                self.faults.remove(fault)
                return fault
        return None


def _handler(server: ProtocolServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            server.connections += 1
            super().setup()

        def do_POST(self) -> None:
            self._serve("POST", orjson.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def do_GET(self) -> None:
            self._serve("GET", None)

        def _serve(self, method: str, body: Any) -> None:
            name = self.path.rpartition("/")[2]
            server.requests.append((name, self.headers.get("Authorization", "")))
            fault = server.take_fault(name)
            if fault is None or fault.after:
                status, reply = server.answer(method, self.path, body)
            else:
                status, reply = fault.status or 0, {"code": "injected", "detail": "by the test"}
            if fault is not None and fault.status is None:
                self.close_connection = True
                return
            content = orjson.dumps(reply)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@pytest.fixture
def server() -> Iterator[ProtocolServer]:
    """A protocol server on a free port; set `server.engine` to change what `start` answers."""
    protocol = ProtocolServer(MemoryEngine())
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), _handler(protocol))
    httpd.daemon_threads = True
    protocol.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield protocol
    httpd.shutdown()
    httpd.server_close()
    thread.join()


class NodeProcess:
    """One process of a sample node."""

    def __init__(self, name: str, env: dict[str, str], stderr: Path) -> None:
        self._log = stderr
        with open(stderr, "wb") as log:
            self.popen = subprocess.Popen([sys.executable, str(SAMPLES), name], env=env, stderr=log)
        self.peak_mib = 0.0
        """Peak resident memory, as last seen while it ran (its rusage would count the memory of this process too:
        Linux carries the peak from before exec over)."""

    def wait(self, seconds: float = 60.0) -> int:
        """The exit code; minus the signal's number where one killed it."""
        if self.popen.returncode is None:
            wait_until(self._reap, "the end of the process", seconds)
        return int(self.popen.returncode or 0)

    def _reap(self) -> bool:
        try:
            status = Path(f"/proc/{self.popen.pid}/status").read_text()
        except OSError:
            status = ""
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                self.peak_mib = int(line.split()[1]) / 1024
        return self.popen.poll() is not None

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.popen.pid, number)

    @property
    def stderr(self) -> str:
        return self._log.read_text()


Launch = Callable[..., NodeProcess]


@pytest.fixture
def launch(server: ProtocolServer, tmp_path: Path) -> Iterator[Launch]:
    """`launch("Name", VARIABLE="…")` starts a sample node against the server; killed at the end if it still
    runs."""
    started: list[NodeProcess] = []

    def start(name: str, **variables: str) -> NodeProcess:
        env = {
            "PATH": os.environ["PATH"],
            "HEADRACE_API_URL": server.url,
            "HEADRACE_TOKEN": TOKEN,
            "HEADRACE_RUN_ID": "run-1",
            "HEADRACE_NODE": "sample",
            "HEADRACE_ATTEMPT": "1",
            "HEADRACE_DATA_URI": f"file:{tmp_path}/data",
            "HEADRACE_DATA_ROOTS": str(tmp_path),
            **variables,
        }
        process = NodeProcess(name, env, tmp_path / f"stderr-{len(started)}.txt")
        started.append(process)
        return process

    yield start
    for process in started:
        if process.popen.returncode is None and not process._reap():  # pyright: ignore[reportPrivateUsage]
            process.kill()
            process.wait()


@pytest.fixture
def feed(tmp_path: Path) -> Callable[[int], str]:
    """`feed(1000)` writes that many records and returns the file's URI."""

    def write(count: int) -> str:
        path = tmp_path / f"feed-{count}.ndjson"
        with open(path, "w") as file:
            file.writelines(
                f'{{"id":"sku-{n}","n":{n},"title":"Kettle No. {n}, 1.7 l"}}\n' for n in range(count)
            )
        return "file:" + path.name

    return write


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """`eventually(condition, "what")`: wait for a condition."""
    return wait_until


@pytest.fixture
def fault() -> type[Fault]:
    return Fault
