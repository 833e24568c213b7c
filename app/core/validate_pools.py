"""What must hold of the pools of a workflow: names that are there once, and slots that a pool can ever have free."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app.core.pointers import Problems, pointer
from app.core.pools import GLOBAL
from app.core.spec import Node
from app.errors import Place


def check_pools(nodes: Mapping[str, Node], problems: Problems) -> None:
    """A node lists a pool once, and never the one that applies to every node."""
    for name, node in nodes.items():
        seen: set[str] = set()
        for index, each in enumerate(node.pools or ()):
            pool = each if isinstance(each, str) else each.name
            at = pointer("nodes", name, "pools", index)
            if pool == GLOBAL:
                problems.add(at, f"the pool '{GLOBAL}' applies to every node; leave it out")
            elif pool in seen:
                problems.add(at, f"the pool '{pool}' is listed twice; give it {{name, slots}} once")
            seen.add(pool)


def too_large(document: Mapping[str, Any], slots: Callable[[str], int]) -> tuple[list[Place], list[str]]:
    """(where a node asks for more slots than the pool has, names of all pools listed), of a canonical document."""
    wrong: list[Place] = []
    names: dict[str, None] = {}
    nodes: Mapping[str, Any] = document["nodes"]
    for name, node in nodes.items():
        pools: list[Any] = node.get("pools", [])
        for index, each in enumerate(pools):
            pool, wants = (each, 1) if isinstance(each, str) else (each["name"], each.get("slots", 1))
            names[pool] = None
            if wants > max(slots(pool), 1):  # a pool may be closed for a while
                detail = (
                    f"asks for {wants} slots of the pool '{pool}', which has {slots(pool)}; "
                    f'ask for fewer, or first PUT /api/v1/pools/{pool} {{"slots": {wants}}}'
                )
                wrong.append(Place(pointer("nodes", name, "pools", index), detail))
    return wrong[:50], list(names)
