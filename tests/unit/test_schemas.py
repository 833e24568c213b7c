"""JSON Schemas that users bring: harmless, compiled once, with their defaults filled in."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.schemas import apply_params, check_config, check_schema, validator
from app.errors import InvalidInput

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["feed"],
    "additionalProperties": False,
    "properties": {
        "feed": {"type": "string"},
        "brand": {"type": "string", "default": ""},
        "limits": {
            "type": "object",
            "properties": {"rows": {"type": "integer", "default": 10}, "share": {"type": "number"}},
        },
        "tags": {"type": "array", "items": {"type": "string"}, "default": ["all"]},
    },
}


def pointers(schema: dict[str, Any]) -> list[str]:
    return [place.pointer for place in check_schema(schema, "/params")]


def refused(params: Any, schema: dict[str, Any] | None = None) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as caught:
        apply_params(schema or SCHEMA, params)
    return [(place.pointer, place.detail) for place in caught.value.places]


class TestDefaults:
    def test_absent_params_get_their_defaults(self) -> None:
        assert apply_params(SCHEMA, {"feed": "f"}) == {"feed": "f", "brand": "", "tags": ["all"]}

    def test_defaults_inside_an_object_that_is_there_are_filled_too(self) -> None:
        assert apply_params(SCHEMA, {"feed": "f", "limits": {}})["limits"] == {"rows": 10}

    def test_a_default_may_stand_in_a_definition(self) -> None:
        schema = {
            "$defs": {"N": {"type": "integer", "default": 3}},
            "properties": {"n": {"$ref": "#/$defs/N"}},
        }
        assert apply_params(schema, {}) == {"n": 3}

    def test_each_run_has_a_default_of_its_own(self) -> None:
        apply_params(SCHEMA, {"feed": "f"})["tags"].append("changed")
        assert apply_params(SCHEMA, {"feed": "f"})["tags"] == ["all"]

    def test_without_a_schema_params_stay_as_they_are(self) -> None:
        assert apply_params(None, {"any": 1}) == {"any": 1}


class TestParams:
    def test_every_problem_has_its_pointer_below_params(self) -> None:
        found = refused({"brand": 3, "limits": {"rows": "x"}, "fed": 1})
        assert sorted(at for at, _ in found) == [
            "/params",
            "/params/brand",
            "/params/fed",
            "/params/limits/rows",
        ]
        assert ("/params", "the field 'feed' is required") in found

    def test_the_value_itself_is_not_repeated(self) -> None:
        assert "secret" not in str(refused({"feed": ["secret"]}))

    @pytest.mark.parametrize("params", [None, [], "x", 1])
    def test_params_are_an_object(self, params: Any) -> None:
        assert refused(params) == [("/params", "must be an object")]

    def test_at_most_fifty_problems_are_reported(self) -> None:
        assert len(refused({"feed": "f", "tags": [1] * 1_000})) == 50

    def test_of_a_large_value_the_first_problem_is_reported(self) -> None:
        schema = {"additionalProperties": {"enum": list(range(30_000))}}
        assert len(refused({f"p{index}": -1 for index in range(30_000)}, schema)) == 1


class TestHostileSchemas:
    @pytest.mark.parametrize(
        "reference",
        ["http://example.com/s", "file:///etc/passwd", "other.json", "//host/x", "urn:x", "#anchor", 3],
    )
    def test_a_reference_cannot_leave_the_document(self, reference: Any) -> None:
        assert pointers({"properties": {"a": {"$ref": reference}}}) == ["/params/properties/a/$ref"]

    def test_a_reference_must_lead_somewhere(self) -> None:
        assert pointers({"$ref": "#/$defs/nothing"}) == ["/params/$ref"]

    @pytest.mark.parametrize("keyword", ["$id", "$dynamicRef", "$anchor"])
    def test_keywords_that_move_references_are_refused(self, keyword: str) -> None:
        assert pointers({"items": {keyword: "#x"}}) == [f"/params/items/{keyword}"]

    def test_a_property_may_be_called_like_such_a_keyword(self) -> None:
        assert pointers({"properties": {"id": {"type": "string"}, "$ref": {"type": "string"}}}) == []

    @pytest.mark.parametrize(
        "schema",
        [
            {"$ref": "#"},
            {"properties": {"a": {"$ref": "#"}}},
            {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        ],
    )
    def test_a_schema_cannot_refer_to_itself(self, schema: dict[str, Any]) -> None:
        assert pointers(schema) == ["/params"]

    def test_references_cannot_multiply(self) -> None:
        definitions: dict[str, Any] = {
            f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)
        } | {"d40": {"type": "string"}}
        assert pointers({"$defs": definitions, "$ref": "#/$defs/d0"}) == ["/params"]

    @pytest.mark.parametrize("pattern", ["(", "(?=a)", "(a{1000}){1000}", "(a)\\1"])
    def test_patterns_that_are_invalid_too_large_or_need_backtracking_are_refused(self, pattern: str) -> None:
        assert pointers({"properties": {"a": {"pattern": pattern}}}) == ["/params/properties/a/pattern"]

    def test_a_pattern_cannot_run_away(self) -> None:
        schema = {"properties": {"a": {"pattern": "^(a+)+$"}}}
        assert refused({"a": "a" * 100_000 + "!"}, schema)[0][0] == "/params/a"

    def test_what_is_no_schema_is_refused_with_the_place(self) -> None:
        assert pointers({"properties": {"a": {"type": "strin"}}}) == ["/params/properties/a/type"]

    def test_an_unknown_dialect_is_refused(self) -> None:
        assert pointers({"$schema": "https://example.com/mine"}) == ["/params/$schema"]
        assert pointers({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}) == []

    def test_an_enum_of_many_objects_is_refused(self) -> None:
        assert pointers({"enum": [{"n": index} for index in range(101)]}) == ["/params/enum"]
        assert pointers({"enum": list(range(10_000))}) == []

    def test_a_schema_is_bounded(self) -> None:
        assert pointers({"enum": ["x" * 300_000]}) == ["/params"]

    def test_a_schema_nested_too_deeply_is_refused(self) -> None:
        schema: dict[str, Any] = {}
        for _ in range(230):
            schema = {"items": schema}
        assert pointers(schema) == ["/params"]


class TestConfig:
    def test_values_that_are_expressions_are_not_type_checked(self) -> None:
        compiled = validator({"properties": {"n": {"type": "integer"}, "m": {"type": "integer"}}})
        found = check_config(compiled, {"n": "${{ params.n }}", "m": "x"}, "/config")
        assert [place.pointer for place in found] == ["/config/m"]

    def test_which_fields_there_are_is_checked_nevertheless(self) -> None:
        compiled = validator({"properties": {"n": {}}, "required": ["q"], "additionalProperties": False})
        found = check_config(compiled, {"n": "${{ params.n }}", "x": "${{ params.x }}"}, "/config")
        assert sorted(place.pointer for place in found) == ["/config", "/config/x"]

    def test_a_choice_that_depends_on_an_expression_is_left_to_the_run(self) -> None:
        schema = {"anyOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"a": {"const": 2}}}]}
        assert check_config(validator(schema), {"a": "${{ params.a }}"}, "/config") == []
        assert check_config(validator(schema), {"a": 3}, "/config") != []
