"""Processes that outlive the program that started them: a record of pid and start time per name, and a log."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.errors import ClusterError
from tests.cluster.layout import Layout
from tests.cluster.machine import search_path

STOP_GRACE = 15.0
"""Seconds from SIGTERM to SIGKILL."""
LOG_TAIL = 3000


@dataclass(frozen=True)
class Process:
    """A process of ours. A pid alone could be another's by now; with its start time (ticks after boot) it cannot."""

    name: str
    pid: int
    start: int

    def alive(self) -> bool:
        """Whether it runs; one that has ended and was not waited for does not."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        return _start_time(self.pid) == self.start

    def signal(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def stop(self, grace: float = STOP_GRACE) -> None:
        """SIGTERM, and SIGKILL after `grace` seconds. Ends nothing that is not ours."""
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
            if not self.alive():
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)
                os.kill(self.pid, number)
            deadline = time.monotonic() + patience
            while self.alive() and time.monotonic() < deadline:
                time.sleep(0.02)


def _start_time(pid: int) -> int | None:
    """Ticks after boot; None when there is none, or only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def start(
    layout: Layout, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
) -> Process:
    """Start a process in a session of its own, and record it."""
    with layout.log(name).open("ab") as log:
        popen = subprocess.Popen(
            command,
            env={"PATH": search_path(), "HOME": str(layout.root), **(environment or {})},
            cwd=layout.root,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    process = Process(name, popen.pid, _start_time(popen.pid) or 0)
    popen.returncode = 0  # it is not waited for here: `alive` does
    record = layout.root / "run" / f"{name}.pid"
    record.write_text(json.dumps({"pid": process.pid, "start": process.start}))
    return process


def recorded(layout: Layout, name: str) -> Process | None:
    """The process last started under that name."""
    try:
        record = json.loads((layout.root / "run" / f"{name}.pid").read_text())
    except FileNotFoundError:
        return None
    return Process(name, record["pid"], record["start"])


def all_recorded(layout: Layout) -> Iterator[Process]:
    """Everything that was started, in no order."""
    for path in (layout.root / "run").glob("*.pid"):
        process = recorded(layout, path.stem)
        if process is not None:
            yield process


def wait(layout: Layout, process: Process, ready: Callable[[], bool], patience: float = 60.0) -> None:
    """Until it is ready. Raises ClusterError, with the end of its log, when it ended or `patience` seconds went by."""
    deadline = time.monotonic() + patience
    while not ready():
        gone, late = not process.alive(), time.monotonic() > deadline
        if gone or late:
            tail = layout.log(process.name).read_text(errors="replace")[-LOG_TAIL:]
            raise ClusterError(
                f"{process.name} {'ended' if gone else 'is not ready'}; its log ends with\n{tail}"
            )
        time.sleep(0.05)
