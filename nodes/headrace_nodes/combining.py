"""One product out of the products that several branches made of it: whose value of a field counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace_nodes.products import CHANGED, BadRecord, Product, unique


def combine(
    sides: Sequence[tuple[str, Product]], fields: Mapping[str, str] | None = None, prefer: str = ""
) -> Product:
    """The product of all `sides`: (name of the upstream, its record), in the order of their weight.

    A field that all sides agree on, or that one side added, is taken as it is. Where they differ, counts: the
    side named in `fields`; else the one side that says it changed the field; else the side `prefer`. Raises
    BadRecord when that decides nothing: a silent choice could publish an old price.
    """
    merged = dict(sides[0][1])
    differing: dict[str, None] = {}
    for _, record in sides[1:]:
        for name, value in record.items():
            if name not in merged:
                merged[name] = value
            elif name != CHANGED and merged[name] != value:
                differing[name] = None
    for name in differing:
        merged[name] = _decided(name, [side for side in sides if name in side[1]], fields or {}, prefer)
    if CHANGED in merged:
        merged[CHANGED] = unique(name for _, record in sides for name in record.get(CHANGED, ()))
    return merged


def _decided(name: str, sides: list[tuple[str, Product]], fields: Mapping[str, str], prefer: str) -> Any:
    """The value that counts of a field in which sides differ."""
    for upstream, record in sides:
        if fields.get(name) == upstream:
            return record[name]
    changes = [record[name] for _, record in sides if name in record.get(CHANGED, ())]
    if changes and all(change == changes[0] for change in changes):
        return changes[0]
    for upstream, record in sides:
        if prefer == upstream:
            return record[name]
    between = " and ".join(upstream for upstream, _ in sides)
    raise BadRecord(
        f"{between} differ in {name!r}, and {'both' if changes else 'neither'} changed it: set fields"
    )
