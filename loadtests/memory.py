"""Peak memory of every process of an installation, sampled while it works."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from loadtests.dev import Dev
from loadtests.processes import node_processes, peak_memory

LOOK = 0.1
"""Seconds between looks. The kernel keeps the peak, so only the last moments of a process can be missed."""


class MemoryWatch:
    """Peak resident memory in KiB: `parts` by part of the engine, `nodes` by node run, of all their processes."""

    def __init__(self, dev: Dev) -> None:
        self._dev = dev
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self.parts: dict[str, int] = {}
        self.nodes: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK):
            ready = self._dev.ready()
            for name, pid in ready.parts.items():
                self.parts[name] = max(self.parts.get(name, 0), peak_memory(pid))
            for node in node_processes(ready.url):
                self.nodes[node.ref] = max(self.nodes.get(node.ref, 0), peak_memory(node.pid))
