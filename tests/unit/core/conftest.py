"""A run in memory: what the store's scripts do, one call at a time and without a store, so that decide() is tested pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest

from app.core import decide as decide_module
from app.core import round as round_module
from app.core.decide import decide, wanted
from app.core.graph import Graph, compile_graph
from app.core.mapdata import CHUNK, FEED
from app.core.nodetypes import NodeType
from app.core.signals import Signal, SignalKind, child_ended, decode, encode
from app.core.spec import parse_workflow
from app.core.states import NODE_TERMINAL, NODE_TRANSITIONS, RUN_TERMINAL, NodeStatus, RunStatus
from app.core.validate import check
from app.core.view import NODE_FIELDS, RUN_FIELDS, Changes, ChildStart, JoinCount, NodeView, RunView, View

STEP = NodeType(name="step", version=1, command=["true"], config_schema={"type": "object"})
START = 1_700_000_000_000
"""ms since the epoch at which every run in memory begins."""


def compiled(nodes: dict[str, Any], **more: Any) -> Graph:
    """The graph of a workflow document, through the same checks as at publish."""
    workflow = check(parse_workflow({"name": "w", "nodes": nodes, **more}), {"step": STEP})
    return compile_graph(orjson.loads(orjson.dumps(workflow.canonical())), version=1)


class World:
    """One run. Every method is one script of the store; `commit` refuses what the real one refuses."""

    def __init__(self, graph: Graph, params: Any = None) -> None:
        self.graph = graph
        self.now = START
        self.run: dict[str, bytes] = {
            "s": b"queued", "w": b"w", "v": b"1", "p": orjson.dumps(params or {}), "c": b"%d" % START, "k": b"0",
            "n": b"%d" % len(graph.nodes), "d": b"0", "f": b"0",
        }  # fmt: skip
        self.nodes: dict[str, dict[str, bytes]] = {}
        self.joins: dict[str, str] = {}
        self.chunks: dict[str, Sequence[bytes]] = {}
        self.failed_items: list[tuple[str, int]] = []
        self.cache: dict[str, bytes] = {}
        self.children: list[ChildStart] = []
        """Child runs in the queue of triggers, or running: `child_ends` ends one."""
        self.cancelled: list[str] = []
        self.told: list[tuple[str, Signal]] = []
        self.ended: list[dict[str, Any]] = []
        self.inbox: list[bytes] = [encode(Signal(SignalKind.BEGIN))]
        self.timers: dict[str, int] = {}
        self.ready: list[tuple[str, int, int]] = []
        self.holders: set[tuple[str, int, int]] = set()
        self.events: list[dict[str, Any]] = []
        self.calls: list[tuple[str, int, int]] = []
        """Calls to services that were given up."""
        self.largest = 0
        """Node runs that the largest commit touched."""
        self.commits = 0

    # the engine's own side ------------------------------------------------------------------------------------

    def load(self, most: int = 500, *, whole: bool = False) -> tuple[View, list[Signal]]:
        signals = [decode(raw) for raw in self.inbox[:most]]
        needs = wanted(self.graph, signals)
        refs, joins = needs.refs, needs.joins
        run = RunView.parse("r1", [self.run.get(name) for name in RUN_FIELDS])
        assert run is not None
        names = list(self.joins) if whole else list(joins)
        counts = {
            name: JoinCount.parse(raw.encode() if (raw := self.joins.get(name)) else None) for name in names
        }
        feeds = {name: self.feed(name, *feed) for name, feed in needs.feeds.items()}
        nodes = {ref: self.view(ref) for ref in refs}
        cached = {name: self.cache.get(name) for name in needs.cached}
        return View(self.graph, run, nodes, counts, joins_whole=whole, feeds=feeds, cached=cached), signals

    def feed(self, name: str, source: str, start: int) -> tuple[int, list[Any]]:
        """The items that a map is about to start, read where they are kept."""
        if source == "k":
            first = start // CHUNK * CHUNK
            chunks = self.chunks[name][start // CHUNK : (start + FEED) // CHUNK + 1]
            return first, [item for chunk in chunks for item in orjson.loads(chunk)]
        other = source.split("|")[1]
        items = (self.nodes.get(f"{other}:{index}", {}) for index in range(start, start + FEED))
        return start, [orjson.loads(item.get("m", b"null")) for item in items if item]

    def view(self, ref: str) -> NodeView:
        record = self.nodes.get(ref, {})
        return NodeView.parse([record.get(name) for name in NODE_FIELDS])

    def commit(self, view: View, revision: int, changes: Changes) -> bool:
        """All of it, or False and nothing where something is not as it was loaded."""
        if int(self.run["k"]) != revision:
            return False
        for ref, change in changes.nodes.items():
            record = self.nodes.get(ref)
            if not record:
                if change.expect_status != "pending":
                    return False
                continue
            found = (record["s"].decode(), int(record.get("a", b"0")), int(record.get("w", b"0")))
            if found != (change.expect_status, change.expect_attempt, change.expect_won):
                return False
        self._write(changes)
        self.commits += 1
        self.largest = max(self.largest, len(changes.nodes))
        return True

    def _write(self, changes: Changes) -> None:
        self.run["k"] = b"%d" % (int(self.run["k"]) + 1)
        self.run |= {name: _bytes(value) for name, value in changes.run.items()}
        for ref, change in changes.nodes.items():
            record = self.nodes.setdefault(ref, {})
            record |= {name: _bytes(value) for name, value in change.fields.items()} | {
                "s": change.status.encode()
            }
        self.joins |= {name: count.encode() for name, count in changes.joins.items()}
        for ref, ms in changes.timers.items():
            self.timers.pop(ref, None)
            if ms is not None:
                self.timers[ref] = ms
        self.ready = [task for task in self.ready if task not in changes.unready]
        self.ready += [task for task in changes.ready if task not in self.ready]
        self.holders -= set(changes.release)
        self.chunks |= changes.chunks
        self.failed_items += changes.failed_items
        self.cache |= {name: value for name, value, _ in changes.cached}
        self.children += changes.children
        self.cancelled += changes.cancel
        self.told += changes.tell
        if changes.ended is not None:
            self.ended.append(orjson.loads(changes.ended))
        self.events += [dict(event) for event in changes.events]
        self.calls += changes.calls
        self.inbox = self.inbox[changes.consumed :] + [encode(signal) for signal in changes.append]

    def step(self, most: int = 500, *, whole: bool = False, jitter: float = 0.5) -> None:
        """One load, one decision, one commit."""
        view, signals = self.load(most, whole=whole)
        revision = view.run.revision
        assert self.commit(view, revision, decide(view, signals, self.now, jitter))

    def settle(self) -> None:
        """Decide until the inbox is empty."""
        while self.inbox:
            self.step()

    # the other scripts ----------------------------------------------------------------------------------------

    def push(self, signal: Signal) -> None:
        self.inbox.append(encode(signal))

    def admit(self, task: tuple[str, int, int]) -> None:
        self.ready.remove(task)
        ref, attempt, launch = task
        record = self.nodes[ref]
        assert (record["s"], int(record["a"]), int(record["l"])) == (b"ready", attempt, launch)
        self.holders.add(task)
        record |= {"s": b"starting", "b": b"%d" % self.now}
        self.timers[ref] = self.now + self.graph.node(ref.split(":")[0]).timeouts.start_ms
        self._tell(ref, NodeStatus.READY, NodeStatus.STARTING, attempt)

    def launched(self, ref: str) -> None:
        self.nodes[ref]["g"] = b"%d" % self.now
        self.timers[ref] = self.now + self.graph.node(ref.split(":")[0]).timeouts.run_ms

    def start(self, ref: str) -> None:
        record = self.nodes[ref]
        if record["s"] == b"starting":
            record |= {"s": b"running", "r": b"%d" % self.now}
            self.timers[ref] = self.now + self.graph.node(ref.split(":")[0]).timeouts.heartbeat_ms
            self._tell(ref, NodeStatus.STARTING, NodeStatus.RUNNING, int(record["a"]))
        record |= {"e": b"%d" % (int(record.get("e", b"0")) + 1), "h": b"%d" % self.now}

    def output(self, ref: str, metadata: Any) -> None:
        self.nodes[ref] |= {"p": b"3", "m": orjson.dumps(metadata), "w": b"%d" % self.now}
        self.timers[ref] = self.now + 60_000

    def finalize(self, ref: str) -> None:
        self.nodes[ref]["p"] = b"4"
        self.push(Signal(SignalKind.DONE, ref, attempt=int(self.nodes[ref]["a"])))

    def exit(self, task: tuple[str, int, int], **more: Any) -> None:
        ref, attempt, launch = task
        record = self.nodes[ref]
        over = record["s"] not in (b"starting", b"running") or record.get("p") == b"4"
        if not over and (int(record["a"]), int(record["l"])) == (attempt, launch):
            self.push(Signal(SignalKind.EXIT, ref, attempt=attempt, launch=launch, **more))

    def child_ends(self, child: ChildStart, status: str, output: Any = None) -> None:
        """A child run ends: what its last commit puts into our inbox."""
        raw = None if output is None else orjson.dumps(output)
        self.push(child_ended(child.ref, child.attempt, child.run, RunStatus(status), raw))

    def decide_approval(self, ref: str, *, approved: bool, comment: str | None = None) -> None:
        """Someone decides, as the script of the store records it."""
        decision = {"approved": approved, "by": "key-1", "at": "2026-01-01T00:00:00.000Z", "comment": comment}
        self.nodes[ref] |= {"ad": orjson.dumps(decision), "w": b"%d" % self.now}
        self.push(Signal(SignalKind.APPROVAL, ref))

    def fire(self, ref: str) -> None:
        del self.timers[ref]
        self.push(Signal(SignalKind.DUE, ref))

    def _tell(self, ref: str, before: NodeStatus, after: NodeStatus, attempt: int) -> None:
        name, _, item = ref.partition(":")
        event: dict[str, Any] = {
            "type": "node",
            "node": name,
            "from": before,
            "to": after,
            "attempt": attempt,
        }
        self.events.append({**event, "item": int(item)} if item else event)

    # what tests ask -------------------------------------------------------------------------------------------

    def status(self, ref: str) -> str:
        return self.nodes[ref]["s"].decode() if ref in self.nodes else "pending"

    def statuses(self) -> dict[str, str]:
        return {node.name: self.status(node.name) for node in self.graph.nodes}

    def metadata(self, ref: str) -> Any:
        return orjson.loads(self.nodes[ref]["m"])

    def error(self, ref: str) -> dict[str, str]:
        return orjson.loads(self.nodes[ref]["x"])

    @property
    def result(self) -> RunStatus:
        return RunStatus(self.run["s"].decode())

    def launch(self, ref: str) -> tuple[str, int, int]:
        """Admit and start the waiting launch of a node run; its task."""
        task = next(task for task in self.ready if task[0] == ref)
        self.admit(task)
        self.launched(ref)
        self.start(ref)
        return task

    def finish(self, ref: str, metadata: Any = None) -> None:
        """Launch a ready node run, let it end well, and decide what follows."""
        self.launch(ref)
        self.output(ref, metadata)
        self.finalize(ref)
        self.settle()

    def fail(self, ref: str, *, retryable: bool = False) -> None:
        """Launch a ready node run, let it fail, and decide what follows."""
        task = self.launch(ref)
        self.push(
            Signal(SignalKind.FAIL, ref, attempt=task[1], type="Broken", message="no", retryable=retryable)
        )
        self.exit(task, code=1)
        self.settle()

    def check_history(self) -> None:
        """Every node run went from pending to where it is by transitions of the table only."""
        seen: dict[str, NodeStatus] = {}
        for event in self.events:
            if event["type"] != "node":
                continue
            ref = event["node"] if "item" not in event else f"{event['node']}:{event['item']}"
            assert event["from"] == seen.get(ref, NodeStatus.PENDING), event
            assert event["to"] in NODE_TRANSITIONS[NodeStatus(event["from"])], event
            seen[ref] = NodeStatus(event["to"])
        assert {ref: str(status) for ref, status in seen.items()} == {
            ref: self.status(ref) for ref in self.nodes
        }

    def check_ended(self) -> None:
        """Nothing is left behind by a run that has ended."""
        assert self.result in RUN_TERMINAL
        assert not self.inbox
        assert not self.timers
        assert not self.ready
        assert not self.holders
        assert all(NodeStatus(record["s"].decode()) in NODE_TERMINAL for record in self.nodes.values())
        assert int(self.run["d"]) == len(self.graph.nodes)
        self.check_history()


def _bytes(value: str | int | bytes) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


@pytest.fixture(scope="session")
def world() -> Callable[..., World]:
    """Makes a run in memory of a workflow's nodes, begun and decided as far as it goes without any node."""

    def make(nodes: dict[str, Any], params: Any = None, *, begun: bool = True, **more: Any) -> World:
        made = World(compiled(nodes, **more), params)
        if begun:
            made.settle()
        return made

    return make


@pytest.fixture
def budget(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many node runs one commit may touch."""

    def make(most: int) -> None:
        monkeypatch.setattr(round_module, "MAX_CHANGES", most)
        monkeypatch.setattr(decide_module, "MAX_CHANGES", most)

    return make
