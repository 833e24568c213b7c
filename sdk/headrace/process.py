"""A node as a process: environment, signals, exit codes."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

from headrace import environment
from headrace.errors import Fatal, StaleEpoch

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.node import Node

_STOP_PATIENCE = 5.0
"""Seconds for which the last report is tried once the process was told to stop."""


def run(node_class: type[Node], hold: float | None = None) -> int:
    """Run a node class as this process; returns the exit code: 0, 1 retryable, 3 stale, 42 not retryable, 143
    stopped."""
    try:
        env = environment.read()
    except Fatal as error:
        sys.stderr.write(f"headrace: {error}\n")
        return 42
    from headrace.control import Control, Stopped
    from headrace.http import HttpEngine
    from headrace.redact import Redactor
    from headrace.reporter import HOLD
    from headrace.runner import STOPPED, Runner

    class FencedEngine(HttpEngine):
        """Exits at once, whichever thread calls, when a newer process holds the node run."""

        def _call(self, method: str, path: str, body: bytes | None) -> Any:
            try:
                return super()._call(method, path, body)
            except StaleEpoch:
                _exit_stale()

    hold = HOLD if hold is None else hold
    control = Control()
    engine = FencedEngine(env.api_url, env.token, env.place, env.traceparent)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        engine.patience = _STOP_PATIENCE
        control.stop()

    handler: Callable[[int, FrameType | None], None] = stop
    redact = Redactor([env.token])
    try:
        signal.signal(signal.SIGTERM, handler)
        runner = Runner(node_class, engine, env.place, control=control, redact=redact, hold=hold)
        return runner.run(os.urandom(16).hex())
    except Stopped:
        return STOPPED


def _exit_stale() -> Any:
    """Leave without any clean-up that could touch what the newer process owns."""
    sys.stderr.write("headrace: a newer process holds this node run; leaving\n")
    sys.stderr.flush()
    os._exit(3)
