"""A DAG drawn as an outline, purely computed: indented where it fans out, back again where it joins.

A node stands below the nearest node that every path to it passes (its dominator). So a chain stays flush, the
branches of a fan-out hang below the node they start from, and their fan-in follows at the level of that node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

MAX_DRAWN = 500
"""Nodes past which a graph is listed flat: nobody reads such an outline."""


class Row(NamedTuple):
    """One line: `lead` is the drawing before the name."""

    lead: str
    name: str


def outline(needs: Mapping[str, Sequence[str]]) -> list[Row]:
    """The lines for nodes that map to the names of their upstream nodes; unknown names are ignored."""
    order = topological(needs)
    if len(order) > MAX_DRAWN:
        return [Row("", name) for name in order]
    below = _dominated(order, needs)
    rows: list[Row] = []
    stack = _level(below.get(None, []), needs, "", top=True)[::-1]
    while stack:
        name, lead, rest = stack.pop()
        rows.append(Row(lead, name))
        stack += _level(below.get(name, []), needs, rest)[::-1]
    return rows


def topological(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """Names with every upstream first, else in the order given; nodes of a cycle come last."""
    waits = {name: {up for up in ups if up in needs} for name, ups in needs.items()}
    downs: dict[str, list[str]] = {name: [] for name in needs}
    for name, ups in waits.items():
        for up in ups:
            downs[up].append(name)
    order = [name for name, ups in waits.items() if not ups]
    for name in order:
        for down in downs[name]:
            waits[down].discard(name)
            if not waits[down]:
                order.append(down)
    placed = set(order)
    return order + [name for name in needs if name not in placed]


def _dominated(order: Sequence[str], needs: Mapping[str, Sequence[str]]) -> dict[str | None, list[str]]:
    parent: dict[str, str | None] = {}
    depth: dict[str | None, int] = {None: 0}
    below: dict[str | None, list[str]] = {}
    for name in order:
        nearest: list[str | None] = [up for up in needs[name] if up in parent]
        meet = nearest[0] if nearest else None
        for other in nearest[1:]:
            while meet != other:
                if depth[meet] >= depth[other]:
                    meet = parent[meet] if meet is not None else None
                else:
                    other = parent[other] if other is not None else None
        parent[name], depth[name] = meet, depth[meet] + 1
        below.setdefault(meet, []).append(name)
    return below


def _level(
    names: Sequence[str], needs: Mapping[str, Sequence[str]], rest: str, *, top: bool = False
) -> list[tuple[str, str, str]]:
    if len(names) == 1 or top:
        return [(name, rest, rest) for name in names]
    branches = [name for name in names if len(needs[name]) <= 1]
    lines = [
        (
            name,
            rest + ("└─ " if name == branches[-1] else "├─ "),
            rest + ("   " if name == branches[-1] else "│  "),
        )
        for name in branches
    ]
    return lines + [(name, rest, rest) for name in names if len(needs[name]) > 1]
