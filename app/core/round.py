"""One round of deciding: the working copy of a view, the changes gathered so far, and the budget of a commit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from zlib import crc32

import orjson

from app.core.effort import PER_BYTE, WORK, Meter, Work
from app.core.expressions import PAGED, Template
from app.core.graph import NodeDef
from app.core.mapdata import Items, reference
from app.core.signals import Signal, SignalKind, child_ended
from app.core.states import RUN_TERMINAL, Ending, NodeStatus, RunStatus, check_node, check_run
from app.core.tasks import split_ref
from app.core.view import Changes, NodeChange, NodeView, Value, View

MAX_CHANGES = 500
"""Node runs that one commit touches at most, so that no script holds the store for long."""


class NotLoaded(Exception):
    """The view lacks something; the rest of the work goes into a continuation signal."""


@lru_cache(maxsize=256)
def iso(ms: int) -> str:
    """RFC 3339 in UTC with milliseconds, of ms since the epoch."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def node_event(kind: str, ref: str, members: Mapping[str, Any]) -> dict[str, Any]:
    """An event about a node run, `kind` being "node" (a transition), "step" or "approval": {type, node, ..., item?}."""
    name, item = split_ref(ref)
    event: dict[str, Any] = {"type": kind, "node": name}
    event.update(members)
    if item is not None:
        event["item"] = item
    return event


def transition(ref: str, before: NodeStatus, after: NodeStatus, attempt: int, at: str) -> dict[str, Any]:
    """The event of a node run's transition; `at` as iso() gives it."""
    return node_event("node", ref, {"from": before, "to": after, "attempt": attempt, "at": at})


