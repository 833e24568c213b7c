"""A workflow document: what it may say, every problem named with its pointer, one canonical form, one JSON Schema."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import orjson
import pytest
import yaml

from app.core.spec import MAX_NODES, parse_workflow, workflow_schema
from app.errors import InvalidInput

BRAND_AGGREGATOR: dict[str, Any] = yaml.safe_load("""
name: brand-aggregator
description: One brand's feed, re-priced, watermarked, published
params:
  type: object
  required: [feed]
  properties:
    feed: {type: string}
    brand: {type: string, default: ""}
concurrency: {key: "${{ params.brand }}", max: 1, on_limit: queue, max_queued: 1000}
timeout: 6h
on_failure: continue
retention: 30d
defaults: {retry: {max_attempts: 3, initial: 1s, factor: 2, max: 100s}, timeout: {start: 10m, run: 1h, heartbeat: 1m}}
nodes:
  read:     {type: catalog-read, config: {uri: "${{ params.feed }}"}}
  filter:   {type: catalog-filter, needs: [read], config: {brand: "${{ params.brand }}"}}
  split:    {type: catalog-split, needs: [filter], config: {size: 500}}
  reprice:  {type: catalog-reprice, needs: [split], pools: [pricing-db], config: {percent: 5},
             map: {over: "nodes.split.metadata.parts", max_parallel: 8, tolerate: 0.02}}
  images:   {type: image-watermark, needs: [split], map: {over: "nodes.split.metadata.parts"}, timeout: {run: 10m},
             tolerate: 0.01}
  merge:    {type: catalog-merge, needs: [reprice, images]}
  approve:  {approval: {message: "Publish ${{ nodes.merge.metadata.count }} products?", timeout: 2d}, needs: [merge],
             when: "nodes.merge.metadata.count > 10000"}
  publish:  {service: {url: "https://search.example/feeds", method: POST, secret: search-api}, needs: [merge, approve],
             join: none_failed}
output: {published: "${{ nodes.publish.metadata.count }}"}
triggers:
  - webhook: {name: feed-arrived, signature: standard, params: {feed: "${{ event.body.url }}"}}
  - schedule: {name: nightly, cron: "0 2 * * *", time_zone: Europe/Berlin, catch_up: 1h,
               params: {feed: "file:feeds/all.ndjson"}}
  - event: {name: price-drop, type: "com.example.price.*", when: "event.data.percent > 10",
            params: {feed: "${{ event.data.feed }}"}}
  - run: {name: after-import, workflow: importer, status: succeeded}
