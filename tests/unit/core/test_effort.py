"""Expressions that are bombs: they fail their own node run, and hold nobody up."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.core.effort import BUDGET
from app.core.graph import RENDERED_LIMIT

HEAVY = "${{ params.list.all(x, x >= 0) }}"
LIST = list(range(100_000))
"""HEAVY over it takes almost half of a budget."""


def step(config: Any, **more: Any) -> dict[str, Any]:
    return {"type": "step", "config": config, **more}


def test_all_expressions_of_a_node_run_share_one_budget(world):
    run = world({"one": step({"a": HEAVY}), "three": step({"a": [HEAVY] * 3})}, {"list": LIST})
    assert run.statuses() == {"one": "ready", "three": "failed"}
    assert "nodes/three/config/a/2: too much work" in orjson.loads(run.nodes["three"]["x"])["message"]


def test_each_item_of_a_map_has_a_budget_of_its_own_and_few_begin_in_one_commit(world):
    run = world({"a": step({"a": HEAVY}, map={"over": {"count": 12}})}, {"list": LIST})
    assert [task[0] for task in run.ready] == [f"a:{index}" for index in range(12)]
    assert run.largest < 8


def test_nodes_below_one_another_begin_in_bounded_commits_too(world):
    below = {f"b{index}": step({"a": HEAVY}, needs=["a"]) for index in range(12)}
    run = world({"a": step({}), **below}, {"list": LIST})
    run.finish("a")
    assert {run.status(name) for name in below} == {"ready"}
    assert run.largest < 8


def test_a_config_that_repeats_a_large_value_is_not_kept(world):
    text = "x" * (RENDERED_LIMIT // 4)
    few, many = ({str(index): "${{ params.text }}" for index in range(count)} for count in (3, 4))
    run = world({"few": step(few), "many": step(many)}, {"text": text})
    assert run.statuses() == {"few": "ready", "many": "failed"}
    message = orjson.loads(run.nodes["many"]["x"])["message"]
    assert message.startswith("nodes/many/config: with the values of its expressions it is 1,0")
    assert message.endswith("name where the data is instead")


def test_of_large_configs_few_are_written_in_one_commit(world):
    config = {"a": "${{ params.text }}"}
    run = world({"a": step(config, map={"over": {"count": 40}})}, {"text": "x" * (RENDERED_LIMIT - 100)})
    assert len(run.ready) == 40
    assert run.largest < 30


@pytest.mark.parametrize("size", [BUDGET // 2, 1])
def test_the_same_values_have_the_same_outcome(world, size: int):
    nodes = {"a": step({"a": "${{ params.text.contains('y') }}"})}
    first, second = (world(nodes, {"text": "x" * size}) for _ in range(2))
    assert first.nodes == second.nodes
