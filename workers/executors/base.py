"""What the engine asks of an executor, and what an executor tells the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from app.core.graph import Graph, NodeDef
from app.core.signals import Signal
from app.core.tasks import Task
from app.store.workers import LINGER_MS, Lived

NEVER = float("-inf")
LINGER = LINGER_MS / 1000
"""Seconds that a process, a container or a Job may go on after its attempt has ended."""


@dataclass(slots=True, frozen=True)
class Launch:
    """Everything that is needed to run one launch of one attempt."""

    task: Task
    graph: Graph
    """The workflow version; its name and number are what labels and messages tell."""
    node: NodeDef
    """What runs (`type`, `image` or a service), its time limits."""
    environment: Callable[[], dict[str, str]]
    """Makes the variables of the node protocol, HEADRACE_TOKEN and TRACEPARENT among them.

    A call, since a token costs a signature: an executor that starts nothing does not pay for one.
    """
    live_at: float = NEVER
    """time.monotonic() at which the store admitted it, and so knew it as live; NEVER where that was not asked."""


class Report(Protocol):
    async def __call__(self, run: str, signal: Signal, lived: Lived | None = None) -> None:
        """Tell a run the end of a launch; returns when that is durable. `lived`: when its process did, where that is known."""
        ...


class Executor(Protocol):
    """Submitting is idempotent by task: a launch that exists already is adopted, never started twice."""

    on_free: Callable[[], None]
    """Called when a place became free; set by the worker."""

    def free(self) -> int:
        """How many further launches this worker can take now."""
        ...

    async def submit(self, launch: Launch) -> None:
        """Start it, or adopt it where it was started before. Raises HeadraceError when it can never start."""
        ...

    async def run(self) -> None:
        """The executor's own loops: adoption, stopping what must stop. Ends when cancelled."""
        ...

    async def close(self) -> None:
        """Let go of what runs; it goes on by itself and is adopted by another worker."""
        ...
