"""Nodes that the tests run as processes: `python sample_nodes.py NAME`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from headrace import Context, Fatal, Node, Results, Retry, Stream
from headrace.node import Node as BaseNode
from headrace.process import run
from headrace.reporter import HOLD


def reach(ctx: Context, point: str) -> None:
    """Say that a point was reached, and stay there if the test holds it."""
    folder = Path(ctx.config["points"])
    (folder / point).touch()
    while (folder / f"{point}.hold").exists():
        signal.sigtimedwait([], 0.005)


class Trivial(Node):
    """Only metadata, no data."""

    def output(self, ctx: Context, results: Results) -> dict[str, Any]:
        return {"hello": ctx.config.get("name", "world"), "count": results.count}


class Copy(Node):
    """The default execute: every record as it is."""

    checkpoint_records = 1000

    def configure(self, ctx: Context) -> Stream:
        return ctx.open(ctx.config["uri"])


class Held(Node):
    """Marks records, says when it comes to record `at`, and stays there while held."""

    checkpoint_records = 100

    def configure(self, ctx: Context) -> Stream:
        return ctx.open(ctx.config["uri"])

    def execute(self, ctx: Context, record: dict[str, Any]) -> dict[str, Any]:
        if record["n"] == ctx.config.get("at"):
            reach(ctx, "record")
        ctx.state["sum"] = ctx.state.get("sum", 0) + record["n"]
        return {**record, "marked": True}

    def output(self, ctx: Context, results: Results) -> dict[str, Any]:
        if "output" in ctx.config:
            reach(ctx, "output")
        return {
            "uri": results.uri,
            "count": results.count,
            "digest": results.digest,
            "failed": results.failed,
            "sum": results.state.get("sum", 0),
        }


class Tidy(Held):
    """A Held that defines finalize."""

    def finalize(self, ctx: Context) -> None:
        (Path(ctx.config["points"]) / "finalized").open("a").write("x")


class BrokenTidy(Held):
    """Its clean-up fails."""

    def finalize(self, ctx: Context) -> None:
        raise OSError("the scratch directory is gone")


class Batches(Held):
    batch_size = 30

    def execute_batch(self, ctx: Context, records: list[Any]) -> list[Any]:
        return [self.execute(ctx, record) for record in records]


class Overlapping(Node):
    """Later records are ready sooner; results must keep the order all the same."""

    concurrency = 8
    checkpoint_records = 50

    def configure(self, ctx: Context) -> Stream:
        return ctx.open(ctx.config["uri"])

    async def execute(self, ctx: Context, record: dict[str, Any]) -> dict[str, Any]:
        for _ in range(8 - record["n"] % 8):
            await asyncio.sleep(0)
        if record["n"] == ctx.config.get("at"):
            await asyncio.to_thread(reach, ctx, "record")
        return record

    def output(self, ctx: Context, results: Results) -> dict[str, Any]:
        return {"digest": results.digest, "count": results.count}


class Picky(Held):
    """Refuses every record whose n divides by `modulus`."""

    def execute(self, ctx: Context, record: dict[str, Any]) -> dict[str, Any]:
        if record["n"] % ctx.config["modulus"] == 0:
            raise ValueError(f"no price for {record['id']}")
        return super().execute(ctx, record)


class Telltale(Node):
    """Shows what a node can see of its token, and fails with it."""

    def configure(self, ctx: Context) -> None:
        secret = os.environ.get("HEADRACE_TOKEN", "gone")
        named = Path("/proc/self/environ").exists()
        raise RuntimeError(f"token {secret}, a secret of mine {os.environ['SHOP_PASSWORD']}, {named}")


class Refuses(Node):
    def configure(self, ctx: Context) -> None:
        raise Fatal("this feed will never work")


class Postpones(Node):
    def configure(self, ctx: Context) -> None:
        raise Retry("the shop is closed for a while")


def main() -> None:
    found = globals()[sys.argv[1]]
    assert issubclass(found, BaseNode)
    found.type = sys.argv[1].lower()
    raise SystemExit(run(found, hold=float(os.environ.get("SAMPLE_HOLD", HOLD))))


if __name__ == "__main__":
    main()
