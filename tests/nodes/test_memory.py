"""Memory is flat: a hundred thousand products need hardly more than a thousand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHAIN = """
import resource, sys
from pathlib import Path

from headrace.environment import Place
from headrace.runner import Runner
from headrace.testing import MemoryEngine

from headrace_nodes import generate
from headrace_nodes.catalog_merge import CatalogMerge
from headrace_nodes.catalog_publish import CatalogPublish
from headrace_nodes.catalog_read import CatalogRead
from headrace_nodes.catalog_reprice import CatalogReprice
from headrace_nodes.catalog_split import CatalogSplit

root = Path(sys.argv[1])


def run(name, node, config, inputs, item=None):
    engine = MemoryEngine(config=config, inputs=inputs, item=item, index=None if item is None else item["index"])
    place = Place(run=name, node=node.type, item=engine.index, data_uri=str(root))
    assert Runner(node, engine, place).run("process") == 0, engine.failures
    return engine.checkpoint.metadata


def chain(name, count):
    generate.write(root / f"{name}.ndjson", count)
    read = run(name, CatalogRead, {"uri": f"file:{name}.ndjson"}, {})
    split = run(name, CatalogSplit, {"parts": 2}, {"read": read})
    items = [run(name, CatalogReprice, {"percent": 5}, {}, part) for part in split["parts"]]
    reprice = {"count": 2, "succeeded": 2, "failed": 0, "items": items}
    merge = run(name, CatalogMerge, {}, {"reprice": reprice, "read": read})
    assert run(name, CatalogPublish, {"format": "ndjson"}, {"merge": merge})["count"] == count
    with open("/proc/self/status") as status:  # rusage would count the peak of the parent too
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM:"))


print(chain("small", 1_000), chain("large", 100_000))
"""


def test_a_hundred_thousand_products_pass_through_the_nodes_in_flat_memory(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", CHAIN, str(tmp_path)], check=True, capture_output=True, text=True, timeout=110
    )
    small, large = (int(megabytes) for megabytes in done.stdout.split())
    assert large < small + 48
