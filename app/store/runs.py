"""What is asked of runs and node runs: the engine's own record, in finer detail than any executor's (M18)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import orjson

from app.core.graph import Graph, NodeDef
from app.core.states import RUN_TERMINAL, NodeStatus
from app.core.tasks import split_ref
from app.errors import NotFound
from app.store.archived import Archived
from app.store.client import Batcher, pairs, scan_place
from app.store.history import History
from app.store.ids import receipt_of
from app.store.keys import Keys
from app.store.mapitems import MapItems
from app.store.shown import NODE_READ, RUN_READ, kept_item, shown_node, shown_run

SCAN_PAGES = 20
"""Pages of the index that one filtered listing looks through; a page may come back short, with a cursor."""

Page = tuple[list[dict[str, Any]], str | None]
P = ParamSpec("P")
T = TypeVar("T")
Read = Callable[Concatenate["Runs", str, P], Awaitable[T]]


def or_archived(read: Read[P, T]) -> Read[P, T]:
    """A run that is not kept any more is read from the archive, where there is one."""

    @wraps(read)
    async def reading(self: Runs, run: str, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await read(self, run, *args, **kwargs)
        except NotFound:
            if self.archived is None or await self.kept(run):
                raise
        return await getattr(self.archived, read.__name__)(run, *args, **kwargs)

    return reading


class Runs:
    def __init__(
        self,
        batcher: Batcher,
        keys: Keys,
        history: History,
        graph: Callable[[str, int], Awaitable[Graph]],
        archived: Archived | None = None,
    ) -> None:
        self._batcher = batcher
        self._keys = keys
        self._history = history
        self._graph = graph
        self.archived = archived
        self._map_items = MapItems(batcher, keys, history)

    async def kept(self, run: str) -> bool:
        """Whether the store itself has it."""
        return await self._batcher.call("EXISTS", self._keys.run(run), self._keys.packed(run)) > 0

    async def home(self, run: str, ref: str) -> str:
        """The run in which a node run ran, and where its logs are: an earlier one where it was kept of that."""
        return await self._history.home(run, ref)

    @or_archived
    async def get(self, run: str) -> dict[str, Any]:
        """One run as GET /runs/{run} shows it. Raises NotFound."""
        record = shown_run(run, await self._history.run(run, RUN_READ))
        return await self._queued(run) if record is None else record

    async def _queued(self, run: str) -> dict[str, Any]:
        """A run whose trigger was accepted and not taken from the queue yet. Raises NotFound."""
        fields = ("s", "w", "v", "c", "src", "r", "pz", "x")
        values = await self._batcher.call("HMGET", self._keys.receipt(receipt_of(run)), *fields)
        record = dict(zip(fields, values, strict=True))
        if record["r"] == run.encode() and record["s"] == b"started":  # between our questions, or long ago
            found = shown_run(run, await self._history.run(run, RUN_READ))
            if found is not None:
                return found
        if record["r"] == run.encode() and record["s"] in (b"rejected", b"dead"):
            receipt, state, reason = receipt_of(run), record["s"].decode(), (record["x"] or b"").decode()
            text = f"There is no run '{run}': its trigger is {state}, since {reason}."
            raise NotFound(text, receipt=receipt, state=state, reason=reason)
        if record["r"] != run.encode() or record["s"] != b"queued":
            raise NotFound(f"There is no run '{run}'.")
        version = await self._history.queued_version(record["w"], record["v"])
        shown = {**record, "v": b"%d" % version, "t": receipt_of(run).encode()}
        found = shown_run(run, [shown.get(name) for name in RUN_READ])
        assert found is not None
        return found

    async def rendered(self, run: str, ref: str) -> bytes | None:
        """The values of a live node run's expressions (JSON): its config, or the params of its child run."""
        return await self._batcher.call("HGET", self._keys.node(run, ref), "c")

    async def list(
        self,
        *,
        workflow: str | None = None,
        status: str | None = None,
        label: str | None = None,
        since_ms: int | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Runs, the newest first. `label` is "name" or "name=value"; a page may hold fewer than `limit`."""
        index = self._keys.runs if workflow is None else self._keys.workflow_runs(workflow)
        newest, skip = _place(cursor)
        found: list[dict[str, Any]] = []
        for _ in range(SCAN_PAGES):
            raw = await self._batcher.call(
                "ZRANGE", index, newest, since_ms or 0, "BYSCORE", "REV", "LIMIT", skip, limit, "WITHSCORES"
            )
            rows = [(pair[0].decode(), int(pair[1])) for pair in pairs(raw)]
            records = await self._history.runs([run for run, _ in rows], RUN_READ)
            for position, ((run, created), values) in enumerate(zip(rows, records, strict=True)):
                skip = skip + 1 if str(created) == newest else 1
                newest = str(created)
                record = shown_run(run, values)
                if record is not None and _matches(record, status, label):
                    found.append(record)
                    if len(found) == limit and position < len(rows) - 1:
                        return found, f"{newest}.{skip}"
            if len(rows) < limit:
                return found, None
            if len(found) >= limit:
                break
        return found, f"{newest}.{skip}"

    async def _graph_of(self, run: str) -> tuple[Graph, NodeStatus]:
        """Its graph, and what a node run without a record is: pending, or cancelled where the run is over."""
        workflow, version, status = await self._history.run(run, ("w", "v", "s"))
        if workflow is None or version is None:
            queued = await self._queued(run)
            return await self._graph(queued["workflow"], queued["version"]), NodeStatus.PENDING
        over = status is not None and status.decode() in RUN_TERMINAL
        unknown = NodeStatus.CANCELLED if over else NodeStatus.PENDING
        return await self._graph(workflow.decode(), int(version)), unknown

    @or_archived
    async def nodes(self, run: str, limit: int = 200, cursor: str | None = None) -> Page:
        """Node runs in the order of the document, those still pending too."""
        graph, unknown = await self._graph_of(run)
        start = int(cursor or 0)
        page = graph.nodes[start : start + limit]
        records = await self._history.node_runs(run, [node.name for node in page], NODE_READ)
        items = [
            shown_node(node.name, values, is_map=node.map is not None, unknown=unknown)
            for node, values in zip(page, records, strict=True)
        ]
        for node, item in zip(page, items, strict=True):
            item |= _place_in(graph, node)
        end = start + len(page)
        return items, str(end) if end < len(graph.nodes) else None

    @or_archived
    async def node(self, run: str, ref: str) -> dict[str, Any]:
        """One node run, `ref` being "node" or "node:index". Raises NotFound."""
        return await self._one(run, ref)

    async def _one(self, run: str, ref: str) -> dict[str, Any]:
        graph, unknown = await self._graph_of(run)
        name, item = split_ref(ref)
        if name not in graph.index:
            raise NotFound(f"The workflow of run '{run}' has no node '{name}'.")
        node = graph.node(name)
        (values,) = await self._history.node_runs(run, [ref], NODE_READ)
        if item is not None and values[0] is None:
            home = await self._history.home(run, ref)
            values = kept_item(home, (await self._history.node_runs(home, [ref], NODE_READ))[0], home != run)
        if item is not None and values[0] is None:
            raise NotFound(f"Item {item} of node '{name}' has not started, or does not exist.")
        record = shown_node(ref, values, is_map=node.map is not None and item is None, unknown=unknown)
        return record | _place_in(graph, node)

    @or_archived
    async def items(self, run: str, node: str, status: str | None, limit: int, cursor: str | None) -> Page:
        """The items of a map that have started, in order; a page may come back short, with a cursor."""
        graph, _ = await self._graph_of(run)
        if node not in graph.index or graph.node(node).map is None:
            raise NotFound(f"Run '{run}' has no map '{node}'.")
        home = await self._history.home(run, node)
        items, after = await self._map_items.ledger(home, node, status, limit, cursor)
        records = await self._history.node_runs(home, [f"{node}:{index}" for index in items], NODE_READ)
        found: list[dict[str, Any]] = []
        for index, values in zip(items, records, strict=True):
            record = shown_node(f"{node}:{index}", kept_item(home, values, home != run), is_map=False)
            if status is None or record["status"] == status:
                if len(found) == limit:
                    return found, str(index)
                found.append(record)
        return found, after

    async def records(self, run: str, ref: str, limit: int, cursor: str | None) -> Page:
        """The failed records of a node run, in no particular order; `cursor` is the last page's."""
        place, given = scan_place(cursor)
        run = await self._history.home(run, ref)
        reply = await self._batcher.call("HSCAN", self._keys.records(run, ref), place, "COUNT", limit)
        after, rows = reply[0].decode(), reply[1][1::2]  # a small hash comes whole, whatever COUNT says
        if not rows and self.archived is not None and not await self.kept(run):
            with suppress(NotFound):
                return await self.archived.records(run, ref, limit, cursor)
        page = [orjson.loads(row) for row in rows[given : given + limit]]
        if given + limit < len(rows):
            return page, f"{place}.{given + limit}"
        return page, None if after == "0" else after

    @or_archived
    async def attempts(self, run: str, ref: str, known: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Every attempt of a node run, the oldest first; an infrastructure fault is shown as one of its own.

        `known` is the node run where the caller has it: only one that was tried again is asked for then.
        """
        current = known or await self._one(run, ref)
        again = (
            known is None or current["attempt"] > 1 or current["infrastructure_faults"] or current["error"]
        )
        rows = await self._history.node_run(await self.home(run, ref), ref) if again else {}
        past = [orjson.loads(v) for k, v in rows.items() if k.startswith(b"A") and k[1:2].isdigit()]
        past.sort(key=lambda row: row["ended"])
        past = [row | {"status": str(NodeStatus.FAILED)} for row in past]
        if past and past[-1]["ended"] == current["ended"]:
            past[-1]["status"] = current["status"]
        elif current["started"] is not None:
            # what a node run remembers is its last error: that of an earlier attempt, unless this one ended badly
            error = current["error"] if current["status"] in {"failed", "cancelled"} else None
            past.append({"attempt": current["attempt"], "started": current["started"], "ended": current["ended"],
                         "error": error, "infrastructure": False, "status": current["status"]})  # fmt: skip
        return past

    async def launches(self, run: str, ref: str) -> list[tuple[int, int]]:
        """(attempt, launch) of everything that may have left a log, the oldest first; `run` is where it ran."""
        rows = await self._history.node_run(run, ref)
        found = {tuple(map(int, k[1:].split(b"."))) for k in rows if k.startswith(b"A") and k[1:2].isdigit()}
        if rows.get(b"a"):
            found.add((int(rows[b"a"]), int(rows.get(b"l", 0))))
        return sorted((int(pair[0]), int(pair[1])) for pair in found)


def _place_in(graph: Graph, node: NodeDef) -> dict[str, Any]:
    """What the document says of a node."""
    return {
        "type": node.type or str(node.kind),
        "needs": [graph.nodes[edge.node].name for edge in node.needs],
    }


def _place(cursor: str | None) -> tuple[str, int]:
    if cursor is None:
        return "+inf", 0
    newest, _, skip = cursor.partition(".")
    return newest, int(skip or 0)


def _matches(record: dict[str, Any], status: str | None, label: str | None) -> bool:
    if status is not None and record["status"] != status:
        return False
    if label is None:
        return True
    name, equals, value = label.partition("=")
    labels = record["labels"]
    return labels.get(name) == value if equals else name in labels