class Round:
    """Mutable while one decision is made. Nothing outside core/ sees it."""

    def __init__(self, view: View, now: int, jitter: float) -> None:
        self.view = view
        self.graph = view.graph
        self.run = view.run
        self.now = now
        self._jitter = jitter
        self.changes = Changes()
        self.meter = Meter()
        self._metadata: dict[str, Any] = {}
        self._items: dict[str, Items] = {}
        self._params: Any = None
        self._event: Any = None

    @property
    def room(self) -> bool:
        """Whether anything further may begin in this decision."""
        return len(self.changes.nodes) < MAX_CHANGES and not self.meter.full

    def writes(self, *values: Value) -> None:
        """What expressions gave goes to the store: in bounded commits."""
        self.meter.used += PER_BYTE * sum(len(value) for value in values if isinstance(value, (bytes, str)))

    def defer(self, signal: Signal) -> None:
        """Leave the rest of some work to the next round; said twice it is done once."""
        if signal not in self.changes.append:
            self.changes.append.append(signal)

    def definition(self, ref: str) -> NodeDef:
        return self.graph.node_of(ref)

    def edited(self, node: NodeDef) -> NodeDef:
        """The node with the config that a fork gave it."""
        origin = self.run.origin
        if "config" not in origin or origin["at"] != node.name:
            return node
        config = Template(origin["config"])
        config.static = False  # so that it is kept in the node run: the graph does not have it
        return replace(node, config=config)

    def node(self, ref: str) -> NodeView:
        """The loaded node run. Raises NotLoaded."""
        node = self.view.nodes.get(ref)
        if node is None:
            raise NotLoaded(ref)
        return node

    def change(self, ref: str, *path: NodeStatus, **fields: Value) -> NodeView:
        """Take a node run along `path`, every hop checked against the table and told as an event; set `fields`."""
        node = self.view.nodes.setdefault(ref, NodeView())
        change = self.changes.nodes.get(ref)
        if change is None:
            change = self.changes.nodes[ref] = NodeChange(node.status, node.attempt, node.won, node.status)
        attempt = fields.get("a", node.attempt)
        for status in path:
            check_node(change.status, status)
            self.changes.events.append(transition(ref, change.status, status, int(attempt), iso(self.now)))
            change.status = status
        change.fields.update(fields)
        node.status = change.status
        node.attempt = int(attempt)
        return node

    def enqueue(self, ref: str, attempt: int, launch: int, **fields: Value) -> None:
        """Make a node run ready: it waits for admission from now on."""
        node = self.change(ref, *self.to_ready(ref), a=attempt, l=launch, y=self.now, **fields)
        node.launch, node.ready = launch, self.now
        queued_ms = self.definition(ref).timeouts.queued_ms
        if queued_ms is not None:
            self.changes.timers[ref] = self.now + queued_ms
        self.changes.ready.append((ref, attempt, launch))

    def unready(self, ref: str) -> None:
        """A ready node run is not to be admitted any more, be it that this very decision had made it ready."""
        node = self.node(ref)
        task = (ref, node.attempt, node.launch)
        if task in self.changes.ready:
            self.changes.ready.remove(task)
        self.changes.unready.append(task)

    def to_ready(self, ref: str) -> tuple[NodeStatus, ...]:
        """The way of a node run to ready; none for one that is (its cache was looked into)."""
        node = self.view.nodes.get(ref)
        return () if node is not None and node.status is NodeStatus.READY else (NodeStatus.READY,)

    def cancel_child(self, ref: str) -> None:
        """Nobody waits any more for the child run of a node run, if it has one."""
        node = self.node(ref)
        if node.child:
            self.changes.cancel.append(node.child)
            node.child = ""

    def mark_too_deep(self) -> None:
        """A node run of this run failed because child runs go no deeper: the run that waits for this one hears of it."""
        if "r" in self.run.origin:
            self.run.origin = {**self.run.origin, "deep": 1}
            self.changes.run["up"] = orjson.dumps(self.run.origin)

    def jitter(self, ref: str) -> float:
        """0..1, another for every node run of a round, so that what failed together is not retried together."""
        return (self._jitter + crc32(ref.encode()) / 2**32) % 1.0

    def change_run(self, status: RunStatus, **fields: Value) -> None:
        check_run(self.run.status, status)
        event = {"type": "run", "from": self.run.status, "to": status, "at": iso(self.now)}
        self.run.status = status
        self.changes.run.update(s=status, **fields)
        self.changes.events.append(event)
        if status in RUN_TERMINAL:
            self._tell_others(status, fields)

    def _tell_others(self, status: RunStatus, fields: Mapping[str, Value]) -> None:
        """The end of a run is told to the run whose child it is, and to run triggers."""
        run, output = self.run, fields.get("o")
        raw = output if isinstance(output, bytes) else None
        origin = run.origin
        if "r" in origin:
            signal = child_ended(origin["n"], origin["a"], run.id, status, raw, too_deep="deep" in origin)
            self.changes.tell.append((origin["r"], signal))
        event = {"run": run.id, "workflow": run.workflow, "version": run.version, "status": status,
                 "output": orjson.Fragment(raw or b"null")}  # fmt: skip
        self.changes.ended = orjson.dumps({"e": event, "via": [*origin.get("via", ()), run.workflow]})

    def end_early(self, why: Ending) -> None:
        """From now on the run's node runs are being cancelled, a window of them a round."""
        self.run.ending = why
        self.changes.run.update(e=why, em=self.now)
        self.defer(Signal(SignalKind.SWEEP))

    def doomed(self, node: NodeDef) -> bool:
        """Whether nothing of this node may begin any more: the run is ending, and it is no clean-up that still may."""
        ending = self.run.ending
        return bool(ending) and not (ending == Ending.FAILURE and node.cleans_up)

    def count_done(self, name: str, failed: bool) -> None:
        """One more node of the graph is terminal; the first that fails is the run's error."""
        self.run.done += 1
        self.changes.run["d"] = self.run.done
        if failed:
            self.run.failed += 1
            self.changes.run["f"] = self.run.failed
            if self.run.failed == 1 and self.run.ending != Ending.TIMEOUT:
                recorded = self.changes.nodes[name].fields.get("x")
                cause = orjson.loads(recorded) if isinstance(recorded, bytes) else {}
                message = f"node '{name}' failed: {cause.get('message', 'no message')}"
                self.changes.run["x"] = orjson.dumps(
                    {"type": "node_failed", "node": name, "message": message}
                )
            if self.graph.fail_fast and not self.run.ending:
                self.end_early(Ending.FAILURE)

    def metadata(self, name: str) -> Any:
        """A loaded node run's metadata as a value; None where it has none."""
        if name not in self._metadata:
            raw = self.node(name).metadata
            self._metadata[name] = None if raw is None else orjson.loads(raw)
        return self._metadata[name]

    def set_metadata(self, ref: str, raw: bytes) -> None:
        self.view.nodes[ref].metadata = raw
        self._metadata.pop(ref, None)

    def items(self, name: str) -> Items:
        """The items of a loaded map that are at hand."""
        if name not in self._items:
            self._items[name] = Items.of(self.graph.node(name), self.node(name), self.view.feeds.get(name))
        return self._items[name]

    def env(self, reads: Iterable[str]) -> dict[str, Any]:
        """The variables of an expression that reads these nodes. Raises NotLoaded."""
        if self._params is None:
            self._params = orjson.loads(self.run.params_json)
            self._event = orjson.loads(self.run.event_json) if self.run.event_json else None
        run = {"id": self.run.id, "workflow": self.run.workflow, "version": self.run.version,
               "created": iso(self.run.created)}  # fmt: skip
        nodes: dict[str, Any] = {}
        paged: list[str] = []
        for name in reads:
            metadata = self.metadata(name)
            nodes[name] = {"status": str(self.node(name).status), "metadata": metadata}
            if self.graph.node(name).map is not None and reference(metadata) is not None:
                paged.append(name)
        env = {"params": self._params, "nodes": nodes, "run": run, "event": self._event,
               WORK: Work(self.meter)}  # fmt: skip
        return {**env, PAGED: paged} if paged else env

    def env_of(self, node: NodeDef) -> dict[str, Any]:
        """The variables of all expressions of a node that are evaluated when it becomes ready. Raises NotLoaded."""
        return self.env(self.graph.nodes[index].name for index in node.reads)

    def item_env(self, node: NodeDef) -> dict[str, Any]:
        """The variables, but for `item`, of what the items of a map evaluate. Raises NotLoaded."""
        return self.env(self.graph.nodes[index].name for index in node.item_reads)
