"""The files of one launch of a process, side by side in the log directory. They outlive every process of ours.

NAME.log what it printed; NAME.stat the shim's /proc stat line, written before the program starts and never overwritten;
NAME.exit its exit code, once it has ended; NAME.output the metadata that a program without the protocol leaves.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import orjson

from app.core.tasks import Task
from app.logfiles import log_path
from app.store.workers import Lived

OUTPUT_LIMIT = 256 * 1024

SHIM = """
trap : TERM INT HUP
set -C
{ IFS= read -r line < /proc/self/stat && printf '%s\\n' "$line" > "$1.stat"; } 2>/dev/null || exit 75
set +C
base=$1
shift
"$@" < /dev/null >> "$base.log" 2>&1 &
child=$!
wait "$child"
code=$?
while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done
printf '%s\\n' "$code" > "$base.exit.tmp" && mv "$base.exit.tmp" "$base.exit"
exit "$code"
"""
"""What a container runtime's shim does for a pod: outlives the worker, remembers the exit code. 75: started before."""

ALREADY = 75


@dataclass(slots=True, frozen=True)
class Process:
    """A process of this machine, told from a later one with the same pid by its start time (clock ticks since boot)."""

    pid: int
    start: int

    def alive(self) -> bool:
        return process_start(self.pid) == self.start


def process_start(pid: int) -> int | None:
    """The start time of a live process; None when it is gone (a zombie is gone)."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return _start_of(line)


def _start_of(line: str) -> int | None:
    fields = line.rpartition(")")[2].split()
    return None if len(fields) < 20 or fields[0] in "ZX" else int(fields[19])


class LaunchFiles:
    def __init__(self, log_dir: Path, task: Task) -> None:
        log = log_path(log_dir, task.run, task.ref, task.attempt, task.launch).resolve()
        self.base = log.with_suffix("")
        self.log = log
        self.stat = log.with_suffix(".stat")
        self.exit = log.with_suffix(".exit")
        self.output = log.with_suffix(".output")

    def process(self) -> Process | None:
        """The shim that was started for this launch, dead or alive; None when there was none."""
        try:
            line = self.stat.read_text()
        except OSError:
            return None
        start = _start_of(line)
        return None if start is None else Process(int(line.split(" ", 1)[0]), start)

    def started_ms(self) -> float:
        """ms since the epoch, by this machine's clock, when the launch was started; infinite where it was not."""
        try:
            return self.stat.stat().st_mtime_ns / 1_000_000
        except OSError:
            return math.inf

    def lived(self) -> Lived:
        """When its process was there, by the times of the files: one whose end they do not tell has just ended."""
        now = time.time() * 1000
        try:
            ended = self.exit.stat().st_mtime_ns / 1_000_000
        except OSError:
            ended = now
        began = self.started_ms()
        return Lived(-1 if began == math.inf else max(round(now - began), 0), max(round(now - ended), 0))

    def exit_code(self) -> int | None:
        """The program's exit code, negative for the signal that killed it; None where it is not known."""
        try:
            code = int(self.exit.read_text())
        except (OSError, ValueError):
            return None
        return 128 - code if code > 128 else code

    def read_output(self) -> tuple[str | None, str | None]:
        """(metadata as JSON or None, what is wrong with it or None)."""
        try:
            with self.output.open("rb") as file:
                raw = file.read(OUTPUT_LIMIT + 1)
        except OSError:
            return None, None
        if len(raw) > OUTPUT_LIMIT:
            return None, f"the output is longer than {OUTPUT_LIMIT} bytes"
        try:
            return orjson.dumps(orjson.loads(raw)).decode(), None
        except ValueError:
            return None, "the output is not valid JSON"
