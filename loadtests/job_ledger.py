"""Every Job that was ever made, seen from outside: what a watch of the API server tells, and what must be true of it.

A Job's name stands for its launch, so two Jobs of one launch can only follow each other: both are here, by their UIDs.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.core.tasks import Task
from app.joblogs import JobLog
from app.objects import Objects
from loadtests.oracle import Verdict
from tests.cluster import simulated
from workers.executors.kubernetes.client import JOBS, Cluster
from workers.executors.kubernetes.logs import LOGS, finished, settled
from workers.executors.kubernetes.watch import Watch
from workers.executors.naming import MANAGED, TASK

SIDE_BY_SIDE = 16


@dataclass(slots=True)
class Made:
    """One Job, as it was last seen."""

    task: Task
    name: str
    logs: str = ""
    """What its annotation says of its log: archived, truncated, none; empty before that."""
    ended: bool = False
    settled: bool = False
    """Its log was dealt with, and its TTL is set."""
    gone: bool = False


@dataclass(slots=True, frozen=True)
class Again:
    """A launch that was not a node run's first, and why there is one."""

    task: Task
    reason: str


class Ledger:
    """Watches from before the first Job on."""

    def __init__(self, cluster: Cluster) -> None:
        self.made: dict[str, Made] = {}
        """By UID."""
        ours = {"labelSelector": f"{MANAGED}=headrace"}
        self._watch = Watch(cluster, cluster.url(JOBS, "jobs"), ours, _nothing, self._listed, self._note)

    async def run(self) -> None:
        """For ever."""
        await self._watch.run()

    async def _listed(self, things: list[dict[str, Any]]) -> None:
        there = {thing["metadata"]["uid"] for thing in things}
        for uid, made in self.made.items():
            made.gone = made.gone or uid not in there
        for thing in things:
            await self._note("MODIFIED", thing)

    async def _note(self, kind: str, thing: dict[str, Any]) -> None:
        metadata = thing["metadata"]
        made = self.made.setdefault(
            metadata["uid"], Made(Task.parse(metadata["annotations"][TASK]), metadata["name"])
        )
        made.logs = metadata["annotations"].get(LOGS, "")
        made.ended, made.settled = finished(thing) is not None, settled(thing)
        made.gone = kind == "DELETED"

    def unsettled(self) -> list[Made]:
        """Jobs that are there without an archived log or without a TTL."""
        return [made for made in self.made.values() if not made.gone and not made.settled]

    def doubled(self) -> dict[Task, int]:
        """Launches that had more than one Job, and how many."""
        counts = Counter(made.task for made in self.made.values())
        return {task: count for task, count in counts.items() if count > 1}

    def later(self) -> list[Task]:
        """Launches that were not their node run's first."""
        return sorted({made.task for made in self.made.values() if made.task.attempt > 1 or made.task.launch})

    def judge(self, node_runs: Mapping[tuple[str, str], str], again: list[Again], verdict: Verdict) -> None:
        """`node_runs` are all that there should be, by (run, ref), and what became of them."""
        for task, count in self.doubled().items():
            verdict.blame("one Job for each launch", task.encode(), f"{count} Jobs")
        for each in again:
            verdict.blame(
                "a worker's death costs neither attempt nor launch", each.task.encode(), each.reason
            )
        had: defaultdict[tuple[str, str], int] = defaultdict(int)
        for made in self.made.values():
            had[made.task.run, made.task.ref] += 1
            if made.gone:
                verdict.blame("a Job stays for its TTL", made.task.encode(), f"{made.name} is gone")
        for (run, ref), status in node_runs.items():
            if status != "succeeded":
                verdict.blame("every node run succeeds", f"{run}|{ref}", f"it is {status}")
            if not had[run, ref]:
                verdict.blame("every node run had a Job", f"{run}|{ref}", "none was made")
        for run, ref in had.keys() - node_runs.keys():
            verdict.blame("every Job belongs to a node run", f"{run}|{ref}", f"{had[run, ref]} Jobs")
        for made in self.unsettled():
            state = "it has ended" if made.ended else "it goes on"
            verdict.blame(
                "each Job has its log archived, then a TTL", made.task.encode(), f"{made.name}: {state}"
            )

    async def judge_logs(self, logs_at: str, verdict: Verdict) -> Counter[str]:
        """What is archived is what the container wrote; how many logs there are of each kind."""
        objects, gate = Objects(logs_at), asyncio.Semaphore(SIDE_BY_SIDE)
        wanted = simulated.LOG.split(" ", 3)[3].encode()

        async def one(made: Made) -> None:
            log = JobLog(objects, *made.task)
            async with gate:
                if await log.archived() is None:
                    verdict.blame("what is said to be archived is there", made.task.encode(), made.logs)
                    return
                found = b"".join([chunk async for chunk in log.chunks(0)])
            if made.logs == "archived" and found != wanted:
                verdict.blame("an archived log is whole", made.task.encode(), f"{found[:200]!r}")

        kept = [made for made in self.made.values() if made.settled]
        await asyncio.gather(*(one(made) for made in kept))
        return Counter(made.logs for made in kept)


async def _nothing() -> None:
    return


@dataclass(slots=True)
class Seen:
    """What the API tells of all runs at the end."""

    runs: dict[str, str] = field(default_factory=dict[str, str])
    """Run -> status."""
    node_runs: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    """(run, ref) -> status; items of a map are node runs, their parent is none."""
    again: list[Again] = field(default_factory=list[Again])
