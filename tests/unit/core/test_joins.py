"""Joins as truth tables (DESIGN section 5): S succeeded, F failed (also blocked, cancelled), K skipped, - still to come."""

from __future__ import annotations

import pytest

from app.core.graph import Join
from app.core.settle import Verdict, judge
from app.core.view import JoinCount

TABLE = """
                SS    SF    SK    S-    FF    FK    F-    KK    K-    --
all_succeeded   run   block skip  wait  block block wait  skip  wait  wait
none_failed     run   block run   wait  block block wait  run   wait  wait
all_done        run   run   run   wait  run   run   wait  run   wait  wait
any_succeeded   run   run   run   run   block block wait  skip  wait  wait
"""


def rows() -> list[tuple[str, str, str]]:
    head, *lines = [line.split() for line in TABLE.strip().splitlines()]
    return [
        (line[0], upstream, verdict)
        for line in lines
        for upstream, verdict in zip(head, line[1:], strict=True)
    ]


@pytest.mark.parametrize(("join", "upstream", "verdict"), rows())
def test_a_join_of_two_upstream_nodes(join: str, upstream: str, verdict: str):
    count = JoinCount(upstream.count("S"), upstream.count("F"), upstream.count("K"))
    assert judge(Join(join), count, 2) is Verdict(verdict)


@pytest.mark.parametrize("join", list(Join))
def test_a_node_without_needs_runs_whatever_its_join(world, join: Join):
    assert world({"a": {"type": "step", "join": str(join)}}).status("a") == "ready"


def test_any_succeeded_is_decided_at_the_first_success_and_not_again(world):
    nodes = {name: {"type": "step"} for name in ("a", "b")}
    run = world({**nodes, "c": {"type": "step", "needs": ["a", "b"], "join": "any_succeeded"}})
    run.finish("a")
    assert run.status("c") == "ready"
    run.finish("c")
    run.finish("b")
    assert run.statuses() == dict.fromkeys("abc", "succeeded")
    run.check_ended()


def test_an_edge_whose_condition_is_false_makes_its_upstream_a_skipped_one_whatever_its_status(world):
    nodes = {"a": {"type": "step"}, "b": {"type": "step"}}
    edge = {"node": "a", "when": "nodes.a.status == 'succeeded'"}
    run = world({**nodes, "c": {"type": "step", "needs": [edge, "b"], "join": "none_failed"}})
    run.fail("a")
    run.finish("b")
    assert run.status("c") == "ready"


def test_blocked_and_skipped_go_down_the_graph(world):
    chain = {
        "a": {"type": "step"},
        "b": {"type": "step", "needs": ["a"]},
        "c": {"type": "step", "needs": ["b"]},
    }
    failed = world(chain)
    failed.fail("a")
    assert failed.statuses() == {"a": "failed", "b": "blocked", "c": "blocked"}
    skipped = world({**chain, "a": {"type": "step", "when": "false"}})
    assert skipped.statuses() == dict.fromkeys("abc", "skipped")
    assert (failed.result, skipped.result) == ("failed", "succeeded")


def test_a_node_with_allow_failure_counts_as_a_success_below_and_for_the_run(world):
    run = world({"a": {"type": "step", "allow_failure": True}, "b": {"type": "step", "needs": ["a"]}})
    run.fail("a")
    assert run.statuses() == {"a": "failed", "b": "ready"}
    run.finish("b")
    assert run.result == "succeeded"
    run.check_ended()


def test_a_nodes_own_condition_is_evaluated_after_its_join_says_run(world):
    run = world({
        "a": {"type": "step"},
        "b": {"type": "step", "needs": ["a"], "when": "nodes.a.metadata.count > 10"},
    })  # fmt: skip
    run.finish("a", {"count": 3})
    assert run.status("b") == "skipped"


def test_a_condition_that_reads_what_does_not_exist_fails_its_node_and_names_it(world):
    run = world({"a": {"type": "step", "when": "params.size > 1"}})
    assert run.status("a") == "failed"
    assert "params.size" in run.error("a")["message"]
    run.check_ended()


def test_a_condition_that_is_no_truth_value_fails_its_node(world):
    run = world({"a": {"type": "step", "when": "params.size"}}, {"size": 3})
    assert run.status("a") == "failed"


def test_independent_branches_finish_after_a_failure(world):
    run = world({"a": {"type": "step"}, "b": {"type": "step"}, "c": {"type": "step", "needs": ["b"]}})
    run.fail("a")
    assert run.result == "running"
    run.finish("b")
    run.finish("c")
    assert run.result == "failed"
    run.check_ended()


def test_the_output_of_a_run_is_rendered_from_its_nodes(world):
    run = world({"a": {"type": "step"}}, output={"count": "${{ nodes.a.metadata.count }}"})
    run.finish("a", {"count": 7})
    assert run.run["o"] == b'{"count":7}'
    assert run.result == "succeeded"


def test_a_run_whose_output_cannot_be_rendered_has_failed_and_says_so(world):
    run = world({"a": {"type": "step"}}, output={"count": "${{ nodes.a.metadata.count }}"})
    run.finish("a", {})
    assert run.result == "failed"
    assert b"nodes.a.metadata.count" in run.run["x"]
