"""What must hold in a workflow as a whole: edges, cycles, expressions, node types, configurations."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.nodetypes import NodeType
from app.core.spec import Workflow, parse_workflow
from app.core.validate import check
from app.errors import InvalidInput

STEP_SCHEMA: dict[str, Any] = {
    "type": "object", "additionalProperties": False,
    "properties": {"percent": {"type": "number", "maximum": 100}, "uri": {"type": "string"}},
}  # fmt: skip
NEEDY_SCHEMA: dict[str, Any] = {"type": "object", "required": ["uri"]}
TYPES = {
    "step@1": NodeType(name="step", version=1, command=["x"]),
    "step@2": NodeType(name="step", version=2, command=["x"], config_schema=STEP_SCHEMA),
    "needy@1": NodeType(name="needy", version=1, command=["x"], config_schema=NEEDY_SCHEMA),
}


def checked(nodes: dict[str, Any], **more: Any) -> Workflow:
    """Check a document; a node without a kind of its own is a `step`."""
    filled = {
        name: node if {"type", "wait"} & node.keys() else {"type": "step", **node}
        for name, node in nodes.items()
    }
    return check(parse_workflow({"name": "w", "nodes": filled, **more}), TYPES)


def problems(nodes: dict[str, Any], **more: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        checked(nodes, **more)
    assert type(caught.value) is InvalidInput
    return dict(caught.value.places)


class TestEdges:
    def test_an_unknown_upstream_node_gets_a_suggestion(self) -> None:
        assert problems({"read": {}, "b": {"needs": ["raed"]}}) == {
            "/nodes/b/needs/0": "there is no node 'raed'; did you mean 'read'?"
        }

    def test_the_same_edge_twice_is_refused(self) -> None:
        nodes = {"a": {}, "b": {"needs": ["a", {"node": "a", "when": "true"}]}}
        assert problems(nodes) == {"/nodes/b/needs/1": "'a' is listed twice"}

    def test_a_cycle_is_named(self) -> None:
        nodes = {
            "x": {},
            "a": {"needs": ["c", "x"]},
            "b": {"needs": ["a"]},
            "c": {"needs": ["b"]},
            "d": {"needs": ["c"]},
        }
        (detail,) = problems(nodes).values()
        assert detail == "the nodes form a cycle: a -> b -> c -> a"

    def test_a_node_cannot_need_itself(self) -> None:
        assert problems({"a": {"needs": ["a"]}}) == {"/nodes/a/needs/0": "a node cannot need itself: a -> a"}

    def test_a_chain_of_twenty_thousand_nodes_is_no_problem(self) -> None:
        nodes = {
            f"n{i}": {"needs": [f"n{i - 1}"] if i else [], "when": "nodes.n0.status != ''" if i else "true"}
            for i in range(20_000)
        }
        assert len(checked(nodes).nodes) == 20_000

    def test_a_long_cycle_is_named_in_short(self) -> None:
        (detail,) = problems({f"n{i}": {"needs": [f"n{(i - 1) % 5_000}"]} for i in range(5_000)}).values()
        assert "(4,990 more)" in detail
        assert len(detail) < 200


class TestReads:
    def test_any_node_above_can_be_read(self) -> None:
        checked(
            {
                "a": {},
                "b": {"needs": ["a"]},
                "c": {"needs": ["b"], "config": {"uri": "${{ nodes.a.metadata.uri }}"}},
            }
        )

    @pytest.mark.parametrize("target", ["side", "below", "c"])
    def test_no_other_node_can_be_read(self, target: str) -> None:
        nodes = {
            "a": {}, "side": {"needs": ["a"]}, "c": {"needs": ["a"], "when": f"nodes.{target}.status == 'succeeded'"},
            "below": {"needs": ["c"]},
        }  # fmt: skip
        assert problems(nodes) == {
            "/nodes/c/when": f"'{target}' is not upstream of 'c': only nodes before it can be read"
        }

    def test_a_node_that_does_not_exist_cannot_be_read(self) -> None:
        nodes = {"read": {}, "b": {"needs": ["read"], "map": {"over": "nodes.raed.metadata.parts"}}}
        assert "did you mean 'read'" in problems(nodes)["/nodes/b/map/over"]

    def test_the_condition_of_an_edge_reads_its_upstream_end_and_above(self) -> None:
        need = {"node": "b", "when": "nodes.b.metadata.n > nodes.a.metadata.n"}
        checked({"a": {}, "b": {"needs": ["a"]}, "c": {"needs": [need]}})

    def test_the_condition_of_an_edge_cannot_read_another_edge(self) -> None:
        needs = ["a", {"node": "b", "when": "nodes.a.metadata.n > 1"}]
        assert "/nodes/c/needs/1/when" in problems({"a": {}, "b": {}, "c": {"needs": needs}})

    def test_the_output_may_read_every_node(self) -> None:
        checked({"a": {}}, output={"n": "${{ nodes.a.metadata.n }}"})
        assert "/output/n" in problems({"a": {}}, output={"n": "${{ nodes.b.metadata.n }}"})

    def test_an_edge_that_leads_nowhere_is_reported_once(self) -> None:
        nodes = {"a": {"needs": [{"node": "gone", "when": "nodes.gone.status == 'x'"}]}}
        assert "/nodes/a/needs/0" in problems(nodes)


class TestExpressions:
    @pytest.mark.parametrize(
        ("node", "at"),
        [
            ({"when": "1 +"}, "/nodes/b/when"),
            ({"when": "${{ true }}"}, "/nodes/b/when"),
            ({"when": "parms.x"}, "/nodes/b/when"),
            ({"needs": [{"node": "a", "when": "(("}]}, "/nodes/b/needs/0/when"),
            ({"config": {"uri": "x ${{ 1 + }}"}}, "/nodes/b/config/uri"),
            ({"config": {"uri": "${{ params.x"}}, "/nodes/b/config/uri"),
            ({"map": {"over": "nodes[0]"}}, "/nodes/b/map/over"),
            ({"map": {"over": ["${{ item }}"]}}, "/nodes/b/map/over/0"),
        ],
    )
    def test_an_expression_that_cannot_work_is_refused_with_its_place(
        self, node: dict[str, Any], at: str
    ) -> None:
        assert list(problems({"a": {}, "b": node})) == [at]

    def test_item_is_there_only_in_the_config_of_a_map(self) -> None:
        config = {"config": {"uri": "${{ item.uri }}"}}
        checked({"a": {**config, "map": {"over": [1]}}})
        assert "map node" in problems({"a": config})["/nodes/a/config/uri"]
        assert "/nodes/a/when" in problems({"a": {"map": {"over": [1]}, "when": "item == 1"}})

    def test_the_params_of_a_trigger_read_only_the_event(self) -> None:
        hook = {"name": "h", "params": {"x": "${{ params.y }}"}}
        assert "/triggers/0/webhook/params/x" in problems({"a": {}}, triggers=[{"webhook": hook}])
        checked({"a": {}}, triggers=[{"webhook": {"name": "h", "params": {"x": "${{ event.body.y }}"}}}])

    def test_two_triggers_cannot_share_a_name(self) -> None:
        hooks = [{"webhook": {"name": "h"}}, {"webhook": {"name": "h"}}]
        assert "/triggers/1/webhook/name" in problems({"a": {}}, triggers=hooks)


class TestTypes:
    def test_a_type_is_pinned_to_its_newest_version(self) -> None:
        workflow = checked({"a": {"type": "step"}, "b": {"type": "step@1"}})
        assert workflow.nodes["a"].type == "step@2"
        assert workflow.canonical()["nodes"] == {"a": {"type": "step@2"}, "b": {"type": "step@1"}}

    def test_an_unknown_type_gets_a_suggestion(self) -> None:
        assert (
            problems({"a": {"type": "stpe"}})["/nodes/a/type"]
            == "there is no node type 'stpe'; did you mean 'step'?"
        )

    def test_an_unknown_version_is_refused(self) -> None:
        assert (
            problems({"a": {"type": "step@9"}})["/nodes/a/type"] == "'step' has no version 9; the newest is 2"
        )

    def test_a_configuration_is_judged_by_the_schema_of_its_type(self) -> None:
        found = problems({"a": {"config": {"percent": 101, "percnt": 1}}, "b": {"type": "needy"}})
        assert set(found) == {"/nodes/a/config/percent", "/nodes/a/config/percnt", "/nodes/b/config"}

    def test_a_value_that_is_an_expression_is_not_judged(self) -> None:
        checked({"a": {"config": {"percent": "${{ params.percent }}"}}})


class TestParams:
    def test_params_must_be_a_json_schema(self) -> None:
        assert "/params/properties/a/type" in problems(
            {"a": {}}, params={"properties": {"a": {"type": "txt"}}}
        )

    def test_a_reference_to_elsewhere_is_refused(self) -> None:
        assert "/params/$ref" in problems({"a": {}}, params={"$ref": "https://example.com/schema"})

    def test_a_default_must_fit_its_own_schema(self) -> None:
        params = {"required": ["b"], "properties": {"a": {"type": "integer", "default": "x"}, "b": {}}}
        assert list(problems({"a": {}}, params=params)) == ["/params/properties/a/default"]


class TestAllOfIt:
    def test_what_is_invalid_is_reported_first(self) -> None:
        assert list(problems({"a": {"priority": 1, "when": "("}})) == ["/nodes/a/when"]

    def test_what_is_executed_is_accepted(self) -> None:
        checked(
            {
                "a": {"retry": {"max_attempts": 2}, "timeout": {"queued": "1h", "start": "1m", "run": "2h"}},
                "pause": {"wait": {"duration": "1h"}, "needs": ["a"]},
                "fan": {"needs": ["pause"], "map": {"over": [1, 2], "max_parallel": 2, "tolerate": 0.5}, "tolerate": 0.1},
                "last": {"needs": [{"node": "fan", "when": "nodes.fan.metadata.count > 0"}], "join": "all_done",
                         "allow_failure": True, "priority": 1, "pools": ["db", {"name": "g", "slots": 2}], "when": "params.go"},
            },
            description="all of it", on_failure="fail", timeout="6h",
            concurrency={"key": "${{ params.go }}", "max": 2, "on_limit": "reject"},
            params={"properties": {"go": {"type": "boolean"}}},
            defaults={"retry": {"factor": 3}, "timeout": {"run": "3h", "queued": "1d"}},
            output={"n": "${{ nodes.fan.metadata.count }}"},
            triggers=[{"webhook": {"name": "h", "signature": "github"}}],
        )  # fmt: skip
