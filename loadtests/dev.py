"""A `headrace dev` in a process of its own, as a person would start it, with its ready file read again and again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from loadtests.processes import alive, children_of, kill_child, kill_node, node_processes

COMMAND = (sys.executable, "-P", "-m", "app.cli.main", "dev")
READY_WITHIN = 60.0
"""Seconds for which a start is waited for."""
ENDS_WITHIN = 20.0
"""Seconds that SIGINT may take, by contract."""


class DevError(Exception):
    """The dev did not start, or ended by itself; the message has the end of its output."""


@dataclass(slots=True, frozen=True)
class Ready:
    """What the ready file says."""

    url: str
    api_key: str
    redis_url: str
    api: int | None
    redis: int | None
    workers: tuple[int | None, ...]
    """Processes; None for one that is just being started again."""

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.api_key}"}

    @property
    def parts(self) -> dict[str, int]:
        """The processes by name."""
        named = {f"worker-{number}": pid for number, pid in enumerate(self.workers, 1)}
        return {name: pid for name, pid in {"api": self.api, "valkey": self.redis, **named}.items() if pid}


class Dev:
    """One installation below `root`: data in root/dev, output in root/dev.log. Relative feeds lie below root/feeds."""

    def __init__(
        self, root: Path, *, workers: int = 2, demo: bool = False, settings: dict[str, str] | None = None
    ) -> None:
        self.root = root
        self.feeds = root / "feeds"
        self.data = root / "dev"
        self.log = root / "dev.log"
        self.ready_file = root / "ready.json"
        self._workers = workers
        self.demo = demo
        self._settings = settings or {}
        self._last: Ready | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.feeds.mkdir(parents=True, exist_ok=True)

    def start(self) -> Ready:
        """Start it, again after an end on the same data, and wait until it is ready. Raises DevError."""
        self.ready_file.unlink(missing_ok=True)
        options = ["--port", "0", "--no-browser", *([] if self.demo else ["--no-demo"])]
        places = [
            "--data",
            str(self.data),
            "--ready-file",
            str(self.ready_file),
            "--workers",
            str(self._workers),
        ]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
        env = clean | {"HEADRACE_DATA_ROOTS": str(self.feeds), "COLUMNS": "100"} | self._settings
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, *options, *places],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=self.root, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + READY_WITHIN
        while not self.ready_file.exists():
            self.check()
            if time.monotonic() > deadline:
                raise DevError(f"not ready within {READY_WITHIN:g} s:\n{self.tail()}")
            time.sleep(0.02)
        return self.ready()

    def ready(self) -> Ready:
        """The ready file as it is now; its process ids change whenever a part was started again."""
        with suppress(FileNotFoundError):
            found = json.loads(self.ready_file.read_text())
            pids = found["pids"]
            self._last = Ready(
                found["url"],
                found["api_key"],
                found["redis_url"],
                pids["api"],
                pids["redis"],
                tuple(pids["workers"]),
            )
        if self._last is None:
            raise DevError("it was never ready")
        return self._last

    def check(self) -> None:
        """Raise DevError when it has ended by itself."""
        if self.process is None or self.process.poll() is not None:
            code = self.process.returncode if self.process else None
            raise DevError(f"headrace dev has ended with {code}:\n{self.tail()}")

    def tail(self, lines: int = 20) -> str:
        """The end of what it printed."""
        with suppress(OSError):
            return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])
        return "(nothing)"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self, pid: int) -> bool:
        """kill -9 of one of its parts. False when it is gone already."""
        return kill_child(pid, self.pid)

    def interrupt(self) -> tuple[int, float]:
        """Ctrl-C: the exit code, and the seconds it took. Ends it by force after some more than the contract's."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(ENDS_WITHIN + 10)
        except subprocess.TimeoutExpired:
            self.kill_everything()
            code = -signal.SIGKILL
        return code, time.monotonic() - began

    def kill_everything(self) -> None:
        """kill -9 of dev, Valkey, API, workers and every node process, at once; returns when all are gone."""
        assert self.process is not None
        url = self._last.url if self._last else ""
        parts = children_of(self.pid)
        self.process.kill()
        for pid in parts:
            kill_child(pid, self.pid)
        self.process.wait()
        deadline = time.monotonic() + 10
        while True:
            nodes = node_processes(url)
            for node in nodes:
                kill_node(node, url, whole_session=True)
            if not nodes and not any(alive(pid) for pid in parts):
                return
            if time.monotonic() > deadline:
                raise DevError("killed processes do not end")
            time.sleep(0.02)

    def close(self) -> None:
        """End whatever still runs."""
        if self.process is not None and self.process.poll() is None:
            self.interrupt()


def interruptible() -> None:
    """Let SIGINT and SIGTERM raise KeyboardInterrupt, in the background too, so that a dev never outlives its program."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def feed(folder: Path, name: str, lines: Sequence[bytes]) -> str:
    """Write a feed of NDJSON; its URI for a dev whose data root `folder` is."""
    (folder / name).write_bytes(b"".join(line + b"\n" for line in lines))
    return f"file:{name}"
