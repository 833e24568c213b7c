"""Maps: one node of the graph, whose items are node runs of their own."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.core.signals import Signal, SignalKind


def mapped(over: Any, **more: Any) -> dict[str, dict[str, Any]]:
    return {"a": {"type": "step", "map": {"over": over, **more}}, "b": {"type": "step", "needs": ["a"]}}


def test_every_item_is_a_node_run_and_the_map_has_their_metadata_in_order(world):
    run = world(mapped(["x", "y", "z"]))
    assert [task[0] for task in run.ready] == ["a:0", "a:1", "a:2"]
    assert [orjson.loads(run.nodes[f"a:{i}"]["v"]) for i in range(3)] == ["x", "y", "z"]
    for index in (2, 0, 1):
        run.finish(f"a:{index}", {"n": index})
    assert run.metadata("a") == {
        "count": 3,
        "succeeded": 3,
        "failed": 0,
        "items": [{"n": 0}, {"n": 1}, {"n": 2}],
    }
    assert run.status("b") == "ready"


def test_an_empty_map_succeeds_at_once(world):
    run = world(mapped("params.list"), {"list": []})
    assert run.statuses() == {"a": "succeeded", "b": "ready"}
    assert run.metadata("a")["count"] == 0


def test_a_map_over_what_is_no_list_fails_its_node(world):
    run = world(mapped("params.list"), {"list": 3})
    assert run.statuses() == {"a": "failed", "b": "blocked"}


def test_max_parallel_items_run_at_a_time(world):
    run = world(mapped([0, 1, 2, 3, 4], max_parallel=2))
    assert [task[0] for task in run.ready] == ["a:0", "a:1"]
    assert "a:2" not in run.nodes, "an item that has not started has no key"
    run.finish("a:1")
    assert [task[0] for task in run.ready] == ["a:0", "a:2"]


@pytest.mark.parametrize(("tolerate", "status"), [(0.0, "failed"), (0.24, "failed"), (0.25, "succeeded")])
def test_a_map_tolerates_a_share_of_failed_items(world, tolerate: float, status: str):
    run = world(mapped([0, 1, 2, 3], tolerate=tolerate))
    run.fail("a:1")
    for index in (0, 2, 3):
        run.finish(f"a:{index}", index)
    assert run.status("a") == status
    assert run.metadata("a") == {"count": 4, "succeeded": 3, "failed": 1, "items": [0, None, 2, 3]}


def test_an_item_whose_config_cannot_be_rendered_fails_alone(world):
    nodes = mapped([{"k": 1}, {}], tolerate=0.5)
    nodes["a"]["config"] = {"k": "${{ item.k }}"}
    run = world(nodes)
    assert (run.status("a:0"), run.status("a:1")) == ("ready", "failed")
    run.finish("a:0")
    assert run.status("a") == "succeeded"


def test_the_metadata_of_items_that_ended_earlier_is_fetched_when_the_map_ends(world):
    run = world(mapped([0, 1]))
    run.finish("a:0", {"n": 0})
    run.launch("a:1")
    run.output("a:1", {"n": 1})
    run.finalize("a:1")
    run.step()
    assert orjson.loads(run.inbox[0])["k"] == SignalKind.COLLECT
    run.settle()
    assert run.metadata("a")["items"] == [{"n": 0}, {"n": 1}]


def test_items_are_retried_each_by_itself(world):
    run = world(mapped([0, 1]))
    run.fail("a:0", retryable=True)
    run.finish("a:1")
    assert (run.status("a:0"), run.status("a")) == ("waiting", "running")


def test_a_timer_of_a_map_does_nothing(world):
    run = world(mapped([0]))
    run.push(Signal(SignalKind.DUE, "a"))
    run.settle()
    assert run.status("a") == "running"
