"""The data of maps: where an item comes from, what of it is at hand, and how the items' metadata is told to the next node.

Nothing here grows with a map: items are a rule ({count}), lie in the document, in chunks, or are another map's metadata,
and a decision sees a window of them. The metadata of the items is one value up to INLINE_METADATA, a reference beyond.

Sources, as the node run keeps them (field `os`, with `ov` and `of`; see app/core/view.py):
  ""            the whole list is in `ov`
  "c"           {count}: item i is {...ov, "index": i}
  "l"           a list without expressions: it is in the document
  "k"           a longer list in chunks of CHUNK items; `ov` has those from `of` on that are next
  "m:RUN|NODE"  the metadata of the items of another map, whose own is by reference; `ov`, `of` as before
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.core.expressions import Env, Expression
from app.core.graph import Graph, NodeDef
from app.core.view import NodeView
from app.errors import ExpressionError

INLINE_METADATA = 64 * 1024
"""Bytes of the items' metadata that a map's own metadata holds; beyond, it names where they are read."""
INLINE_LIST = 16 * 1024
"""Bytes of a list that stays in the node run of its map."""
CHUNK = 100
"""Items of one chunk of a longer list; also the most of a window."""
FEED = 250
"""Items that are read at a time when a map starts further ones."""
MAX_ITEMS = 10_000_000
_HREF = re.compile(r"/api/v1/runs/([A-Za-z0-9_-]{1,64})/nodes/([a-z][a-z0-9_]{0,62})/items/metadata")


def href(run: str, node: str) -> str:
    """Where the metadata of a map's items is read page by page."""
    return f"/api/v1/runs/{run}/nodes/{node}/items/metadata"


def reference(metadata: Any) -> tuple[str, str] | None:
    """(run, node) of the map whose items a map's metadata refers to; None where they are inline, or it is no map's."""
    items: Any = metadata.get("items") if isinstance(metadata, dict) else None
    if not isinstance(items, dict) or set(items) != {"$href"}:
        return None
    found = _HREF.fullmatch(str(items["$href"]))
    return (found[1], found[2]) if found else None


@dataclass(slots=True, frozen=True)
class Found:
    """What a map goes over, as its `over` says it when the map begins."""

    count: int
    source: str = ""
    over: bytes = b"[]"
    chunks: Sequence[bytes] = ()


def find(graph: Graph, node: NodeDef, env: Env) -> Found:
    """Evaluate `over`. Raises ExpressionError that names the place."""
    spec = node.map
    assert spec is not None
    place = f"nodes/{node.name}/map/over"
    if spec.counted:
        return _counted(spec.rule(env, place), place)
    if spec.literal is not None:
        return Found(len(spec.literal), "l")
    other = _other_map(graph, spec.over, env)
    if other is not None:
        return other
    items = spec.items(env, place)
    if len(items) > MAX_ITEMS:
        raise ExpressionError(f"{place}: a map has at most {MAX_ITEMS:,} items", place=place)
    raw = orjson.dumps(items)
    if len(raw) <= INLINE_LIST:
        return Found(len(items), "", raw)
    chunks = [orjson.dumps(items[at : at + CHUNK]) for at in range(0, len(items), CHUNK)]
    return Found(len(items), "k", chunks=chunks)


def _counted(rule: Mapping[str, Any], place: str) -> Found:
    count = rule["count"]
    if isinstance(count, float) and count.is_integer():
        count = int(count)
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAX_ITEMS:
        raise ExpressionError(f"{place}/count: a whole number from 0 to {MAX_ITEMS:,} is needed", place=place)
    more = {name: value for name, value in rule.items() if name != "count"}
    return Found(count, "c", orjson.dumps(more))


def _other_map(graph: Graph, over: object, env: Env) -> Found | None:
    """`nodes.NAME.metadata.items` of a map whose items' metadata is by reference: its items are ours."""
    path = over.path if isinstance(over, Expression) else None
    if path is None or len(path) != 4 or (path[0], path[2], path[3]) != ("nodes", "metadata", "items"):
        return None
    if path[1] not in graph.index or graph.node(path[1]).map is None:
        return None
    metadata = env["nodes"][path[1]]["metadata"]
    found = reference(metadata)
    return None if found is None else Found(metadata["count"], f"m:{found[0]}|{found[1]}")


Part = tuple[int, Sequence[Any]]
"""Items one after another, and the number of the first."""


@dataclass(slots=True)
class Items:
    """The items of a map that are at hand in one decision."""

    rule: Mapping[str, Any] | None = None
    parts: Sequence[Part] = ()

    @classmethod
    def of(cls, node: NodeDef, view: NodeView, feed: Part | None) -> Items:
        """`feed` is what was read from the store because the map is about to start more."""
        assert node.map is not None
        if view.source == "c":
            return cls(orjson.loads(view.over or b"{}"))
        if view.source == "l":
            return cls(None, [(0, node.map.literal or [])])
        kept: Part = (view.first, orjson.loads(view.over or b"[]"))
        return cls(None, [kept] if feed is None else [feed, kept])

    def has(self, index: int) -> bool:
        return self.rule is not None or self._part(index) is not None

    def __getitem__(self, index: int) -> Any:
        if self.rule is not None:
            return {**self.rule, "index": index}
        part = self._part(index)
        if part is None:
            raise IndexError(index)
        first, values = part
        return values[index - first]

    def _part(self, index: int) -> Part | None:
        return next((part for part in self.parts if 0 <= index - part[0] < len(part[1])), None)

    def window(self, start: int) -> bytes | None:
        """The items from `start` on, as many as a node run may hold; None where there are none at hand."""
        part = self._part(start)
        if part is None:
            return None
        first, values = part
        size, kept = 0, list[bytes]()
        for value in values[start - first : start - first + CHUNK]:
            raw = orjson.dumps(value)
            size += len(raw) + 1
            if kept and size > INLINE_LIST:
                break
            kept.append(raw)
        return b"[%b]" % b",".join(kept)


def metadata_size(ok_bytes: int, bad: int) -> int:
    """Bytes of the list of the items' metadata; an item that failed is a null in it."""
    return ok_bytes + 5 * bad


def metadata(count: int, ok: int, bad: int, items: bytes) -> bytes:
    """A map's own metadata; `items` is JSON: their metadata in order, or a reference."""
    return b'{"count":%d,"succeeded":%d,"failed":%d,"items":%b}' % (count, ok, bad, items)


def by_reference(run: str, node: str) -> bytes:
    """What stands for the items' metadata where it is not inline."""
    return orjson.dumps({"$href": href(run, node)})
