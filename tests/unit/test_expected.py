"""What a worker reads along with a run: the node runs that it has submitted, be it from a commit or from the queue."""

from __future__ import annotations

import pytest

from app.core.graph import Graph, compile_graph
from app.core.signals import Signal, SignalKind
from workers import expected as module
from workers.expected import MOST_NODES, Expected


@pytest.fixture
def graph() -> Graph:
    nodes = {f"n{i}": {"type": "step@1"} for i in range(MOST_NODES + 1)}
    return compile_graph({"name": "w", "nodes": nodes}, version=1)


def test_the_ends_of_what_was_submitted_are_expected_once(graph: Graph) -> None:
    expected = Expected()
    expected.add("r1", graph, "n0")
    expected.add("r2", graph, "n1")
    expected.add("r1", graph, "n2")
    guess = expected.take("r1")
    assert guess is not None
    assert guess.graph is graph
    assert guess.covers([Signal(SignalKind.DONE, "n2"), Signal(SignalKind.FAIL, "n0")])
    assert not guess.covers([Signal(SignalKind.DONE, "n1")])
    assert expected.take("r1") is None


def test_where_many_are_submitted_nothing_is_expected(graph: Graph) -> None:
    expected = Expected()
    for name in graph.index:
        expected.add("r", graph, name)
    assert expected.take("r") is None


def test_the_oldest_run_is_forgotten(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_RUNS", 2)
    expected = Expected()
    for run in ("r1", "r2", "r3"):
        expected.add(run, graph, "n0")
    assert expected.take("r1") is None
    assert expected.take("r2") is not None
    assert expected.take("r3") is not None
