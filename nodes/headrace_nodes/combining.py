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
    if len(sides) == 1:
        return sides[0][1]
    merged: Product = {}
    names = unique(name for _, record in sides for name in record)
    for name in names:
        if name != CHANGED:
            merged[name] = _field(name, [side for side in sides if name in side[1]], fields or {}, prefer)
    changed = unique(name for _, record in sides for name in record.get(CHANGED, []))
    if changed:
        merged[CHANGED] = changed
    return merged


def _field(name: str, sides: list[tuple[str, Product]], fields: Mapping[str, str], prefer: str) -> Any:
    value = sides[0][1][name]
    if all(record[name] == value for _, record in sides):
        return value
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
