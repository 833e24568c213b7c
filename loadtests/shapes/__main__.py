"""Real DAG shapes: the engine's makespan against a greedy list scheduler's with the same slots and the same faults.

    make shapes                                   instances of six WfCommons recipes
    make shapes ARGS="--slots 16 --faults 0.1 my-run.json"

Runtimes are scaled so that the scheduler needs --seconds. A share of the nodes (--faults) fails once, somewhere within its
time, and is retried. Goal: within 3 % of the scheduler.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import structlog
import uvloop
from rich.console import Console
from rich.table import Table

from app.collector import tune_collector
from app.store.store import Store
from loadtests.harness import ended, fire, publish, server, settings_for
from loadtests.shapes.greedy import Attempt, makespan
from loadtests.shapes.recipes import RECIPES, make
from loadtests.shapes.timed import timed
from loadtests.shapes.wfformat import Shape, read
from workers.runtime import Runtime

GOAL = 1.03
BACK_OFF = 0.02
"""Seconds between two attempts; the engine takes between half of it and all."""


def draw(shape: Shape, scale: float, share: float, seed: int) -> dict[str, list[Attempt]]:
    """The attempts of every node: the one that succeeds, and before it, for a share of them, one that fails on the way."""
    chance = random.Random(seed)
    found: dict[str, list[Attempt]] = {}
    for node, runtime in shape.runtimes.items():
        seconds = max(runtime * scale, 0.001)
        failing = [Attempt(seconds * chance.random(), fails=True)] if chance.random() < share else []
        found[node] = [*failing, Attempt(seconds, fails=False)]
    return found


def document(shape: Shape) -> dict[str, Any]:
    retry = {"max_attempts": 2, "initial": f"{round(BACK_OFF * 1000)}ms", "factor": 1, "max": "1s"}
    nodes = {
        name: {"type": "noop", "needs": list(needs), "retry": retry} for name, needs in shape.needs.items()
    }
    return {"name": "shape", "nodes": nodes}


async def run(shape: Shape, attempts: dict[str, list[Attempt]], slots: int) -> float:
    """Seconds from the run's start to its end, by the store's clock. Raises RuntimeError where it did not succeed."""
    async with server() as valkey:
        settings = settings_for(valkey, global_slots=slots)
        store = await Store.open(settings)
        runtime = Runtime(store, settings, timed(attempts))
        await runtime.start()
        tune_collector()
        try:
            await publish(store, document(shape))
            await store.graphs.get("shape", 1)
            name = await fire(store, "shape")
            if await ended(store, name) != "succeeded":
                raise RuntimeError(f"the run of {shape.name} did not succeed")
            began, over = await store.batcher.call("HMGET", store.keys.run(name), "b", "z")
            return (int(over) - int(began)) / 1000
        finally:
            await runtime.stop()
            await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "files", nargs="*", type=Path, help="WfFormat files; without any, instances of recipes"
    )
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the scheduler needs for each")
    parser.add_argument("--faults", type=float, default=0.05, help="share of the nodes that fail once")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    table = Table(
        title="Makespan against a greedy list scheduler's, the same slots and faults", title_justify="left"
    )
    for column in ("shape", "nodes", "width", "faults", "scheduler s", "Headrace s", "ratio"):
        table.add_column(column, justify="left" if column == "shape" else "right")
    met = True
    with tempfile.TemporaryDirectory() as folder:
        files = options.files or make(Path(folder), options.seed, list(RECIPES))
        for shape in map(read, files):
            plain = makespan(shape.needs, draw(shape, 1.0, options.faults, options.seed), options.slots, 0)
            attempts = draw(shape, options.seconds / plain, options.faults, options.seed)
            least = makespan(shape.needs, attempts, options.slots, BACK_OFF * 0.75)
            took = uvloop.run(run(shape, attempts, options.slots))
            ratio = took / least
            met = met and ratio <= GOAL
            faults = sum(len(each) - 1 for each in attempts.values())
            colour = "green" if ratio <= GOAL else "red"
            table.add_row(shape.name, str(len(shape.needs)), str(shape.width), str(faults), f"{least:.2f}", f"{took:.2f}",
                          f"[{colour}]{ratio:.3f}[/]")  # fmt: skip
    Console().print(table)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
