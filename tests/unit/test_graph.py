"""The compiled graph: numbered nodes, edges from both ends, defaults merged, nothing compiled before its time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.cel_program import program
from app.core.graph import Edge, Graph, Join, Kind, Retry, Timeouts, compile_graph
from app.errors import ExpressionError


def graph(nodes: dict[str, Any], **more: Any) -> Graph:
    typed = {name: node if "wait" in node else {"type": "step@1", **node} for name, node in nodes.items()}
    return compile_graph({"name": "w", "nodes": typed, **more}, version=4)


def test_nodes_are_numbered_in_the_order_of_the_document() -> None:
    compiled = graph({"b": {}, "a": {"needs": ["b"]}})
    assert compiled.index == {"b": 0, "a": 1}
    assert compiled.node("a").index == 1
    assert compiled.roots == [0]
    assert (compiled.workflow, compiled.version, len(compiled)) == ("w", 4, 2)


def test_an_edge_is_seen_from_both_ends_with_its_condition() -> None:
    compiled = graph(
        {"a": {}, "b": {}, "c": {"needs": ["b", {"node": "a", "when": "nodes.a.metadata.x > 1"}]}}
    )
    assert [edge.node for edge in compiled.node("c").needs] == [1, 0]
    (child,) = compiled.node("a").children
    assert child.node == 2
    assert child.when is not None
    assert child.when.reads == {"a"}
    assert compiled.node("b").children == (Edge(2),)


@given(st.lists(st.sets(st.integers(0, 30)), min_size=1, max_size=30))
def test_needs_and_children_always_mirror_each_other(needs: list[set[int]]) -> None:
    nodes = {f"n{i}": {"needs": [f"n{j}" for j in sorted(wanted) if j < i]} for i, wanted in enumerate(needs)}
    compiled = graph(nodes)
    up = {(edge.node, node.index) for node in compiled.nodes for edge in node.needs}
    down = {(node.index, edge.node) for node in compiled.nodes for edge in node.children}
    assert up == down


def test_the_nodes_read_when_a_node_becomes_ready_are_known() -> None:
    node = {
        "needs": ["a", "b", "c"], "when": "nodes.a.status == 'succeeded'", "config": {"u": "${{ nodes.b.metadata.u }}"},
        "map": {"over": "nodes.c.metadata.parts"},
    }  # fmt: skip
    assert graph({"a": {}, "b": {}, "c": {}, "d": node}).node("d").reads == {0, 1, 2}


def test_the_output_knows_what_it_reads() -> None:
    compiled = graph({"a": {}, "b": {}}, output={"n": "${{ nodes.b.metadata.n }}"})
    assert compiled.output_reads == {1}


def test_defaults_of_the_engine_are_the_documented_ones() -> None:
    node = graph({"a": {}}).node("a")
    assert node.retry == Retry(max_attempts=3, initial_ms=1_000, factor=2.0, max_ms=100_000)
    assert node.timeouts == Timeouts(queued_ms=None, start_ms=600_000, run_ms=3_600_000, heartbeat_ms=60_000)
    assert (node.kind, node.type, node.join, node.priority) == (Kind.TASK, "step@1", Join.ALL_SUCCEEDED, None)
    assert (node.tolerate, node.allow_failure, node.map, node.when) == (0.0, False, None, None)


def test_a_node_overrides_the_defaults_of_the_workflow_field_by_field() -> None:
    defaults = {"retry": {"max_attempts": 5, "initial": "2s"}, "timeout": {"run": "2h"}}
    compiled = graph(
        {"a": {}, "b": {"retry": {"initial": "9s"}, "timeout": {"heartbeat": "5s"}}}, defaults=defaults
    )
    assert compiled.node("a").retry == Retry(max_attempts=5, initial_ms=2_000)
    assert compiled.node("b").retry == Retry(max_attempts=5, initial_ms=9_000)
    assert compiled.node("b").timeouts == Timeouts(run_ms=7_200_000, heartbeat_ms=5_000)


def test_nodes_with_the_same_policies_share_them() -> None:
    compiled = graph({"a": {}, "b": {}})
    assert compiled.node("a").retry is compiled.node("b").retry


def test_a_map_gives_its_list() -> None:
    compiled = graph(
        {
            "a": {"map": {"over": "params.list", "max_parallel": 2}},
            "b": {"map": {"over": [1, "${{ params.x }}"]}},
        }
    )
    env = {"params": {"list": [3, 4], "x": 5}}
    over = [node.map.items(env) for node in compiled.nodes if node.map]
    assert over == [[3, 4], [1, 5]]


def test_a_map_over_something_else_is_an_error_with_its_place() -> None:
    spec = graph({"a": {"map": {"over": "params.list"}}}).node("a").map
    assert spec is not None
    with pytest.raises(ExpressionError, match=r"^/map/over: a map needs a list"):
        spec.items({"params": {"list": {"a": 1}}})


@pytest.mark.parametrize(
    ("wait", "ends"),
    [
        ({"duration": "10s"}, 60_000),
        ({"duration": 0}, 50_000),
        ({"duration": "${{ params.pause }}"}, 51_000),
        ({"until": "1970-01-01T00:02:00Z"}, 120_000),
        ({"until": "1970-01-01T00:00:01Z"}, 50_000),
    ],
)
def test_a_wait_ends_after_its_duration_or_at_its_instant_never_in_the_past(
    wait: dict[str, Any], ends: int
) -> None:
    node = graph({"a": {"wait": wait}}).node("a")
    assert node.kind is Kind.WAIT
    assert node.wait_ends({"params": {"pause": "1s"}}, 50_000) == ends


def test_a_wait_for_something_that_is_no_time_is_an_error_with_its_place() -> None:
    node = graph({"a": {"wait": {"until": "${{ params.at }}"}}}).node("a")
    with pytest.raises(ExpressionError, match=r"^nodes/a/wait/until: an instant is RFC 3339"):
        node.wait_ends({"params": {"at": "soon"}}, 0)


def test_compiling_a_graph_compiles_no_expression() -> None:
    before = program.cache_info().misses
    graph({"a": {}, "b": {"needs": ["a"], "when": "nodes.a.metadata.some_unusual_name + 1 > 2"}})
    assert program.cache_info().misses == before
