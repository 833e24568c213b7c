"""Going through all node runs of a run, a window of them a round: what cancel and resume have in common."""

from __future__ import annotations

from collections.abc import Callable

from app.core.graph import Graph
from app.core.round import NotLoaded, Round
from app.core.signals import Signal

WINDOW = 250
"""Node runs that one round reads for it."""


def walked(graph: Graph, signal: Signal) -> set[str]:
    """The refs that a round of the walk reads: nodes of the graph, or the map `ref` and items of it."""
    window = range(signal.start, signal.start + WINDOW)
    if not signal.ref:
        return {node.name for node in graph.nodes[window.start : window.stop]}
    return {signal.ref, *(f"{signal.ref}:{index}" for index in window)}


def walk(round_: Round, signal: Signal, visit: Callable[[Round, str], None]) -> None:
    """Visit the window's node runs; what does not fit in this round goes on from a cursor.

    Of a map those items are visited that have begun: another has no key.
    """
    total = round_.node(signal.ref).cursor if signal.ref else len(round_.graph.nodes)
    end = min(signal.start + WINDOW, total)
    for position in range(signal.start, end):
        ref = f"{signal.ref}:{position}" if signal.ref else round_.graph.nodes[position].name
        try:
            if not round_.room:
                raise NotLoaded(ref)
            visit(round_, ref)
        except NotLoaded:
            round_.defer(Signal(signal.kind, signal.ref, start=position))
            return
    if end < total:
        round_.defer(Signal(signal.kind, signal.ref, start=end))
