"""Maps: one node of the graph, whose items are node runs of their own."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.core.graph import AT_ONCE
from app.core.mapdata import INLINE_LIST
from app.core.signals import Signal, SignalKind, decode
from app.errors import EngineFault


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


def test_a_map_of_millions_has_ten_thousand_items_under_way_and_records_of_no_others(world):
    run = world(mapped({"count": 5_000_000}))
    assert len(run.ready) == AT_ONCE
    assert len(run.nodes) == AT_ONCE + 1
    run.finish("a:7")
    assert run.ready[-1][0] == f"a:{AT_ONCE}"


def test_however_many_items_end_while_a_map_expands_its_signals_do_not_pile_up(world):
    run = world(mapped({"count": 1_000_000}, max_parallel=1_000_000), begun=False)
    run.step()
    for index in range(20):
        run.launch(f"a:{index}")
        run.push(
            Signal(SignalKind.FAIL, f"a:{index}", attempt=1, type="Broken", message="no", retryable=False)
        )
        run.step()
    run.step()
    assert [decode(raw).kind for raw in run.inbox].count(SignalKind.EXPAND) <= 2, (
        "one of them may be out of date"
    )


@pytest.mark.parametrize(("tolerate", "status"), [(0.0, "failed"), (0.24, "failed"), (0.25, "succeeded")])
def test_a_map_tolerates_a_share_of_failed_items(world, tolerate: float, status: str):
    run = world(mapped([0, 1, 2, 3], tolerate=tolerate))
    run.fail("a:1")
    for index in (0, 2, 3):
        run.finish(f"a:{index}", index)
    assert run.status("a") == status
    assert run.metadata("a") == {"count": 4, "succeeded": 3, "failed": 1, "items": [0, None, 2, 3]}


@pytest.mark.parametrize(("failed", "status"), [(29, "succeeded"), (30, "failed")])
def test_a_share_is_exact_where_its_float_is_not(world, failed: int, status: str):
    run = world(mapped({"count": 100}, tolerate=0.29))
    for index in range(100):
        if index < failed:
            run.fail(f"a:{index}")
        else:
            run.finish(f"a:{index}")
    assert run.status("a") == status


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


# where items come from ------------------------------------------------------------------------------------------


def items_of(run, count: int, name: str = "a") -> list[Any]:
    return [orjson.loads(run.nodes[f"{name}:{index}"]["v"]) for index in range(count)]


def test_a_map_over_a_count_gives_each_item_its_index_and_what_else_was_said(world):
    run = world(mapped({"count": "${{ params.n }}", "uri": "${{ params.uri }}"}), {"n": 2, "uri": "file:x"})
    assert items_of(run, 2) == [{"uri": "file:x", "index": 0}, {"uri": "file:x", "index": 1}]
    assert run.nodes["a"]["ov"] == b'{"uri":"file:x"}', "the items are a rule, not a list"


@pytest.mark.parametrize("count", ["x", -1, 1.5, True, None, 10_000_001])
def test_a_count_that_is_no_number_of_items_fails_the_node_and_names_the_place(world, count: Any):
    run = world(mapped({"count": "${{ params.n }}"}), {"n": count})
    assert run.status("a") == "failed"
    assert "nodes/a/map/over/count" in run.error("a")["message"]


def test_a_list_of_the_document_is_not_stored_again(world):
    run = world(mapped([{"n": number} for number in range(5)], max_parallel=2))
    assert run.nodes["a"]["ov"] == b"[]"
    run.finish("a:0")
    assert items_of(run, 3) == [{"n": 0}, {"n": 1}, {"n": 2}]


@pytest.mark.parametrize("parallel", [3, None])
def test_a_long_list_is_kept_in_chunks_and_the_node_run_holds_a_window(world, parallel: int | None):
    items = [{"uri": f"file:part-{number:0100}"} for number in range(700)]
    more = {"max_parallel": parallel} if parallel else {}
    run = world(mapped("params.list", **more), {"list": items})
    largest = 0
    for index in range(700):
        largest = max(largest, len(run.nodes["a"]["ov"]))
        run.finish(f"a:{index}", index)
    assert items_of(run, 700) == items
    assert largest <= INLINE_LIST + 1024
    assert run.metadata("a")["items"] == list(range(700))


def test_a_map_goes_over_the_items_of_another_map_whose_metadata_is_by_reference(world):
    nodes = mapped({"count": 300})
    nodes["b"] |= {"map": {"over": "nodes.a.metadata.items", "max_parallel": 2}}
    run = world(nodes)
    for index in range(300):
        run.finish(f"a:{index}", {"n": index, "text": "x" * 250})
    assert run.metadata("a")["items"] == {"$href": "/api/v1/runs/r1/nodes/a/items/metadata"}
    for index in range(300):
        run.finish(f"b:{index}")
    assert [item["n"] for item in items_of(run, 300, "b")] == list(range(300))
    assert run.status("b") == "succeeded"


# what the items leave -------------------------------------------------------------------------------------------


def large_map(world, reader: dict[str, Any]) -> Any:
    """A map whose metadata is by reference, and a node that reads it."""
    run = world({**mapped({"count": 3}, tolerate=0.5), "b": {"type": "step", "needs": ["a"], **reader}})
    run.fail("a:1")
    for index in (0, 2):
        run.finish(f"a:{index}", {"text": "x" * 40_000})
    return run


def test_the_counts_of_a_large_map_are_read_by_expressions(world):
    run = large_map(
        world, {"config": {"n": "${{ nodes.a.metadata.succeeded }} of ${{ nodes.a.metadata.count }}"}}
    )
    assert orjson.loads(run.nodes["b"]["c"]) == {"n": "2 of 3"}


@pytest.mark.parametrize("expression", ["nodes.a.metadata.items", "size(nodes.a.metadata.items)",
                                        'nodes.a.metadata["items"][0]', "nodes.a.metadata.items.map(i, i.text)"])  # fmt: skip
def test_an_expression_that_reads_the_items_of_a_large_map_fails_and_names_the_place(world, expression: str):
    run = large_map(world, {"config": {"all": "${{ " + expression + " }}"}})
    assert run.status("b") == "failed"
    message = run.error("b")["message"]
    assert "nodes/b/config/all" in message
    assert "nodes.a.metadata.items is more than an expression reads" in message


def test_items_that_ended_without_success_are_told_to_the_ledger(world):
    assert large_map(world, {}).failed_items == [("a", 1)]


def test_a_map_of_many_small_items_is_inline_up_to_its_limit(world, budget):
    budget(100)
    run = world(mapped({"count": 300}))
    for index in range(300):
        run.finish(f"a:{index}", index)
    assert run.metadata("a")["items"] == list(range(300))
    assert run.largest <= 101


def test_what_is_needed_to_start_items_and_never_comes_is_a_fault(world):
    run = world(mapped("params.list", max_parallel=1), {"list": ["x" * 100] * 500}, begun=False)
    run.step()
    run.chunks["a"] = []
    with pytest.raises(EngineFault, match="could not be loaded"):
        run.settle()
