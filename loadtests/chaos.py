"""Chaos: webhooks are posted while workers, Valkey, the API and node processes are killed with -9, again and again.

    make chaos ARGS="--webhooks 1000 --seed 7"

First each kind of run is made once, undisturbed. Then the webhooks are sent, some of them twice or more, and something is
killed every few seconds for as long as a webhook or a run is outstanding. In the end an oracle judges every operation:
every 202 has exactly one run, each run succeeded, none was started twice, what each published is byte for byte what the
undisturbed one did, and nothing is left behind. Exit code 1 with the ids of what was violated.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import sys
import tempfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from headrace_nodes.generate import products
from loadtests.api import Api
from loadtests.dev import Dev, DevError, Ready, feed, interruptible
from loadtests.ending import conclude, counted, facts
from loadtests.faults import Faults
from loadtests.history import History
from loadtests.oracle import Expected, Leaks, Verdict, Violation, judge_receipts, judge_runs
from loadtests.senders import Delivery, Sender, plan

PRODUCTS = 24
PERCENTS = (0, 0, 5, -20)
"""What the webhooks ask for; 0 leaves the prices alone, and re-pricing is skipped: two processes instead of three."""
RETRY = {"max_attempts": 12, "initial": "200ms", "factor": 2, "max": "5s"}
WORKFLOW: dict[str, Any] = {
    "name": "chaos",
    "params": {
        "type": "object",
        "required": ["percent"],
        "properties": {"percent": {"type": "integer"}, "order": {"type": "integer", "default": -1}},
    },
    "defaults": {"retry": RETRY},
    "nodes": {
        "read": {"type": "catalog-read", "config": {"uri": "file:catalog.ndjson"}},
        "reprice": {
            "type": "catalog-reprice",
            "needs": ["read"],
            "when": "params.percent != 0",
            "config": {"percent": "${{ params.percent }}", "ends_with": ".99"},
        },
        "publish": {
            "type": "catalog-publish",
            "needs": ["read", "reprice"],
            "join": "none_failed",
            "config": {"from": "${{ params.percent == 0 ? 'read' : 'reprice' }}"},
        },
    },
    "output": {name: f"${{{{ nodes.publish.metadata.{name} }}}}" for name in ("uri", "sha256", "count")},
    "triggers": [{"webhook": {"name": "arrived", "signature": "standard"}}],
}
ASKED_AT_ONCE = 40
"""Outstanding runs that one look asks for."""


@dataclass(slots=True)
class Options:
    webhooks: int = 1000
    seed: int = 1
    kill_every: float = 4.0
    """Seconds between kills, on average."""
    most_kills: int | None = None
    rate: float = 8.0
    """Webhooks a second."""
    workers: int = 2
    stall: float = 240.0
    """Seconds without any progress after which the run is judged as it stands."""
    directory: Path | None = None
    """Where the installation lies; a temporary one, removed after success, when not given."""


class Chaos:
    """One experiment. `run` returns what was violated."""

    def __init__(self, options: Options, root: Path, console: Console) -> None:
        self.options = options
        self.console = console
        self.dev = Dev(root, workers=options.workers, settings={"HEADRACE_WORKER_CAPACITY": "3"})
        self.history = History(root / "history.ndjson", seed=options.seed, webhooks=options.webhooks)
        self.verdict = Verdict()
        self.faults = Faults(
            self.dev, self.history, seed=options.seed + 1, every=options.kill_every, most=options.most_kills
        )
        self.ended: set[str] = set()
        self.seconds: dict[str, float] = {}

    async def run(self) -> list[Violation]:
        """Start, send, kill, settle, judge, stop. Raises DevError when the dev itself ends."""
        ready = await asyncio.to_thread(self.dev.start)
        api = Api(ready)
        try:
            sender, expected, references = await self._prepare(ready, api)
            began = self.history.seconds
            deliveries = plan(
                self.options.webhooks, self.options.rate, self.options.seed,
                [{"percent": percent} for percent in PERCENTS], "msg",
            )  # fmt: skip
            await self._storm(api, sender, deliveries)
            self.seconds["storm"] = self.history.seconds - began
            await self._judge(ready, api, sender, deliveries, expected, references)
            await sender.close()
        finally:
            await api.close()
        code, took = await asyncio.to_thread(self.dev.interrupt)
        if code != 0 or took > 20:
            self.verdict.blame(
                "Ctrl-C ends it within 20 s with code 0", "headrace dev", f"code {code} after {took:.1f} s"
            )
        return self.verdict.violations

    async def _prepare(self, ready: Ready, api: Api) -> tuple[Sender, dict[int, Expected], dict[str, str]]:
        """Publish the workflow, and run each kind of it once in peace: what each must publish, and those runs."""
        feed(
            self.dev.feeds,
            "catalog.ndjson",
            [orjson.dumps(product) for product in islice(products(PRODUCTS), PRODUCTS)],
        )
        published = await api.send("PUT", f"/workflows/{WORKFLOW['name']}", WORKFLOW)
        hook = published["hooks"][0]
        sender = Sender(hook["url"], hook["secret"], self.history)
        expected: dict[int, Expected] = {}
        references: dict[str, str] = {}
        for percent in sorted(set(PERCENTS)):
            delivery = Delivery(f"reference{percent}", {"percent": percent}, (0.0,))
            if not await sender.attempt(delivery):
                raise DevError("a webhook was not accepted though nothing had been killed yet")
            ((receipt, run),) = sender.answers.accepted[delivery.id]
            record = await api.ended(str(run), 60)
            if record["status"] != "succeeded":
                raise DevError(f"an undisturbed run ended as {record['status']}: {record['error']}")
            path = Path(record["output"]["uri"].removeprefix("file://"))
            expected[percent] = Expected(
                hashlib.sha256(path.read_bytes()).hexdigest(), record["output"]["count"]
            )
            references[receipt] = str(run)
        distinct = {each.sha256 for each in expected.values()}
        assert len(distinct) == len(expected), "kinds of runs must publish different files"
        return sender, expected, references

    async def _storm(self, api: Api, sender: Sender, deliveries: list[Delivery]) -> None:
        """Send and kill until every copy is answered and every run has ended, or nothing moves any more."""
        stop = asyncio.Event()
        sending = asyncio.create_task(sender.send_all(deliveries))
        killing = asyncio.create_task(self.faults.run(stop))
        moved, last, told = self.history.seconds, (0, 0), 0.0
        while not (sending.done() and len(self.ended) == len(self._runs(sender, deliveries))):
            for task in (sending, killing):
                if task.done():
                    task.result()
            await self._look(api, sender, deliveries)
            state = (len(self.ended), sender.left)
            if state != last:
                moved, last = self.history.seconds, state
            if self.history.seconds - moved > self.options.stall:
                self.verdict.blame(
                    "it goes on", "everything", f"nothing has moved for {self.options.stall:g} s"
                )
                break
            if self.history.seconds - told >= 10:
                told = self.history.seconds
                self._tell(sender, deliveries)
        stop.set()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await killing
        self._tell(sender, deliveries)

    @staticmethod
    def _runs(sender: Sender, deliveries: list[Delivery]) -> set[str]:
        accepted = sender.answers.accepted
        return {str(run) for delivery in deliveries for _, run in accepted.get(delivery.id, ())}

    async def _look(self, api: Api, sender: Sender, deliveries: list[Delivery]) -> None:
        """Ask which of some outstanding runs have ended."""
        outstanding = sorted(self._runs(sender, deliveries) - self.ended)
        older = outstanding[: ASKED_AT_ONCE // 2]
        some = random.sample(outstanding, min(len(outstanding), ASKED_AT_ONCE // 2))
        for run in {*older, *some}:
            if (await api.get(f"/runs/{run}"))["status"] in ("succeeded", "failed", "cancelled"):
                self.ended.add(run)
        await asyncio.sleep(0.5)

    def _tell(self, sender: Sender, deliveries: list[Delivery]) -> None:
        accepted = sum(delivery.id in sender.answers.accepted for delivery in deliveries)
        kills = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.kills.items()))
        self.console.print(
            f"{self.history.seconds:6.0f} s  {accepted}/{len(deliveries)} webhooks accepted, "
            f"{len(self.ended)} runs ended, {sender.answers.retries} retries, killed: {kills or 'nothing yet'}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip

    async def _judge(
        self, ready: Ready, api: Api, sender: Sender, deliveries: list[Delivery],
        expected: dict[int, Expected], references: dict[str, str],
    ) -> None:  # fmt: skip
        verdict, answers = self.verdict, sender.answers
        runs = judge_receipts(answers, [delivery.id for delivery in deliveries], verdict)
        by_id = {delivery.id: expected[delivery.body["percent"]] for delivery in deliveries}
        await judge_runs(api, {run: by_id[id_] for id_, run in runs.items()}, verdict)
        known = set(runs.values()) | set(references.values())
        for record in await api.pages("/runs", workflow=WORKFLOW["name"]):
            if record["id"] not in known:
                verdict.blame(
                    "no run without a webhook", record["id"], f"{record['status']}, {record['source']}"
                )
        receipts = {receipt for found in answers.accepted.values() for receipt, _ in found}
        leaks = Leaks(ready.redis_url, api)
        try:
            await leaks.judge(known, receipts, verdict)
        finally:
            await leaks.close()

    def summary(self) -> Table:
        """What was done, and what it took."""
        counts = self.history.counts
        rows: list[tuple[str, object]] = [
            ("seed", self.options.seed),
            ("webhooks", self.options.webhooks),
            (
                "requests: ok, fail, unknown",
                ", ".join(str(counts[f"webhook {end}"]) for end in ("ok", "fail", "unknown")),
            ),
            ("runs ended", len(self.ended)),
            ("node runs", self.verdict.node_runs),
            ("attempts", self.verdict.attempts),
            ("infrastructure faults", self.verdict.infrastructure_faults),
            ("killed with -9", counted(self.faults.kills)),
            ("seconds from the first webhook to the last end", f"{self.seconds.get('storm', 0):.0f}"),
            ("violations", len(self.verdict.violations)),
        ]
        return facts("Chaos", rows)


def read_options(arguments: list[str] | None) -> Options:
    default = Options()
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.chaos", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--webhooks", type=int, default=default.webhooks, metavar="N")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--kill-every", type=float, default=default.kill_every, metavar="SECONDS")
    parser.add_argument(
        "--most-kills", type=int, metavar="N", help="as many as the time allows when not given"
    )
    parser.add_argument(
        "--rate", type=float, default=default.rate, metavar="PER_SECOND", help="webhooks a second"
    )
    parser.add_argument("--workers", type=int, default=default.workers, metavar="N")
    parser.add_argument("--stall", type=float, default=default.stall, metavar="SECONDS")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="an empty one, which is kept")
    return Options(**vars(parser.parse_args(arguments)))


def main(arguments: list[str] | None = None) -> int:
    """The command; the exit code."""
    interruptible()
    options, console = read_options(arguments), Console()
    root = options.directory or Path(tempfile.mkdtemp(prefix="headrace-chaos-"))
    root.mkdir(parents=True, exist_ok=True)
    console.print(f"seed {options.seed}; everything lies in {root}", highlight=False)
    chaos = Chaos(options, root, console)
    try:
        with chaos.history:
            violations = asyncio.run(chaos.run())
    except KeyboardInterrupt:
        console.print(f"interrupted; the history, logs and data are kept in {root}", highlight=False)
        return 130
    finally:
        chaos.dev.close()
    remove = options.directory is None
    return conclude(console, chaos.summary(), violations, "the history, logs and data", root, remove=remove)


if __name__ == "__main__":
    sys.exit(main())
