"""2,000 Jobs through a real control plane while workers are killed with -9: none is lost, none is made twice.

    make jobs ARGS="--jobs 2000 --seed 7"

API server, controllers and scheduler are real, nodes and pods simulated (kwok). Workers are processes; one of them is killed
every few seconds: the one that watches the cluster, or another. In the end every run has succeeded, every launch had one Job,
no launch was repeated, and every Job has its log archived and a TTL. Exit code 1 with what was violated.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import structlog
from rich.console import Console
from rich.table import Table

from app.core.tasks import Task, split_ref
from loadtests.api import ApiError
from loadtests.dev import interruptible
from loadtests.ending import conclude, counted, facts
from loadtests.job_ledger import Again, Ledger, Seen
from loadtests.on_cluster import USER, OnCluster, on_cluster
from loadtests.oracle import Leaks, Verdict
from tests.cluster.cluster import Cluster as TestCluster
from tests.cluster.cluster import ensure
from tests.cluster.layout import default_root
from workers.executors.kubernetes.client import ClusterError, cancelled_quietly

WIDTH = 20
"""Node runs of one run: one, then a map, then one."""
IMAGE = "localhost/busybox:1"
WORKFLOW: dict[str, Any] = {
    "name": "jobs",
    "nodes": {
        "first": {"image": IMAGE},
        "fan": {"image": IMAGE, "needs": ["first"], "map": {"over": {"count": WIDTH - 2}}},
        "last": {"image": IMAGE, "needs": ["fan"]},
    },
}
NODES = 5
"""Simulated ones."""
POD: dict[str, Any] = {
    "run_as_user": USER,
    "image_pull_policy": "Never",
    "node_selector": {"type": "kwok"},
    "tolerations": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}],
}
LOOK = 2.0
"""Seconds between looks at what has ended."""
TELL = 10.0
DECK = ("leader", "worker", "worker")
"""One round of victims, shuffled each time: the worker that watches the cluster, or any of them."""


@dataclass(slots=True)
class Options:
    jobs: int = 2000
    seed: int = 1
    workers: int = 3
    kill_every: float = 8.0
    """Seconds between kills, on average."""
    most_kills: int | None = None
    slots: int = 150
    """Node runs at a time."""
    lease: float = 10.0
    """Seconds after which what a dead worker had begun is taken over; the watching is always after ten."""
    stall: float = 120.0
    """Seconds without any progress after which it is judged as it stands."""
    directory: Path | None = None
    """Where Valkey's data, the workers' output and the logs lie; a temporary one, removed after success, when not given."""


@dataclass(slots=True)
class Storm:
    """One experiment. `run` returns what was violated, in its verdict."""

    options: Options
    place: OnCluster
    console: Console
    verdict: Verdict = field(default_factory=Verdict)
    kills: Counter[str] = field(default_factory=Counter[str])
    logs: Counter[str] = field(default_factory=Counter[str])
    seen: Seen = field(default_factory=Seen)
    seconds: float = 0.0
    """From the first trigger to the end of the last run."""

    async def run(self) -> Ledger:
        ledger = Ledger(self.place.cluster)
        watching = asyncio.create_task(ledger.run())
        try:
            await self.place.publish(WORKFLOW)
            runs = [await self.place.fire("jobs") for _ in range(-(-self.options.jobs // WIDTH))]
            began, stop = time.monotonic(), asyncio.Event()
            killing = asyncio.create_task(self._kill(stop))
            try:
                await self._ended(runs, ledger)
            finally:
                stop.set()
                await killing
            self.seconds = time.monotonic() - began
            await self._settled(ledger)
        finally:
            await cancelled_quietly(watching)
        await self._judge(runs, ledger)
        return ledger

    # the storm --------------------------------------------------------------------------------------------------

    async def _kill(self, stop: asyncio.Event) -> None:
        draw, deck = random.Random(self.options.seed), list[str]()
        while self.options.most_kills is None or self.kills.total() < self.options.most_kills:
            pause = min(max(draw.expovariate(1 / self.options.kill_every), 0.5), 3 * self.options.kill_every)
            try:
                await asyncio.wait_for(stop.wait(), pause)
                return
            except TimeoutError:
                deck = deck or draw.sample(DECK, len(DECK))
            kind = deck.pop()
            try:
                victim = await self.place.leader() if kind == "leader" else draw.choice(self.place.workers)
            except ClusterError:
                victim = None
            if victim is None:  # nobody watches now: another one then
                kind, victim = "worker", draw.choice(self.place.workers)
            self.place.kill(victim)
            self.kills[kind] += 1

    async def _ended(self, runs: Sequence[str], ledger: Ledger) -> None:
        """Wait until every run has ended, or nothing has moved for long."""
        left, moved, before, told = set(runs), time.monotonic(), (0, 0), 0.0
        while left:
            await asyncio.sleep(LOOK)
            for record in await self.place.api.pages("/runs", workflow="jobs"):
                if record["status"] in ("succeeded", "failed", "cancelled"):
                    left.discard(record["id"])
            state = (len(left), sum(made.ended for made in ledger.made.values()))
            now = time.monotonic()
            if state != before:
                before, moved = state, now
            if now - told > TELL:
                told = now
                self._tell(len(runs) - len(left), len(runs), ledger)
            if now - moved > self.options.stall:
                self.verdict.blame("it goes on", "everything", f"nothing has moved for {now - moved:.0f} s")
                return

    async def _settled(self, ledger: Ledger) -> None:
        """Wait until every Job has its log and its TTL, or nothing has moved for long."""
        moved, before = time.monotonic(), -1
        while left := len(ledger.unsettled()):
            await asyncio.sleep(LOOK / 4)
            if left != before:
                before, moved = left, time.monotonic()
            if time.monotonic() - moved > self.options.stall:
                return

    def _tell(self, ended: int, runs: int, ledger: Ledger) -> None:
        over = sum(made.ended for made in ledger.made.values())
        settled = sum(made.settled for made in ledger.made.values())
        self.console.print(
            f"{ended}/{runs} runs ended, {len(ledger.made)} Jobs made, {over} ended, {settled} with log and TTL, "
            f"{self.kills.total()} workers killed",
            highlight=False, soft_wrap=True,
        )  # fmt: skip

    # the verdict ------------------------------------------------------------------------------------------------

    async def _judge(self, runs: Sequence[str], ledger: Ledger) -> None:
        for run in runs:
            await self._read(run)
        for run, status in self.seen.runs.items():
            if status != "succeeded":
                self.verdict.blame("every run succeeds", run, f"it is {status}")
        for task in ledger.later():
            self.seen.again.append(Again(task, await self._reason(task)))
        ledger.judge(self.seen.node_runs, self.seen.again, self.verdict)
        self.logs = await ledger.judge_logs(self.place.settings.logs_at, self.verdict)
        leaks = Leaks(self.place.settings.redis_url.get_secret_value(), self.place.api)
        try:
            for name, count in (await leaks.settle(30.0)).items():
                self.verdict.blame("nothing is left behind", name, f"{count} entries")
        finally:
            await leaks.close()

    async def _read(self, run: str) -> None:
        api = self.place.api
        self.seen.runs[run] = (await api.get(f"/runs/{run}"))["status"]
        nodes = await api.pages(f"/runs/{run}/nodes")
        items = await api.pages(f"/runs/{run}/nodes/fan/items")
        refs = {each["name"]: each["status"] for each in nodes if each["name"] != "fan"}
        refs |= {f"fan:{each['item']}": each["status"] for each in items}
        self.seen.node_runs |= {(run, ref): status for ref, status in refs.items()}

    async def _reason(self, task: Task) -> str:
        """What the engine recorded of the launches before this one."""
        node, item = split_ref(task.ref)
        query = {} if item is None else {"item": item}
        try:
            past = await self.place.api.pages(f"/runs/{task.run}/nodes/{node}/attempts", **query)
        except ApiError as error:
            return str(error)
        errors = [each["error"] for each in past if each["error"]]
        return "; ".join(orjson.dumps(error).decode() for error in errors) or "no reason is recorded"

    def summary(self, ledger: Ledger) -> Table:
        options, made = self.options, ledger.made.values()
        succeeded = sum(status == "succeeded" for status in self.seen.runs.values())
        rows: list[tuple[str, object]] = [
            ("seed", options.seed),
            ("runs, of them lost", f"{len(self.seen.runs)}, {len(self.seen.runs) - succeeded}"),
            ("node runs", len(self.seen.node_runs)),
            ("Jobs made", len(made)),
            ("launches with more than one Job", len(ledger.doubled())),
            ("launches that were not their node run's first", len(self.seen.again)),
            ("Jobs without archived log or TTL", len(ledger.unsettled())),
            ("logs", ", ".join(f"{count} {kind}" for kind, count in sorted(self.logs.items()))),
            ("workers killed with -9", counted(self.kills)),
            ("seconds from the first trigger to the last end", f"{self.seconds:.0f}"),
            ("Jobs a second", f"{len(made) / self.seconds:.1f}" if self.seconds else "-"),
            ("violations", len(self.verdict.violations)),
        ]
        return facts("Jobs", rows)


async def storm(cluster: TestCluster, options: Options, root: Path, console: Console) -> tuple[Storm, Ledger]:
    """Do it on a cluster of ours. Raises ClusterError."""
    await asyncio.to_thread(cluster.simulate_nodes, NODES)
    async with on_cluster(
        root, str(cluster.kubeconfig), workers=options.workers, pod=orjson.dumps(POD).decode(),
        global_slots=options.slots, kubernetes_ttl=24 * 3600, lease=options.lease,
    ) as place:  # fmt: skip
        made = Storm(options, place, console)
        return made, await made.run()


def read_options(arguments: list[str] | None) -> Options:
    default = Options()
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.jobs", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--jobs", type=int, default=default.jobs, metavar="N", help=f"in runs of {WIDTH}")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--workers", type=int, default=default.workers, metavar="N")
    parser.add_argument("--kill-every", type=float, default=default.kill_every, metavar="SECONDS")
    parser.add_argument("--most-kills", type=int, metavar="N", help="as many as it lasts when not given")
    parser.add_argument("--slots", type=int, default=default.slots, metavar="N", help="node runs at a time")
    parser.add_argument("--lease", type=float, default=default.lease, metavar="SECONDS")
    parser.add_argument("--stall", type=float, default=default.stall, metavar="SECONDS")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="an empty one, which is kept")
    return Options(**vars(parser.parse_args(arguments)))


def main(arguments: list[str] | None = None) -> int:
    """The command; the exit code."""
    interruptible()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    options, console = read_options(arguments), Console()
    root = options.directory or Path(tempfile.mkdtemp(prefix="headrace-jobs-"))
    root.mkdir(parents=True, exist_ok=True)
    console.print(f"seed {options.seed}; everything lies in {root}", highlight=False)
    try:
        cluster, _ = ensure(default_root())
        made, ledger = asyncio.run(storm(cluster, options, root, console))
    except KeyboardInterrupt:
        console.print(f"interrupted; logs and data are kept in {root}", highlight=False)
        return 130
    remove = options.directory is None
    return conclude(
        console, made.summary(ledger), made.verdict.violations, "logs and data", root, remove=remove
    )


if __name__ == "__main__":
    sys.exit(main())
