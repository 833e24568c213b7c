"""The cache of nodes: the metadata of a node run that succeeded is used again by one with the same key."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.core.signals import Signal, SignalKind
from tests.unit.core.conftest import World, compiled


def cached(key: str = "${{ params.day }}", **more: Any) -> dict[str, Any]:
    node = {"type": "step", "cache": {"key": key, "ttl": "1h"}, **more}
    return {"a": node, "b": {"type": "step", "needs": ["a"]}}


def again(first: World, nodes: dict[str, Any], params: Any = None) -> World:
    """Another run, with the cache that the first one left."""
    run = World(compiled(nodes), params if params is not None else {"day": "monday"})
    run.cache = first.cache
    run.settle()
    return run


@pytest.fixture
def first(world) -> World:
    """A run whose node left its metadata in the cache."""
    run = world(cached(), {"day": "monday"})
    run.finish("a", {"uri": "file:x"})
    return run


def test_a_key_that_is_not_known_runs_the_node_and_its_success_is_kept(first: World):
    assert first.status("b") == "ready"
    (entry,) = map(orjson.loads, first.cache.values())
    assert (entry["m"], entry["run"], entry["node"]) == ({"uri": "file:x"}, "r1", "a")


def test_a_known_key_is_a_success_at_once_and_says_where_it_comes_from(first: World):
    run = again(first, cached())
    assert (run.status("a"), run.metadata("a"), run.status("b")) == ("succeeded", {"uri": "file:x"}, "ready")
    assert orjson.loads(run.nodes["a"]["cf"])["run"] == "r1"
    assert [task[0] for task in run.ready] == ["b"], "it was never queued"
    run.finish("b")
    run.check_ended()


def test_a_failure_is_not_kept(world):
    run = world(cached(), {"day": "monday"})
    run.fail("a")
    assert run.cache == {}


def test_what_came_from_the_cache_is_not_kept_anew(first: World):
    run = again(first, cached())
    run.cache = {}
    run.finish("b")
    assert run.cache == {}


@pytest.mark.parametrize("other", [
    {"params": {"day": "tuesday"}},
    {"nodes": {"z": cached()["a"]}},
    {"nodes": {"a": {"workflow": "child", "cache": cached()["a"]["cache"]}}},
    {"nodes": cached(config={"size": 2})},
])  # fmt: skip
def test_another_key_node_or_content_has_an_entry_of_its_own(first: World, other: dict[str, Any]):
    nodes = other.get("nodes", cached())
    run = again(first, nodes, other.get("params"))
    assert run.status(next(iter(nodes))) in ("ready", "waiting")


def test_each_item_of_a_map_has_a_key_of_its_own(world):
    nodes = cached("${{ item }}", map={"over": "params.days"})
    run = world(nodes, {"days": ["monday", "tuesday"]})
    run.finish("a:0", 0)
    run.finish("a:1", 1)
    assert len(run.cache) == 2
    later = again(run, nodes, {"days": ["tuesday", "friday"]})
    assert (later.status("a:0"), later.metadata("a:0"), later.status("a:1")) == ("succeeded", 1, "ready")


def test_a_run_that_ends_before_its_cache_was_looked_into_starts_nothing(world):
    run = world(cached(), {"day": "monday"}, begun=False)
    run.step()
    assert run.status("a") == "ready"
    run.inbox.insert(0, b'{"k":"cancel"}')
    run.settle()
    assert (run.status("a"), run.ready) == ("cancelled", [])


def test_a_look_that_comes_twice_is_answered_once(world):
    run = world(cached(), {"day": "monday"}, begun=False)
    run.step()
    run.inbox *= 2
    run.settle()
    assert [task[0] for task in run.ready] == ["a"]


def test_a_child_run_is_cached_by_its_output(world):
    nodes = {"a": {"workflow": "child", "cache": {"key": "k", "ttl": "1h"}}}
    run = world(nodes)
    run.child_ends(run.children[0], "succeeded", {"n": 1})
    run.settle()
    later = again(run, nodes)
    assert (later.result, later.metadata("a"), later.children) == ("succeeded", {"n": 1}, [])


def test_a_key_that_cannot_be_rendered_fails_the_node_with_its_place(world):
    run = world(cached("${{ params.gone }}"), {})
    assert "nodes/a/cache/key: params.gone does not exist" in run.error("a")["message"]
    run.push(Signal(SignalKind.CACHE, "a", message="x"))
    run.settle()
    assert run.status("a") == "failed"


def test_a_config_counts_as_it_is_written_and_not_by_its_values(world):
    """What differs in every run, such as a place to write to, is no other work; what matters stands in the key."""
    nodes = cached(config={"by": "${{ params.by }}"})
    run = world(nodes, {"day": "monday", "by": "one"})
    run.finish("a", {"n": 1})
    assert again(run, nodes, {"day": "monday", "by": "two"}).status("a") == "succeeded"


def test_a_resume_does_not_queue_what_its_cache_is_yet_to_answer(world):
    run = world(cached(), {"day": "monday"}, begun=False)
    run.step()
    run.inbox.insert(0, b'{"k":"resume"}')
    run.settle()
    assert run.ready == [("a", 1, 0)]
