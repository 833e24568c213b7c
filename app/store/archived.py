"""Runs that were removed, read from their archived histories: the same answers as while they were kept.

A page of a large run reads its whole history, in bounded memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from app.core.tasks import split_ref
from app.errors import InvalidInput, NotFound, Place
from app.store.archive import FORMAT, ArchiveFiles, Line
from app.store.history import order

Page = tuple[list[dict[str, Any]], str | None]

RUN, NODE, RECORD, EVENT = (frozenset({kind}) for kind in ("run", "node", "record", "event"))


class Archived:
    """Every method raises NotFound where no such run was archived, and Unavailable where the archive cannot be read."""

    def __init__(self, files: ArchiveFiles) -> None:
        self._files = files

    async def get(self, run: str) -> dict[str, Any]:
        """The run, with `archived`: where its history lies."""
        async for line in self._files.lines(run, RUN):
            if line["format"] != FORMAT:
                raise NotFound(f"The history of run '{run}' is of a later release: {self._files.where(run)}.")
            return line["run"] | {"archived": self._files.where(run)}
        raise NotFound(f"There is no run '{run}'.")

    async def _node(self, run: str, ref: str) -> Line:
        name, item = split_ref(ref)
        async for line in self._files.lines(run, NODE):
            node = line["node"]
            if node["name"] == name and node.get("item") == item:
                return line
        raise NotFound(f"Run '{run}' has no node run '{ref}'.")

    async def nodes(self, run: str, limit: int = 200, cursor: str | None = None) -> Page:
        """Node runs in the order of the document."""
        rows = (line["node"] async for line in self._files.lines(run, NODE) if "item" not in line["node"])
        return await _page(rows, limit, cursor)

    async def node(self, run: str, ref: str) -> dict[str, Any]:
        return (await self._node(run, ref))["node"]

    async def items(self, run: str, node: str, status: str | None, limit: int, cursor: str | None) -> Page:
        """The items of a map, in order."""

        async def rows() -> AsyncIterator[dict[str, Any]]:
            async for line in self._files.lines(run, NODE):
                row = line["node"]
                if row["name"] == node and "item" in row and status in (None, row["status"]):
                    yield row

        return await _page(rows(), limit, cursor)

    async def records(self, run: str, ref: str, limit: int, cursor: str | None) -> Page:
        """The failed records of a node run."""
        name, item = split_ref(ref)

        async def rows() -> AsyncIterator[dict[str, Any]]:
            async for line in self._files.lines(run, RECORD):
                if line["node"] == name and line.get("item") == item:
                    yield line["record"]

        return await _page(rows(), limit, cursor)

    async def attempts(self, run: str, ref: str) -> list[dict[str, Any]]:
        return (await self._node(run, ref))["attempts"]

    async def events(self, run: str, after: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Events after an id, the oldest first."""
        async for line in self._files.lines(run, EVENT):
            if order(line["id"]) > order(after):
                yield line["id"], line["event"]


async def _page(rows: AsyncIterator[dict[str, Any]], limit: int, cursor: str | None) -> Page:
    """One page; the cursor is the number of rows before it. Raises InvalidInput for one that the store gave before."""
    if cursor is not None and not cursor.isdecimal():
        detail = "the run was archived since this cursor was given; begin the list anew"
        raise InvalidInput(places=[Place("/cursor", detail)])
    first, number, found = int(cursor or 0), 0, list[dict[str, Any]]()
    async for row in rows:
        if number >= first + limit:
            return found, str(number)
        if number >= first:
            found.append(row)
        number += 1
    return found, None
