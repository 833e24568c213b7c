"""A million products through read -> filter -> split -> reprice (a map) -> merge -> publish, with kill -9 on the way.

    make million ARGS="--products 1000000 --kill reprice"

Nodes are killed in the middle of their execute. Each must go on inside the node: the records that the first process had made
durable are in the result, and the second one wrote the others; of a map only the killed item is run again (its parts are so
small that there may be no position in it yet). The published file must be, byte for byte, what this script computes by
itself from the generator. Node processes must stay below 150 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from headrace_nodes import generate
from loadtests.api import Api
from loadtests.dev import Dev, interruptible
from loadtests.memory import MemoryWatch
from loadtests.processes import NodeProcess, kill_node, node_processes

PERCENT = 5
LEAST_CENTS = 1500
LIMIT_KIB = 150 * 1000 * 1000 // 1024
"""What a node process may hold: 150 MB."""
RECORDS = ("read", "filter", "reprice", "merge", "publish")
"""The nodes that have records of their own, and so can be killed in the middle of them."""
WORKFLOW: dict[str, Any] = {
    "name": "million",
    "params": {"type": "object", "required": ["parts"], "properties": {"parts": {"type": "integer"}}},
    "nodes": {
        "read": {"type": "catalog-read", "config": {"uri": "file:catalog.ndjson"}},
        "filter": {"type": "catalog-filter", "needs": ["read"], "config": {"min_price": LEAST_CENTS // 100}},
        "split": {"type": "catalog-split", "needs": ["filter"], "config": {"parts": "${{ params.parts }}"}},
        "reprice": {
            "type": "catalog-reprice",
            "needs": ["split"],
            "map": {"over": "nodes.split.metadata.parts", "max_parallel": 2},
            "config": {"percent": PERCENT, "ends_with": ".99"},
        },
        "merge": {"type": "catalog-merge", "needs": ["reprice"]},
        "publish": {"type": "catalog-publish", "needs": ["merge"], "config": {"format": "ndjson"}},
    },
    "output": {name: f"${{{{ nodes.publish.metadata.{name} }}}}" for name in ("uri", "sha256", "count")},
}


def expected_lines(count: int, seed: int) -> Iterator[bytes]:
    """What must be published, computed from the generator with integers only: another way than the nodes go."""
    for product in generate.products(count, seed):
        if _cents(product["price"]) < LEAST_CENTS:
            continue
        for priced in (product, *product["variants"]):
            priced["price"] = _text(_repriced(_cents(priced["price"])))
        yield orjson.dumps(product) + b"\n"


def _cents(text: str) -> int:
    whole, _, cents = text.partition(".")
    return int(whole) * 100 + int(cents)


def _text(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


def _repriced(cents: int) -> int:
    """PERCENT more, halves up, then the nearest price that ends with .99, up when halfway."""
    raised = (cents * (100 + PERCENT) * 2 + 100) // 200
    low = (raised - 99) // 100 * 100 + 99
    return low + 100 if low + 100 - raised <= raised - low or low <= 0 else low


@dataclass(slots=True)
class Kill:
    """One kill -9, and what became of the node run."""

    ref: str
    done: int
    """Records that the engine knew of when the process was killed."""
    kept: int = 0
    """Records in the result that the killed process wrote."""
    rewritten: int = 0
    """Records in the result that later processes wrote."""
    attempts: int = 0
    epoch: int = 0


@dataclass(slots=True)
class Options:
    products: int = 1_000_000
    kill: list[str] = field(default_factory=lambda: ["filter", "reprice", "merge"])
    parts: int = 20
    """Into which the products are cut for the map."""
    seed: int = 1
    share: float = 0.4
    """How far a node must have come before it is killed."""
    minutes: float = 30.0
    directory: Path | None = None


class Million:
    """One run of the workflow. `problems` is empty when every promise held."""

    def __init__(self, options: Options, root: Path, console: Console) -> None:
        self.options = options
        self.console = console
        self.dev = Dev(root, workers=2, settings={"HEADRACE_WORKER_CAPACITY": "2"})
        self.memory = MemoryWatch(self.dev)
        self.kills: list[Kill] = []
        self.problems: list[str] = []
        self.nodes: list[dict[str, Any]] = []
        self._began = time.monotonic()
        self._to_kill = list(options.kill)

    def say(self, text: str) -> None:
        self.console.print(f"{time.monotonic() - self._began:6.0f} s  {text}", highlight=False, markup=False)

    async def run(self) -> None:
        """Generate, start, run, kill, compare. Raises DevError, ApiError, TimeoutError when it cannot go on."""
        catalog, count = self.dev.feeds / "catalog.ndjson", self.options.products
        size = await asyncio.to_thread(generate.write, catalog, count, seed=self.options.seed)
        self.say(f"{count:,} products generated, {size / 1e6:,.0f} MB")
        ready = await asyncio.to_thread(self.dev.start)
        api = Api(ready)
        try:
            with self.memory:
                await api.send("PUT", f"/workflows/{WORKFLOW['name']}", WORKFLOW)
                accepted = await api.send(
                    "POST",
                    f"/workflows/{WORKFLOW['name']}/runs",
                    {"params": {"parts": self.options.parts}},
                    **{"idempotency-key": "million"},
                )
                record = await self._follow(api, accepted["run"], ready.url)
            self.nodes = (await api.get(f"/runs/{record['id']}/nodes"))["items"]
            if record["status"] != "succeeded":
                self.problems.append(f"the run {record['status']}: {record['error']}")
                return
            for kill in self.kills:
                await self._judge_kill(api, record["id"], kill)
            await asyncio.to_thread(self._judge_output, record["output"])
        finally:
            await api.close()
        self._judge_memory()
        if self._to_kill:
            self.problems.append(
                f"not killed, since never seen in the middle of its records: {', '.join(self._to_kill)}"
            )

    async def _follow(self, api: Api, run: str, url: str) -> dict[str, Any]:
        """Kill what is to be killed when it is half-way; the run once it has ended."""
        statuses: dict[str, str] = {}
        async with asyncio.timeout(self.options.minutes * 60):
            while (record := await api.get(f"/runs/{run}"))["status"] in ("queued", "running"):
                self.dev.check()
                for node in (await api.get(f"/runs/{run}/nodes"))["items"]:
                    if statuses.get(node["name"]) != node["status"]:
                        statuses[node["name"]] = node["status"]
                        if node["status"] in ("running", "succeeded", "failed"):
                            self.say(f"{node['name']} {node['status']}")
                await self._kill_what_is_due(api, run, url)
                await asyncio.sleep(0.1)
        return record

    async def _kill_what_is_due(self, api: Api, run: str, url: str) -> None:
        for process in node_processes(url):
            if process.node not in self._to_kill or any(kill.ref == process.ref for kill in self.kills):
                continue
            record = await api.get(f"/runs/{run}/nodes/{process.ref}")
            if record["step"] != "configure":
                continue
            progress: dict[str, Any] = record["progress"] or {"done": 0}
            total = int(progress.get("total") or self.options.products)
            if process.item is not None or total * self.options.share <= progress["done"] < total * 0.9:
                await self._kill(api, run, process, url)

    async def _kill(self, api: Api, run: str, process: NodeProcess, url: str) -> None:
        if not kill_node(process, url):
            return
        record = await api.get(f"/runs/{run}/nodes/{process.ref}")
        self._to_kill.remove(process.node)
        done: int = record["progress"]["done"] if record["progress"] else 0
        self.kills.append(Kill(process.ref, done))
        self.say(f"killed {process.ref} (process {process.pid}) after {done:,} records")

    async def _judge_kill(self, api: Api, run: str, kill: Kill) -> None:
        """It went on inside the node: the result has the records of both processes, and none was made twice."""
        record = await api.get(f"/runs/{run}/nodes/{kill.ref}")
        kill.attempts, kill.epoch = record["attempt"], record["epoch"]
        name, _, item = kill.ref.partition(":")
        folder = self.dev.data / "data" / run / name / item
        written = parts_written(folder / "manifest.json")
        kill.kept = written["1-1"]
        kill.rewritten = written.total() - kill.kept
        if kill.epoch < 2:
            self.problems.append(f"{kill.ref} was killed, but only one process ever held it")
        if name != "filter" and kill.kept != kill.done:
            self.problems.append(
                f"{kill.ref} went on at record {kill.kept}, its last checkpoint was {kill.done}"
            )
        if not kill.rewritten or not (kill.kept or item):
            self.problems.append(f"{kill.ref} did not go on inside the node: {dict(written)}")
        if item:
            others = (await api.get(f"/runs/{run}/nodes/{name}/items", limit=1000))["items"]
            again = [other["item"] for other in others if other["epoch"] > 1 and other["item"] != int(item)]
            if again:
                self.problems.append(f"items {again} of {name} were run again too")

    def _judge_output(self, output: dict[str, Any]) -> None:
        """Count, size and digest of the published file are those of the independent computation."""
        self.say("computing what must have been published")
        expected, count = hashlib.sha256(), 0
        for line in expected_lines(self.options.products, self.options.seed):
            expected.update(line)
            count += 1
        with Path(output["uri"].removeprefix("file://")).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        self.say(f"published {output['count']:,} products, sha256 {found}")
        if output["count"] != count:
            self.problems.append(f"{output['count']} products were published, {count} are right")
        if not found == output["sha256"] == expected.hexdigest():
            self.problems.append(
                f"digest of the file {found}, of the node {output['sha256']}, right is {expected.hexdigest()}"
            )

    def _judge_memory(self) -> None:
        for ref, peak in self.memory.nodes.items():
            if peak > LIMIT_KIB:
                self.problems.append(f"{ref} held {peak * 1024 / 1e6:.0f} MB, more than 150")
        if not self.memory.nodes:
            self.problems.append("no node process was ever seen")

    def tables(self) -> Iterator[Table]:
        """What is shown in the end."""
        memory = Table(title="Peak memory (VmHWM)", title_justify="left")
        memory.add_column("process")
        memory.add_column("MB", justify="right")
        whole = {name: peak for name, peak in self.memory.nodes.items() if ":" not in name}
        items = [peak for name, peak in self.memory.nodes.items() if ":" in name]
        if items:
            whole[f"reprice, the largest of {len(items)} items"] = max(items)
        for name, peak in {**whole, **self.memory.parts}.items():
            memory.add_row(name, f"{peak * 1024 / 1e6:.1f}")
        yield memory
        kills = Table("node run", "records then", "kept", "written after", "attempt", "epoch",
                      title="kill -9 in the middle of execute", title_justify="left")  # fmt: skip
        for kill in self.kills:
            figures = (kill.done, kill.kept, kill.rewritten, kill.attempts, kill.epoch)
            kills.add_row(kill.ref, *(f"{figure:,}" for figure in figures))
        yield kills


def parts_written(manifest: Path) -> Counter[str]:
    """How many records of a dataset each process wrote, by its directory: ATTEMPT-EPOCH."""
    written: Counter[str] = Counter()
    for part in orjson.loads(manifest.read_bytes())["parts"]:
        written[Path(part["path"]).parent.name] += part["records"]
    return written


def read_options(arguments: list[str] | None) -> Options:
    default = Options()
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.million", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--products", type=int, default=default.products, metavar="N")
    parser.add_argument(
        "--kill", nargs="*", choices=RECORDS, default=default.kill, help="nodes to kill, each once"
    )
    parser.add_argument("--parts", type=int, default=default.parts, metavar="N", help="for the map")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument(
        "--share", type=float, default=default.share, help="of its records, before a node is killed"
    )
    parser.add_argument("--minutes", type=float, default=default.minutes, help="after which it is given up")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="an empty one, which is kept")
    return Options(**vars(parser.parse_args(arguments)))


def main(arguments: list[str] | None = None) -> int:
    """The command; the exit code."""
    interruptible()
    options, console = read_options(arguments), Console()
    root = options.directory or Path(tempfile.mkdtemp(prefix="headrace-million-"))
    root.mkdir(parents=True, exist_ok=True)
    console.print(f"everything lies in {root}", highlight=False)
    million = Million(options, root, console)
    try:
        asyncio.run(million.run())
    except KeyboardInterrupt:
        console.print(f"interrupted; logs and data are kept in {root}", highlight=False)
        return 130
    finally:
        million.dev.close()
    for table in million.tables():
        console.print(table)
    for problem in million.problems:
        console.print(f"WRONG: {problem}", markup=False, highlight=False)
    if million.problems:
        console.print(f"logs and data are kept in {root}", highlight=False)
        return 1
    console.print(f"{million.options.products:,} products, every promise held.", highlight=False)
    if options.directory is None:
        shutil.rmtree(root, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
