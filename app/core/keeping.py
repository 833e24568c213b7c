"""A run that keeps node runs of an earlier one: they are there, terminal, before its first signal is decided.

    begin -> kept, a window of the graph's nodes a round: each that is not kept hears of the kept ones that it needs

Nothing that runs again is before anything that is kept, so a node that is not kept hears of each upstream once: of a kept
one here, of another when that ends, in whatever order.
"""

from __future__ import annotations

from app.core.graph import Edge, Graph, NodeDef
from app.core.round import Round
from app.core.settle import arrive, finish_node, start_node
from app.core.signals import Signal, SignalKind
from app.core.states import Ending, NodeStatus
from app.core.view import RunView, Wanted

WINDOW = 250
"""Nodes that one round visits."""
MOST_READ = 2_000
"""Edges of them, but for those of the first; so many upstream nodes are read."""


def takes_over(run: RunView) -> bool:
    """Whether there may be node runs of an earlier run."""
    return "of" in run.origin


def _window(graph: Graph, start: int) -> int:
    """The end of the window that begins at a node."""
    edges = 0
    for position in range(start, min(start + WINDOW, len(graph.nodes))):
        edges += len(graph.nodes[position].needs)
        if edges > MOST_READ and position > start:
            return position
    return min(start + WINDOW, len(graph.nodes))


def read(graph: Graph, start: int, found: Wanted) -> None:
    """What must be loaded to visit a window of nodes."""
    for node in graph.nodes[start : _window(graph, start)]:
        found.refs.add(node.name)
        if len(node.needs) > 1:
            found.joins.add(node.name)
        for edge in node.needs:
            found.refs.add(graph.nodes[edge.node].name)
            if edge.when is not None:
                found.refs |= edge.when.reads
        found.refs.update(graph.nodes[index].name for index in node.reads)


def begin(round_: Round, start: int) -> None:
    """Begin the nodes of a window that can, now that what is kept counts."""
    graph, end = round_.graph, _window(round_.graph, start)
    for position in range(start, end):
        if round_.run.ending and round_.run.ending != Ending.FAILURE:
            return  # the sweep cancels them
        if not round_.room:
            round_.defer(Signal(SignalKind.KEPT, start=position))
            return
        node = graph.nodes[position]
        if round_.node(node.name).status is NodeStatus.PENDING and _visit(round_, node):
            finish_node(round_, node.name)
    if end < len(graph.nodes):
        round_.defer(Signal(SignalKind.KEPT, start=end))


def _visit(round_: Round, node: NodeDef) -> bool:
    """True when that ends the node."""
    if not node.needs:
        return not round_.doomed(node) and start_node(round_, node, round_.env_of(node))
    for edge in node.needs:
        upstream = round_.graph.nodes[edge.node]
        if round_.node(upstream.name).kept and arrive(round_, upstream, Edge(node.index, edge.when)):
            return True
    return False
