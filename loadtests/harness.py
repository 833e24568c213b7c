"""What the measurements share: a pinned server, rounds in turn (A B A B), medians, and the table."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from app.core.nodetypes import NodeType
from app.core.spec import parse_workflow
from app.core.validate import check
from app.embedded import EmbeddedValkey
from app.settings import Settings
from app.store.store import Store
from app.store.triggers import Trigger

ROUNDS = 7
NOOP = NodeType(
    name="noop", version=1, title="No-op", icon="", category="bench", description="Does nothing", image=None, command=["true"],
    config_schema={"type": "object"}, metadata_schema={"type": "object"}, resources={},
)  # fmt: skip


@dataclass(slots=True)
class Result:
    """One row: `ratio` is figure / floor; for an upper bound `goal` is its most, else its least."""

    figure: float
    floor: float
    ratio: float
    goal: float
    unit: str
    upper: bool = False
    note: str = ""

    @property
    def met(self) -> bool:
        return self.ratio <= self.goal if self.upper else self.ratio >= self.goal


def pin(cpu: int, pid: int = 0) -> None:
    """Keep a process on one processor where the machine has more than one."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(pid, {cpu})


@asynccontextmanager
async def server(cpu: int = 1) -> AsyncGenerator[EmbeddedValkey]:
    """A fresh Valkey with AOF always, on one processor."""
    with tempfile.TemporaryDirectory() as folder:
        valkey = EmbeddedValkey(Path(folder))
        valkey.start()
        assert valkey.process is not None
        pin(cpu, valkey.process.pid)
        try:
            yield valkey
        finally:
            valkey.stop()


def settings_for(valkey: EmbeddedValkey, **more: object) -> Settings:
    return Settings(redis_url=SecretStr(valkey.url), **more)  # pyright: ignore[reportArgumentType]


def canonical(document: Mapping[str, object]) -> bytes:
    """The document as a version of it is kept, checked as the API checks it."""
    return orjson.dumps(check(parse_workflow(document), {"noop": NOOP}).canonical())


async def publish(store: Store, document: Mapping[str, object]) -> None:
    """Put version 1 of a workflow straight into the store."""
    await store.batcher.call(
        "SET", store.keys.workflow_version(str(document["name"]), 1), canonical(document)
    )


async def fire(store: Store, workflow: str) -> str:
    """One trigger; the id of its run."""
    accepted = await store.triggers.accept(Trigger(workflow, 1, "bench", {}))
    assert accepted.run is not None
    return accepted.run


async def ended(store: Store, run: str) -> str:
    """Wait until a run has ended; its status."""
    status = "queued"
    async for _, event in store.events.subscribe(run):
        if event["type"] == "run":
            status = event["to"]
    return status


async def in_turn(
    figure: Callable[[], Awaitable[float]], floor: Callable[[], Awaitable[float]], rounds: int = ROUNDS
) -> tuple[float, float, float]:
    """Medians of both and of the ratios round by round, after one round that is not counted."""
    pairs: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        pair = (await figure(), await floor())
        if number:
            pairs.append(pair)
    return (
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(a / b for a, b in pairs),
    )


def show(results: dict[str, Result], target: Path) -> bool:
    """Print the table, write bench.json; True when every goal is met."""
    table = Table(title="Headrace: measured against its floors", title_justify="left")
    for column in ("", "figure", "floor", "ratio", "goal", "unit"):
        table.add_column(column, justify="left" if column in ("", "unit") else "right")
    for name, row in results.items():
        colour = "green" if row.met else "red"
        bound = "≤" if row.upper else "≥"
        table.add_row(
            name, f"{row.figure:,.2f}", f"{row.floor:,.2f}", f"[{colour}]{row.ratio:.2f}[/]", f"{bound} {row.goal}", row.unit
        )  # fmt: skip
    Console().print(table)
    for name, row in results.items():
        if row.note:
            Console().print(f"{name}: {row.note}", markup=False)
    kept = ("figure", "floor", "ratio", "goal", "unit")
    rows = {name: {field: getattr(row, field) for field in kept} for name, row in results.items()}
    target.write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
    return all(row.met for row in results.values())
