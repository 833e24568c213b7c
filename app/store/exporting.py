"""The history of a finished run as lines for its archive, in pages: a run of any size in bounded memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from app.store.archive import FORMAT, Line
from app.store.events import Events
from app.store.runs import Runs

PAGE = 500


async def history_lines(runs: Runs, events: Events, run: str) -> AsyncIterator[Line]:
    """Every line but the last; see app/store/archive.py for their kinds. Raises NotFound."""
    yield {"kind": "run", "format": FORMAT, "run": await runs.get(run)}
    cursor: str | None = None
    while True:
        page, cursor = await runs.nodes(run, PAGE, cursor)
        for node in page:
            async for line in _node_lines(runs, run, node):
                yield line
            if "items" in node:
                async for line in _item_lines(runs, run, node["name"]):
                    yield line
        if cursor is None:
            break
    place = "0"
    while rows := await events.read(run, place, PAGE):
        for place, event in rows:
            yield {"kind": "event", "id": place, "event": event}


async def _item_lines(runs: Runs, run: str, name: str) -> AsyncIterator[Line]:
    cursor: str | None = None
    while True:
        page, cursor = await runs.items(run, name, None, PAGE, cursor)
        for item in page:
            async for line in _node_lines(runs, run, item):
                yield line
        if cursor is None:
            return


async def _node_lines(runs: Runs, run: str, node: dict[str, Any]) -> AsyncIterator[Line]:
    item = {"item": node["item"]} if "item" in node else {}
    ref = f"{node['name']}:{node['item']}" if item else node["name"]
    yield {"kind": "node", "node": node, "attempts": await runs.attempts(run, ref, node)}
    cursor: str | None = None
    while node["failed_records"]:
        page, cursor = await runs.records(run, ref, PAGE, cursor)
        for record in page:
            yield {"kind": "record", "node": node["name"], **item, "record": record}
        if cursor is None:
            return