""")
"""The example of the public contract, with every kind of trigger."""

NODE: dict[str, Any] = {"type": "step"}


def document(node: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": "w", "nodes": {"a": {**NODE, **(node or {})}}, **more}


def problems(raw: Any) -> dict[str, str]:
    """Pointer to detail of everything that is wrong."""
    with pytest.raises(InvalidInput) as caught:
        parse_workflow(raw)
    return dict(caught.value.places)


class TestExample:
    def test_the_example_of_the_contract_is_valid(self) -> None:
        workflow = parse_workflow(BRAND_AGGREGATOR)
        assert list(workflow.nodes)[:3] == ["read", "filter", "split"]
        assert [trigger.kind for trigger in workflow.triggers or ()] == [
            "webhook",
            "schedule",
            "event",
            "run",
        ]

    def test_the_example_fits_the_published_schema(self) -> None:
        jsonschema_rs.Draft202012Validator(workflow_schema()).validate(BRAND_AGGREGATOR)

    def test_the_canonical_form_of_the_example_is_the_example(self) -> None:
        assert parse_workflow(BRAND_AGGREGATOR).canonical() == BRAND_AGGREGATOR


class TestCanonicalForm:
    def test_the_same_content_gives_the_same_bytes(self) -> None:
        one = {"name": "w", "nodes": {"a": {"type": "t"}, "b": {"type": "t", "needs": ["a"], "when": "true"}}}
        two = {
            "nodes": {
                "a": {"needs": [], "type": "t"},
                "b": {"when": "true", "needs": [{"node": "a"}], "type": "t"},
            },
            "name": "w",
        }
        assert orjson.dumps(parse_workflow(one).canonical()) == orjson.dumps(parse_workflow(two).canonical())

    def test_the_order_of_nodes_is_kept(self) -> None:
        raw = {"name": "w", "nodes": {"z": NODE, "a": NODE, "m": NODE}}
        assert list(parse_workflow(raw).canonical()["nodes"]) == ["z", "a", "m"]

    def test_it_is_its_own_canonical_form(self) -> None:
        raw = document(
            {"needs": [{"node": "b", "when": "true"}], "pools": [{"name": "p"}, {"name": "q", "slots": 2}]}
        )
        canonical = parse_workflow(raw).canonical()
        assert canonical["nodes"]["a"]["pools"] == ["p", {"name": "q", "slots": 2}]
        assert parse_workflow(canonical).canonical() == canonical


class TestKinds:
    @pytest.mark.parametrize(
        "node",
        [
            {"type": "step"}, {"type": "step@2"}, {"image": "ghcr.io/org/step:1.0@sha256:ab"},
            {"service": {"url": "https://x.example/${{ params.a }}"}}, {"workflow": "child"},
            {"workflow": {"name": "child", "params": {"a": 1}}}, {"approval": {"message": "Go?"}},
            {"wait": {"duration": "10m"}}, {"wait": {"duration": 0}}, {"wait": {"duration": "0s"}},
            {"wait": {"until": "${{ params.at }}"}}, {"wait": {"duration": "${{ params.pause }}"}},
        ],
    )  # fmt: skip
    def test_a_node_is_one_of_six_kinds(self, node: dict[str, Any]) -> None:
        raw = {"name": "w", "nodes": {"a": node}}
        assert parse_workflow(raw).canonical() == raw
        jsonschema_rs.Draft202012Validator(workflow_schema()).validate(raw)

    @pytest.mark.parametrize(
        "node", [{}, {"config": {}}, {"type": "t", "image": "i"}, {"type": "t", "wait": {"duration": 0}}]
    )
    def test_a_node_is_exactly_one_of_them(self, node: dict[str, Any]) -> None:
        raw = {"name": "w", "nodes": {"a": node}}
        assert "exactly one of" in problems(raw)["/nodes/a"]
        assert not jsonschema_rs.Draft202012Validator(workflow_schema()).is_valid(raw)

    @pytest.mark.parametrize(
        "kind", [{"wait": {"duration": 0}}, {"approval": {"message": "?"}}, {"workflow": "w"}]
    )
    def test_pools_are_refused_where_no_slot_is_held(self, kind: dict[str, Any]) -> None:
        raw = {"name": "w", "nodes": {"a": {**kind, "pools": ["db"]}}}
        assert "holds no slot" in problems(raw)["/nodes/a/pools"]

    @pytest.mark.parametrize(
        "wait", [{}, {"duration": "1h", "until": "2030-01-01T00:00:00Z"}, {"duration": "soon"}]
    )
    def test_a_wait_has_one_end(self, wait: dict[str, Any]) -> None:
        assert "/nodes/a/wait" in problems({"name": "w", "nodes": {"a": {"wait": wait}}})


class TestProblems:
    def test_all_problems_are_reported_together(self) -> None:
        raw = document(
            {"priority": 6, "retry": {"max_attempts": 0}, "needs": ["b", 3]},
            timeout="soon",
            on_failure="stop",
        )
        assert set(problems(raw)) == {
            "/timeout", "/on_failure", "/nodes/a/priority", "/nodes/a/retry/max_attempts", "/nodes/a/needs/1",
        }  # fmt: skip

    def test_at_most_fifty_are_reported(self) -> None:
        assert len(problems({"name": "w", "nodes": {f"n{i}": {"tipe": "x"} for i in range(100)}})) == 50

    @pytest.mark.parametrize(
        ("raw", "at", "meant"),
        [
            (document(descripton="x"), "/descripton", "description"),
            (document({"confg": {}}), "/nodes/a/confg", "config"),
            (document({"retry": {"attempts": 1}}), "/nodes/a/retry/attempts", "max_attempts"),
            (document({"needs": [{"node": "b", "whn": "x"}]}), "/nodes/a/needs/0/whn", "when"),
            (document(triggers=[{"webhok": {"name": "x"}}]), "/triggers/0/webhok", "webhook"),
        ],
    )
    def test_an_unknown_field_gets_a_suggestion(self, raw: Any, at: str, meant: str) -> None:
        field = at.rpartition("/")[2]
        assert problems(raw)[at] == f"unknown field '{field}'; did you mean '{meant}'?"

    @pytest.mark.parametrize("name", ["A", "1a", "a-b", "", "a" * 64, "é", "a\n"])
    def test_a_node_name_has_a_pattern(self, name: str) -> None:
        assert "lower-case letters" in next(iter(problems({"name": "w", "nodes": {name: NODE}}).values()))

    @pytest.mark.parametrize("name", ["in", "true", "null", "for"])
    def test_a_reserved_word_of_cel_is_no_node_name(self, name: str) -> None:
        assert "reserved word of CEL" in problems({"name": "w", "nodes": {name: NODE}})[f"/nodes/{name}"]

    @pytest.mark.parametrize(
        ("node", "at"),
        [
            ({"type": "${{ params.type }}"}, "/nodes/a/type"),
            ({"image": "x/${{ params.tag }}", "type": None}, "/nodes/a/image"),
            ({"pools": ["${{ params.pool }}"]}, "/nodes/a/pools/0"),
            ({"service": {"url": "${{ params.url }}"}}, "/nodes/a/service/url"),
            ({"service": {"url": "https://${{ params.host }}/x"}}, "/nodes/a/service/url"),
            (
                {"service": {"url": "https://x.example", "secret": "${{ params.s }}"}},
                "/nodes/a/service/secret",
            ),
        ],
    )
    def test_an_expression_cannot_choose_what_runs_or_who_is_called(
        self, node: dict[str, Any], at: str
    ) -> None:
        assert "expression" in problems(document(node))[at]

    @pytest.mark.parametrize("field", ["needs", "config", "retry", "when", "timeout", "map"])
    def test_null_is_no_value(self, field: str) -> None:
        assert f"/nodes/a/{field}" in problems(document({field: None}))

    @pytest.mark.parametrize("duration", ["0s", "10", "1.5h", 10, "9999d"])
    def test_a_duration_is_longer_than_zero(self, duration: Any) -> None:
        assert "/timeout" in problems(document(timeout=duration))

    @pytest.mark.parametrize("raw", [None, [], "x", 3])
    def test_a_document_is_an_object(self, raw: Any) -> None:
        assert problems(raw) == {"": "a workflow is an object"}

    @pytest.mark.parametrize("nodes", [{}, [], None, "a"])
    def test_there_is_at_least_one_node(self, nodes: Any) -> None:
        assert "at least one node" in problems({"name": "w", "nodes": nodes})["/nodes"]

    def test_name_and_nodes_are_required(self) -> None:
        with pytest.raises(InvalidInput) as caught:
            parse_workflow({})
        assert {place.detail for place in caught.value.places} == {
            "the field 'name' is required",
            "the field 'nodes' is required",
        }


class TestHostileDocuments:
    def test_a_nul_is_refused_wherever_it_is(self) -> None:
        raw = document({"config": {"a": ["x", "y\0z"], "k\0": 1}})
        assert set(problems(raw)) == {"/nodes/a/config/a/1", "/nodes/a/config"}

    def test_half_a_surrogate_pair_is_refused(self) -> None:
        assert "/description" in problems(document(description="\ud800"))

    @pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
    def test_numbers_are_finite(self, number: float) -> None:
        assert problems(document({"config": {"n": number}})) == {
            "/nodes/a/config/n": "must be a finite number"
        }

    def test_nesting_is_bounded(self) -> None:
        deep: Any = {}
        for _ in range(900):
            deep = {"x": deep}
        assert "nested more than" in next(iter(problems(document({"config": deep})).values()))

    def test_keys_are_text(self) -> None:
        assert "must be text" in problems(document({"config": {1: 2}}))["/nodes/a/config"]

    def test_more_than_two_hundred_thousand_nodes_are_refused(self) -> None:
        raw = {"name": "w", "nodes": dict.fromkeys(map("n{}".format, range(MAX_NODES + 1)), NODE)}
        assert "at most 200,000 nodes" in problems(raw)["/nodes"]

    def test_thousands_of_unknown_fields_are_not_all_looked_at(self) -> None:
        assert len(problems(document({f"f{i}": i for i in range(100_000)}))) == 50


class TestSchema:
    def test_it_is_json_schema_2020_12(self) -> None:
        schema = workflow_schema()
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        jsonschema_rs.meta.validate(schema)

    def test_every_field_has_a_title_for_the_form(self) -> None:
        schema = workflow_schema()
        for name, definition in schema["$defs"].items():
            for field, described in definition.get("properties", {}).items():
                assert "title" in described or "$ref" in described, f"{name}.{field}"

    def test_null_is_not_in_it(self) -> None:
        assert b"null" not in orjson.dumps(workflow_schema())
