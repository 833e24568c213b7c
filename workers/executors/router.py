"""Several executors behind one: each node run goes to the executor that its node names, or to the first that can run it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from app.core.graph import Kind, NodeDef
from app.core.placement import SERVICE, Misplaced, Placement
from app.errors import NotFound
from workers.executors.base import Executor, Launch


class Nowhere:
    """Takes what no executor of this worker can run, and refuses it: a node that was published when it could."""

    def __init__(self, why: str) -> None:
        self._why = why
        self.on_free: Callable[[], None] = lambda: None

    def free(self) -> int:
        return 1

    async def submit(self, launch: Launch) -> None:
        """Raises NotFound: no other attempt would end otherwise."""
        raise NotFound(self._why)

    async def run(self) -> None:
        return

    async def close(self) -> None:
        return


class Router:
    """An executor that only passes on. All workers of an installation have the same executors."""

    def __init__(self, executors: Mapping[str, Executor], placement: Placement) -> None:
        self._executors = dict(executors)
        self._placement = placement
        self.on_free: Callable[[], None] = lambda: None
        for executor in self._executors.values():
            executor.on_free = self._freed

    def _freed(self) -> None:
        self.on_free()

    def choose(self, node: NodeDef) -> Executor:
        """The executor that runs a node; one that refuses it where there is none."""
        if node.kind is Kind.SERVICE:
            name: str | Misplaced = SERVICE
        else:
            name = self._placement.choose(node.type, node.image, node.executor)
        if isinstance(name, Misplaced):
            return Nowhere(name.detail)
        return self._executors.get(name) or Nowhere(f"this worker has no executor '{name}'")

    def free(self) -> int:
        return sum(executor.free() for executor in self._executors.values())

    async def submit(self, launch: Launch) -> None:
        await self.choose(launch.node).submit(launch)

    async def run(self) -> None:
        """The loops of all of them; the death of one is the death of this one."""
        async with asyncio.TaskGroup() as group:
            for executor in self._executors.values():
                group.create_task(executor.run())

    async def close(self) -> None:
        await asyncio.gather(*(executor.close() for executor in self._executors.values()))
