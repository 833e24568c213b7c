"""The cache of nodes: what is looked up, and that what an entry names is still there."""

from __future__ import annotations

import orjson

from app.store.client import Batcher, Script
from app.store.keys import Keys

PIN = Script("pin")
CLOSED = "-"
"""Among the pins of a run: it is about to be removed, and takes no others."""


async def look_up(batcher: Batcher, keys: Keys, run: str, name: str) -> bytes | None:
    """The entry of the cache that `run` is about to use; None where there is none, or its run is not kept any more.

    The run it comes from is pinned first: the data that its metadata names is kept as long as `run` is.
    """
    entry: bytes | None = await batcher.call("GET", keys.cached(name), subject=run)
    if entry is None:
        return None
    source: str = orjson.loads(entry)["run"]
    if source == run:
        return entry
    names = [keys.run(source), keys.packed(source), keys.pins(source)]
    return entry if await batcher.script(PIN, names, [run, CLOSED], run) == 1 else None
