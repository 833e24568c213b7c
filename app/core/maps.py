"""Maps: one node of the graph whose items are node runs of their own. An item that has not started has no key."""

from __future__ import annotations

from typing import Any

import orjson

from app.core import mapdata, starting
from app.core.effort import WORK, Work
from app.core.graph import NodeDef
from app.core.round import Round
from app.core.signals import Signal, SignalKind
from app.core.states import NODE_TERMINAL, NodeStatus
from app.core.tasks import split_ref
from app.core.view import NodeView, Value, Wanted

EXACT = 1 + 1e-12
"""0.29 of 100 is 28.999999999999996 as a float, and 29 items are no more than that."""
READ_KEPT = 250
"""Items that are read at a time where some are kept of an earlier run."""


def begin(round_: Round, node: NodeDef, env: dict[str, Any]) -> bool:
    """Start a map whose join says run. True when it is terminal at once. Raises ExpressionError."""
    found = mapdata.find(round_.graph, node, env)
    fields: dict[str, Value] = {"n": found.count, "o": 0, "ok": 0, "bad": 0, "j": 0, "ov": found.over}
    if found.source:
        fields["os"] = found.source
    view = round_.change(
        node.name, NodeStatus.READY, NodeStatus.RUNNING, y=round_.now, r=round_.now, **fields
    )
    view.count, view.over, view.source = found.count, found.over, found.source
    if found.chunks:
        round_.changes.chunks[node.name] = found.chunks
        round_.writes(*found.chunks)
    if not found.count:
        return _complete(round_, node, view)
    return expand(round_, node)


def expand(round_: Round, node: NodeDef) -> bool:
    """Start as many further items as max_parallel and the budget allow. True when that ends the map."""
    assert node.map is not None
    view = round_.node(node.name)
    if view.status is not NodeStatus.RUNNING or round_.doomed(node):
        return False
    limit = node.map.max_parallel
    if view.cursor == view.count or view.cursor - view.ok - view.bad >= limit:
        return False
    before, items, env = view.cursor, round_.items(node.name), round_.item_env(node)
    node = round_.edited(node)
    while view.cursor < view.count and view.cursor - view.ok - view.bad < limit:
        lacks = _lacks(round_, node.name, view, items)
        if not round_.room or lacks is not None:
            ahead = "+" if view.cursor < view.kept_items else ""
            round_.defer(Signal(SignalKind.EXPAND, node.name, start=view.cursor, type=lacks or ahead))
            break
        index, view.cursor = view.cursor, view.cursor + 1
        if index < view.kept_items and _is_kept(round_, f"{node.name}:{index}", view):
            continue
        item = items[index]
        own = {**env, "item": item, WORK: Work(round_.meter)}
        if starting.start(round_, f"{node.name}:{index}", node, own, v=orjson.dumps(item)):
            _count_item(round_, node.name, index, view)
    if view.cursor > before:
        fields = _window(view, items) if node.name in round_.view.feeds else {}
        round_.change(node.name, o=view.cursor, ok=view.ok, bad=view.bad, j=view.metadata_bytes, **fields)
    return _complete(round_, node, view) if view.ok + view.bad == view.count else False


def go_on(round_: Round, signal: Signal) -> bool:
    """An EXPAND signal: start the items from where an earlier decision had to stop. True when that ends the map.

    Where items beyond were started meanwhile, whoever did that left a signal of its own if it had to stop: each item that
    ends would else leave one more, and all of them stand before a cancel.
    """
    if round_.node(signal.ref).cursor != signal.start:
        return False
    return expand(round_, round_.graph.node(signal.ref))


def _lacks(round_: Round, name: str, view: NodeView, items: mapdata.Items) -> str | None:
    """What must be read before the next item can start, as an EXPAND signal says it; None: nothing."""
    unread = view.cursor < view.kept_items and f"{name}:{view.cursor}" not in round_.view.nodes
    if items.has(view.cursor):
        return "+" if unread else None
    return f"+{view.source}" if unread else view.source


