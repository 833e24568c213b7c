"""What the next signals of runs will most likely be about: the node runs that this worker has submitted."""

from __future__ import annotations

from collections import OrderedDict

from app.core.graph import Graph
from app.core.signals import Signal, SignalKind
from app.store.engine import Guess

MOST_NODES = 4
"""Node runs of one run; where more are submitted nothing is expected, for they would be read in vain."""
MOST_RUNS = 4096
"""Runs that are remembered; those of which nothing was heard for longest are forgotten."""


class Expected:
    def __init__(self) -> None:
        self._runs: OrderedDict[str, tuple[Graph, list[str]]] = OrderedDict()

    def add(self, run: str, graph: Graph, ref: str) -> None:
        """A node run is being submitted."""
        known = self._runs.get(run)
        if known is None:
            self._runs[run] = graph, [ref]
            if len(self._runs) > MOST_RUNS:
                self._runs.popitem(last=False)
        elif len(known[1]) <= MOST_NODES:
            known[1].append(ref)

    def take(self, run: str) -> Guess | None:
        """What to read with the run, once; None where there is no good guess."""
        graph, refs = self._runs.pop(run, (None, ()))
        if graph is None or len(refs) > MOST_NODES:
            return None
        return Guess(graph, tuple(Signal(SignalKind.DONE, ref) for ref in refs))
