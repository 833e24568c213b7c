"""The reporter: sends checkpoints in order, several in one call where they end close together, and signs of
life."""

from __future__ import annotations

import threading
import time
from typing import Any

from headrace.control import Control
from headrace.protocol import Engine

HOLD = 0.020
"""Seconds that a checkpoint may wait for the next one."""
BACKLOG = 32
"""Entries past which the node itself waits until they are sent."""
LEDGER_CALL = 1000
"""Failed records in one call."""


class Reporter:
    """Queues checkpoints and failed records; a background thread sends what has waited for HOLD, and
    heartbeats.

    Whatever the background thread fails with is raised in the main thread, by `flush` or through `control`.
    """

    def __init__(
        self, engine: Engine, epoch: int, heartbeat: float, control: Control, *, hold: float = HOLD
    ) -> None:
        """`heartbeat` and `hold` are in seconds; with a `hold` of 0 every entry is sent, and answered, at
        once."""
        self._engine = engine
        self._epoch = epoch
        self._heartbeat = heartbeat
        self._hold = hold
        self._control = control
        self._queue: list[dict[str, Any]] = []
        """Entries of `checkpoints`, and {"failed": […], "from"?} for `records`."""
        self._due = float("inf")
        self._heard = time.monotonic()
        self._closed = False
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        """Held while a call is under way: so calls keep the order of the queue."""
        self._thread: threading.Thread | None = None

    def step(self, entry: dict[str, Any]) -> None:
        """Queue the end of a step, or a position (an entry with `seq`), which replaces one still waiting
        before it."""
        self._add([entry])

    def position(self, entry: dict[str, Any], failed: list[dict[str, Any]]) -> None:
        """Queue a position, after the failed records that it covers."""
        self._add(
            [*({"failed": failed[i : i + LEDGER_CALL]} for i in range(0, len(failed), LEDGER_CALL)), entry]
        )

    def since(self, index: int) -> None:
        """Queue that the ledger from an index of the stream on is this process's."""
        self._add([{"failed": [], "from": index}])

    def start(self) -> None:
        """Start the background thread."""
        self._thread = threading.Thread(target=self._run, name="headrace-reporter", daemon=True)
        self._thread.start()

    def flush(self) -> None:
        """Send everything now, and wait for the answers. Raises what the engine's calls raise."""
        if self._control.error is not None:
            raise self._control.error
        self._send_queue()

    def close(self) -> None:
        """Stop the background thread; what is queued is not sent."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)

    def _add(self, entries: list[dict[str, Any]]) -> None:
        with self._changed:
            if "seq" in entries[0] and self._queue and "seq" in self._queue[-1]:
                self._queue.pop()
            if not self._queue:
                self._due = time.monotonic() + self._hold
                self._changed.notify()
            self._queue.extend(entries)
        if not self._hold or len(self._queue) > BACKLOG:
            self._send_queue()

    def _run(self) -> None:
        try:
            while self._wait():
                self._send_queue()
                if time.monotonic() >= self._heard + self._heartbeat:
                    with self._sending:
                        self._answer(self._engine.heartbeat(self._epoch))
        except BaseException as error:
            self._control.fail(error)

    def _wait(self) -> bool:
        """Wait until something is due; False once closed."""
        with self._changed:
            while not self._closed:
                left = min(self._due, self._heard + self._heartbeat) - time.monotonic()
                if left <= 0:
                    return True
                self._changed.wait(left)
        return False

    def _send_queue(self) -> None:
        with self._sending:
            with self._changed:
                queue, self._queue, self._due = self._queue, [], float("inf")
            steps: list[dict[str, Any]] = []
            for entry in queue:
                if "failed" not in entry:
                    steps.append(entry)
                    continue
                self._send_steps(steps)
                steps = []
                self._engine.records(self._epoch, entry["failed"], entry.get("from"))
            self._send_steps(steps)

    def _send_steps(self, steps: list[dict[str, Any]]) -> None:
        if steps:
            self._answer(self._engine.checkpoints(self._epoch, steps))

    def _answer(self, cancel: bool) -> None:
        self._heard = time.monotonic()
        if cancel:
            self._control.cancel()
