"""What a cluster tells of launches that it cannot run, or whose pods it took away."""

from __future__ import annotations

from app.core.hindrances import Hindrance
from app.core.states import NODE_LIVE
from app.core.tasks import Task
from app.store.client import Batcher, Script
from app.store.keys import Keys

HINDERED = Script("hindered")
DISRUPTED = Script("disrupted")


class Hindrances:
    def __init__(self, batcher: Batcher, keys: Keys) -> None:
        self._batcher = batcher
        self._keys = keys

    async def tell(self, task: Task, code: str, detail: str, now: int) -> int:
        """Record why a launch does not run, or with an empty code that nothing hinders it. `now` in ms by the store's clock.

        Since when (ms, by the same clock) this code is told, whoever told it first; 0 when the launch is not live any more.
        """
        key = self._keys.node(task.run, task.ref)
        before = Hindrance.of(await self._batcher.call("HGET", key, "er"), task.attempt, task.launch)
        told = before.followed_by(code, detail, now)
        record = told.encode(task)
        reply = await self._batcher.script(HINDERED, [key], [task.attempt, task.launch, record, *NODE_LIVE])
        return told.since if reply == 1 else 0

    async def disrupted(self, task: Task, pod: str) -> int:
        """Count a pod (its UID) that the cluster took away, once; how many the node run has lost so.

        -1 when the launch is not live any more.
        """
        key = self._keys.node(task.run, task.ref)
        return int(await self._batcher.script(DISRUPTED, [key], [task.attempt, task.launch, pod, *NODE_LIVE]))
