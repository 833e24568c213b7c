"""Faults from a seed: kill -9 of workers, of Valkey, of the API and of node processes, again and again."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

from loadtests.dev import Dev
from loadtests.history import History
from loadtests.processes import kill_child, kill_node, node_processes

DECK = ("worker", "worker", "valkey", "node", "node", "session", "machine", "api")
"""One round of kinds, shuffled each time, so that every kind has its turn. node: a node's program alone, which is a failed
attempt; session: with its shim; machine: a worker and every node process at once."""


class Faults:
    """Kills something every `every` seconds on average until stopped; `kills` counts what died, by kind."""

    def __init__(self, dev: Dev, history: History, *, seed: int, every: float, most: int | None = None,
                 deck: Sequence[str] = DECK) -> None:  # fmt: skip
        self._dev = dev
        self._history = history
        self._random = random.Random(seed)
        self._every = every
        self._most = most
        self._kinds = tuple(deck)
        self._deck: list[str] = []
        self.kills: Counter[str] = Counter()

    async def run(self, stop: asyncio.Event) -> None:
        """Kill until `stop` is set or `most` have died. Raises DevError when the dev itself has ended."""
        while not stop.is_set() and (self._most is None or self.kills.total() < self._most):
            pause = min(max(self._random.expovariate(1 / self._every), 0.2), 3 * self._every)
            try:
                await asyncio.wait_for(stop.wait(), pause)
            except TimeoutError:
                self._dev.check()
                await self.strike()

    async def strike(self) -> bool:
        """Kill one process of the next kind. False when there was none to kill: it is tried next time."""
        if not self._deck:
            self._deck = self._random.sample(self._kinds, len(self._kinds))
        kind = self._deck[-1]
        number = self._history.invoke("kill", kind=kind)
        pid = await asyncio.to_thread(self._kill, kind)
        self._history.end(number, "kill", "ok" if pid else "fail", kind=kind, pid=pid)
        if pid is None:
            self._deck.insert(
                0, self._deck.pop()
            )  # nothing of this kind runs now: the next one has its turn first
            return False
        self._deck.pop()
        self.kills[kind] += 1
        return True

    def _kill(self, kind: str) -> int | None:
        if kind in ("node", "session"):
            return self._kill_node(whole=kind == "session")
        if kind == "machine":
            return self._kill_machine()
        ready = self._dev.ready()
        pids = {"worker": ready.workers, "valkey": (ready.redis,), "api": (ready.api,)}[kind]
        for pid in self._random.sample(pids, len(pids)):
            if pid and kill_child(pid, self._dev.pid):
                return pid
        return None

    def _kill_node(self, *, whole: bool) -> int | None:
        url = self._dev.ready().url
        nodes = sorted(node_processes(url), key=lambda node: node.pid)
        for node in self._random.sample(nodes, len(nodes)):
            if kill_node(node, url, whole_session=whole):
                return node.pid
        return None

    def _kill_machine(self) -> int | None:
        url = self._dev.ready().url
        nodes = node_processes(url)
        if not nodes:
            return None
        worker = self._kill("worker")
        for node in nodes:
            kill_node(node, url, whole_session=True)
        return worker
