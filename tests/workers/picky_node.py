"""A node with the SDK that turns down the records whose numbers stand in DIR/bad, and tells which it has seen.

config: dir (as in node_program.py), count (of records), hold (a record at which it waits for the file DIR/go)
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import orjson

from headrace import Context, Node, Results


class Picky(Node):
    type = "picky"
    checkpoint_records = 1

    def configure(self, ctx: Context) -> Any:
        return [{"id": f"sku-{n}", "n": n} for n in range(ctx.config["count"])]

    def execute(self, ctx: Context, record: dict[str, Any]) -> dict[str, Any]:
        folder = Path(ctx.config["dir"])
        line = {"pid": os.getpid(), "run": ctx.run_id, "attempt": ctx.attempt, "n": record["n"]}
        with (folder / f"{ctx.node}.diary").open("ab") as file:
            file.write(orjson.dumps(line) + b"\n")
        if str(record["n"]) in (folder / "bad").read_text().split():
            raise ValueError("no price")
        while record["n"] == ctx.config.get("hold") and not (folder / "go").exists():
            time.sleep(0.02)
        return {**record, "price": 1}

    def output(self, ctx: Context, results: Results) -> dict[str, Any]:
        return {"count": results.count, "failed": results.failed, "digest": results.digest}


if __name__ == "__main__":
    Picky.main()