def read_ahead(name: str, signal: Signal, found: Wanted) -> None:
    """What an EXPAND signal says is lacking."""
    if signal.type.startswith("+"):
        found.refs.update(f"{name}:{index}" for index in range(signal.start, signal.start + READ_KEPT))
    source = signal.type.removeprefix("+")
    if source:
        found.feeds[name] = (source, signal.start)


def _is_kept(round_: Round, ref: str, parent: NodeView) -> bool:
    """Whether this item is kept of an earlier run: it is counted then."""
    item = round_.node(ref)
    if not item.kept:
        return False
    parent.ok += 1
    parent.metadata_bytes += len(item.metadata or b"null") + 1
    return True


def _window(view: NodeView, items: mapdata.Items) -> dict[str, Value]:
    """Keep what was read and not started yet in the node run: the next items are then at hand without a read."""
    over = items.window(view.cursor)
    if over is None:
        return {}
    view.over, view.first = over, view.cursor
    return {"ov": over, "of": view.cursor}


def item_ended(round_: Round, ref: str) -> bool:
    """An item has just become terminal. True when that ends its map."""
    name, index = split_ref(ref)
    assert index is not None
    parent = round_.node(name)
    _count_item(round_, name, index, parent)
    round_.change(name, ok=parent.ok, bad=parent.bad, j=parent.metadata_bytes)
    node = round_.graph.node(name)
    if round_.doomed(node) and parent.ok < parent.count:
        return _wind_up(round_, name, parent)
    if parent.ok + parent.bad == parent.count:
        return _complete(round_, node, parent)
    return expand(round_, node)


def _count_item(round_: Round, name: str, index: int, parent: NodeView) -> None:
    item = round_.node(f"{name}:{index}")
    if item.status is NodeStatus.SUCCEEDED:
        parent.ok += 1
        parent.metadata_bytes += len(item.metadata or b"null") + 1
    else:
        parent.bad += 1
        round_.changes.failed_items.append((name, index))


def _wind_up(round_: Round, name: str, parent: NodeView) -> bool:
    """The run is ending: the map is cancelled with the last of its items that had begun."""
    if parent.cursor > parent.ok + parent.bad:
        return False
    round_.change(name, NodeStatus.CANCELLED, z=round_.now)
    return True


def _complete(round_: Round, node: NodeDef, view: NodeView) -> bool:
    """All items are terminal: end the map, or first ask for the metadata of its items."""
    assert node.map is not None
    if mapdata.metadata_size(view.metadata_bytes, view.bad) > mapdata.INLINE_METADATA:
        items = mapdata.by_reference(round_.run.id, node.name)
    else:
        found = [round_.view.nodes.get(f"{node.name}:{index}") for index in range(view.count)]
        if None in found:
            round_.defer(Signal(SignalKind.COLLECT, node.name, start=view.count))
            return False
        items = b"[%b]" % b",".join(_item_metadata(item) for item in found if item is not None)
    metadata = mapdata.metadata(view.count, view.ok, view.bad, items)
    fields: dict[str, Any] = {"z": round_.now, "m": metadata}
    failed = view.bad > node.map.tolerate * view.count * EXACT
    if failed:
        message = f"{view.bad} of {view.count} items failed"
        fields["x"] = orjson.dumps({"type": "items_failed", "message": message})
    round_.change(node.name, NodeStatus.FAILED if failed else NodeStatus.SUCCEEDED, **fields)
    round_.set_metadata(node.name, metadata)
    return True


def _item_metadata(item: NodeView) -> bytes:
    return item.metadata if item.status is NodeStatus.SUCCEEDED and item.metadata is not None else b"null"


def collect(round_: Round, name: str) -> bool:
    """The items' metadata was loaded. True when that ended the map."""
    view = round_.node(name)
    return view.status not in NODE_TERMINAL and _complete(round_, round_.graph.node(name), view)
