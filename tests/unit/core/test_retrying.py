"""What a retry or a fork keeps of an ended run: a pure function of the graph and of how its node runs ended."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.retrying import ALL, FAILED, Again, Ask, Plan, Was, changed_nodes, plan
from app.core.states import NODE_TERMINAL, NodeStatus
from app.errors import InvalidInput, NotFound

from .conftest import compiled

GOOD = (NodeStatus.SUCCEEDED, NodeStatus.SKIPPED)
DIAMOND = {
    "a": {"type": "step"},
    "b": {"type": "step", "needs": ["a"]},
    "c": {"type": "step", "needs": ["a"]},
    "d": {"type": "step", "needs": ["b", "c"]},
}


def was(**statuses: str) -> dict[str, Was]:
    return {name: Was(NodeStatus(status)) for name, status in statuses.items()}


def made(
    nodes: dict[str, Any], before: dict[str, Was], ask: Ask, changed: frozenset[str] = frozenset()
) -> Plan:
    return plan(compiled(nodes), before, ask, changed)


def runs(nodes: dict[str, Any], found: Plan) -> dict[str, str]:
    named = zip(nodes, found.verdicts, strict=True)
    return {name: str(verdict.again) for name, verdict in named if verdict.again is not None}


def test_what_did_not_end_well_runs_again_and_what_is_below_it():
    before = was(a="succeeded", b="failed", c="succeeded", d="blocked")
    found = made(DIAMOND, before, Ask("r1", "retry", FAILED))
    assert runs(DIAMOND, found) == {"b": "status", "d": "status"}
    assert found.kept == 2


def test_from_a_node_on_it_and_all_below_it_run_again():
    before = was(a="succeeded", b="succeeded", c="succeeded", d="succeeded")
    found = made(DIAMOND, before, Ask("r1", "retry", "b"))
    assert runs(DIAMOND, found) == {"b": "asked", "d": "upstream"}
    assert found.verdicts[3].because == "b"


def test_a_node_that_never_ran_runs():
    assert runs(DIAMOND, made(DIAMOND, was(a="succeeded"), Ask("r1", "retry", FAILED))).keys() == {
        "b",
        "c",
        "d",
    }


def test_all_keeps_nothing():
    before = was(a="succeeded", b="succeeded", c="succeeded", d="succeeded")
    assert made(DIAMOND, before, Ask("r1", "retry", ALL)).kept == 0


def test_a_failure_that_its_node_allows_is_kept():
    nodes = {**DIAMOND, "b": {**DIAMOND["b"], "allow_failure": True}}
    before = was(a="succeeded", b="failed", c="skipped", d="failed")
    assert runs(nodes, made(nodes, before, Ask("r1", "retry", FAILED))).keys() == {"d"}


def test_given_metadata_stands_in_for_a_node_that_failed():
    before = was(a="succeeded", b="failed", c="succeeded", d="blocked")
    found = made(DIAMOND, before, Ask("r1", "fork", "b", metadata=b"{}"))
    assert runs(DIAMOND, found) == {"d": "status"}


def test_given_metadata_makes_run_what_is_below_it():
    before = was(a="succeeded", b="succeeded", c="succeeded", d="succeeded")
    found = made(DIAMOND, before, Ask("r1", "fork", "b", metadata=b"{}"))
    assert runs(DIAMOND, found) == {"d": "upstream"}


def test_a_node_below_one_that_runs_again_cannot_be_given_metadata():
    before = was(a="failed", b="blocked", c="blocked", d="blocked")
    with pytest.raises(InvalidInput) as refused:
        made(DIAMOND, before, Ask("r1", "fork", "d", metadata=b"{}"))
    assert refused.value.places[0].pointer == "/metadata"


def test_what_the_new_version_has_otherwise_runs_again():
    before = was(a="succeeded", b="succeeded", c="succeeded", d="succeeded")
    found = made(DIAMOND, before, Ask("r1", "fork", "d"), frozenset({"c"}))
    assert runs(DIAMOND, found) == {"c": "changed", "d": "asked"}


def test_a_node_is_changed_where_anything_of_it_is():
    after = {
        "nodes": {**DIAMOND, "b": {"type": "step", "needs": ["a"], "config": {"x": 1}}, "e": {"type": "step"}}
    }
    assert changed_nodes({"nodes": DIAMOND}, after) == {"b", "e"}


def test_an_unknown_node_is_not_found():
    with pytest.raises(NotFound):
        made(DIAMOND, {}, Ask("r1", "retry", "nobody"))


@pytest.mark.parametrize("name", [FAILED, ALL])
def test_a_node_with_a_reserved_name_can_only_be_forked(name: str):
    nodes = {name: {"type": "step"}, "other": {"type": "step"}}
    before = {each: Was(NodeStatus.SUCCEEDED) for each in nodes}
    assert made(nodes, before, Ask("r1", "retry", name)).kept == (2 if name == FAILED else 0)
    assert runs(nodes, made(nodes, before, Ask("r1", "fork", name))) == {name: "asked"}


def mapped(over: Any) -> dict[str, Any]:
    return {"a": {"type": "step"}, "m": {"type": "step", "needs": ["a"], "map": {"over": over}}}


FAILED_MAP = {"a": Was(NodeStatus.SUCCEEDED), "m": Was(NodeStatus.FAILED, 7, 9, 5)}


@pytest.mark.parametrize("over", [["x"], {"count": 9}, "nodes.a.metadata.items", "params.items"])
def test_a_map_that_failed_keeps_its_items(over: Any):
    assert made(mapped(over), FAILED_MAP, Ask("r1", "retry", FAILED)).items == {"m": 7}


def test_a_map_that_was_asked_for_runs_whole():
    assert made(mapped(["x"]), FAILED_MAP, Ask("r1", "retry", "m")).items == {}


def test_a_map_whose_items_may_be_others_runs_whole():
    assert made(mapped(["x"]), FAILED_MAP, Ask("r1", "retry", "a")).items == {}
    assert made(mapped("[run.id]"), FAILED_MAP, Ask("r1", "retry", FAILED)).items == {}
    assert made(mapped(["x"]), FAILED_MAP, Ask("r1", "fork", "a"), frozenset({"m"})).items == {}


TOLERANT = {
    "a": {"type": "step"},
    "b": {"type": "step", "needs": ["a"], "tolerate": 0.5, "config": {"x": "${{ nodes.a.metadata.x }}"}},
    "c": {"type": "step", "needs": ["b"]},
}
PARTLY = {**was(a="succeeded", c="succeeded"), "b": Was(NodeStatus.SUCCEEDED, records=3)}


def test_a_node_that_succeeded_but_for_some_records_runs_again_for_those():
    found = made(TOLERANT, PARTLY, Ask("r1", "retry", FAILED))
    assert runs(TOLERANT, found) == {"b": "records", "c": "upstream"}
    assert found.records == {"b": 3}


@pytest.mark.parametrize("ask", [Ask("r1", "retry", "c"), Ask("r1", "fork", "c")])
def test_failed_records_are_left_alone_where_something_else_was_asked_for(ask: Ask):
    found = made(TOLERANT, PARTLY, ask)
    assert (runs(TOLERANT, found), found.records) == ({"c": "asked"}, {})


def test_all_records_are_done_where_the_stream_may_be_another():
    """Something before it runs again, or its config reads the run."""
    found = made(TOLERANT, PARTLY | was(a="failed"), Ask("r1", "retry", FAILED))
    assert (found.kept, found.records) == (0, {})
    nodes = {**TOLERANT, "b": {**TOLERANT["b"], "config": {"to": "out/${{ run.id }}"}}}
    found = made(nodes, PARTLY, Ask("r1", "retry", FAILED))
    assert (runs(nodes, found)["b"], found.records) == ("records", {})


def test_a_node_that_failed_as_a_whole_begins_anew_whatever_its_ledger_holds():
    before = {**PARTLY, "b": Was(NodeStatus.FAILED, records=3)}
    found = made(TOLERANT, before, Ask("r1", "retry", FAILED))
    assert (runs(TOLERANT, found)["b"], found.records) == ("status", {})


@pytest.mark.parametrize(("status", "why"), [("succeeded", "records"), ("failed", "status")])
def test_a_map_redoes_the_failed_records_of_the_items_that_succeeded(status: str, why: str):
    before = {"a": Was(NodeStatus.SUCCEEDED), "m": Was(NodeStatus(status), 9, 9, 8, records=4, partly=2)}
    found = made(mapped(["x"]), before, Ask("r1", "retry", FAILED))
    assert runs(mapped(["x"]), found) == {"m": why}
    assert (found.items, found.records) == ({"m": 9}, {"m": 4})


@st.composite
def ended_runs(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Was], Ask]:
    """Any acyclic graph, any ends of its node runs, consistent or not, and anything that may be asked for."""
    count = draw(st.integers(1, 12))
    nodes: dict[str, Any] = {}
    for index in range(count):
        needs = draw(st.sets(st.integers(0, index - 1), max_size=3)) if index else set()
        nodes[f"n{index}"] = {"type": "step", "needs": [f"n{need}" for need in sorted(needs)]}
        if draw(st.booleans()):
            nodes[f"n{index}"]["allow_failure"] = True
    before = {
        name: Was(draw(st.sampled_from(sorted(NODE_TERMINAL)))) for name in nodes if draw(st.integers(0, 5))
    }
    at = draw(st.sampled_from([FAILED, ALL, *nodes]))
    order = draw(st.permutations(list(nodes)))
    return {name: nodes[name] for name in order}, before, Ask("r1", "retry", at)


@given(ended_runs())
def test_what_is_kept_is_all_that_ended_well_with_all_that_it_needs_kept(
    run: tuple[Any, dict[str, Was], Ask],
):
    nodes, before, ask = run
    found = made(nodes, before, ask)
    verdicts = dict(zip(nodes, found.verdicts, strict=True))
    for name, node in nodes.items():
        status = before.get(name, Was()).status
        allowed = status is NodeStatus.FAILED and node.get("allow_failure", False)
        well = (status in GOOD or allowed) and ask.at not in (name, ALL)
        needs = all(verdicts[need].again is None for need in node["needs"])
        assert (verdicts[name].again is None) == (well and needs)
        if verdicts[name].again is Again.UPSTREAM:
            assert verdicts[verdicts[name].because].again is not None


@given(ended_runs())
def test_an_ask_is_read_back_as_it_was_written(run: tuple[Any, dict[str, Was], Ask]):
    _, _, ask = run
    assert Ask.decode(ask.encode()) == ask
    edited = Ask(ask.of, "fork", ask.at, {"x": 1}, b'{"y":2}')
    assert Ask.decode(edited.encode()) == edited
