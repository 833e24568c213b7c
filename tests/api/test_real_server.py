"""Row 32: huge, endless and compressed bodies against a real server process, whose memory must stay flat."""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.embedded import EmbeddedValkey, free_port

GIGABYTE = 1 << 30
KEY = "hr_root_0123456789abcdef0123"


class Server:
    """An API process."""

    def __init__(self, valkey: EmbeddedValkey, prefix: str) -> None:
        self.port = free_port()
        environment = os.environ | {
            "HEADRACE_REDIS_URL": valkey.url,
            "HEADRACE_PREFIX": prefix,
            "HEADRACE_BOOTSTRAP_KEY": KEY,
            "HEADRACE_LOG_LEVEL": "critical",
        }
        command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", "--http", "httptools"]
        command += ["--port", str(self.port), "--log-level", "critical"]
        self.process = subprocess.Popen(command, env=environment)

    def wait(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{self.port}/livez", trust_env=False)
                return
        raise AssertionError("the server did not start")

    def memory(self) -> int:
        """Resident bytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture
def server_process(valkey: EmbeddedValkey, prefix: str) -> Iterator[Server]:
    server = Server(valkey, prefix)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


def send(server: Server, path: str, header: str, body: Iterator[bytes]) -> tuple[bytes, int]:
    """Send until the server closes; its answer, and how many bytes of the body it let us send."""
    sent = 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as peer:
        start = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n{header}\r\n\r\n"
        peer.sendall(start.encode())
        answer = b""
        with contextlib.suppress(ConnectionError):
            for part in body:
                peer.sendall(part)
                sent += len(part)
        with contextlib.suppress(ConnectionError):
            while chunk := peer.recv(65536):
                answer += chunk
    return answer, sent


def chunks(total: int, size: int = 1 << 16) -> Iterator[bytes]:
    part = b"%x\r\n" % size + b"x" * size + b"\r\n"
    for _ in range(total // size):
        yield part


@pytest.mark.parametrize("path", ["/api/v1/workflows/shop/runs", "/hooks/unknown"])
def test_a_gigabyte_in_chunks_is_cut_off_and_memory_stays_flat(server_process: Server, path: str):
    before = server_process.memory()
    _, sent = send(server_process, path, "Transfer-Encoding: chunked", chunks(GIGABYTE))
    assert sent < GIGABYTE // 16
    assert server_process.memory() - before < 24 << 20
    assert server_process.process.poll() is None


def test_a_client_that_listens_while_it_sends_reads_the_413(server_process: Server):
    answer, _ = send(server_process, "/hooks/unknown", "Transfer-Encoding: chunked", chunks(2 << 20))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in head.lower()
    assert b'"code":"too_large"' in body


def test_a_declared_gigabyte_is_refused_before_any_of_it_is_read(server_process: Server):
    answer, _ = send(server_process, "/api/v1/workflows/shop/runs", f"Content-Length: {GIGABYTE}", iter(()))
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_gzip_bomb_is_refused_unopened(server_process: Server):
    bomb = gzip.compress(b"\0" * (64 << 20))
    header = f"Content-Encoding: gzip\r\nContent-Length: {len(bomb)}"
    before = server_process.memory()
    answer, _ = send(server_process, "/api/v1/workflows/shop/runs", header, iter((bomb,)))
    assert answer.startswith(b"HTTP/1.1 415")
    assert server_process.memory() - before < 16 << 20


def test_the_server_still_serves_after_all_that(server_process: Server):
    send(server_process, "/hooks/unknown", "Transfer-Encoding: chunked", chunks(4 << 20))
    assert httpx.get(f"http://127.0.0.1:{server_process.port}/livez", trust_env=False).status_code == 200
