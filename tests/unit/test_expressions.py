"""Expressions and templates: types that survive, errors that name the place, and work that stays bounded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.expressions import Expression, Template, expression
from app.errors import ExpressionError

ENV: dict[str, Any] = {
    "params": {
        "feed": "file:a", "count": 3, "rate": 1.5, "whole": 2.0, "none": None, "yes": True, "big": 2**63,
        "list": [1, 2, 3], "parts": [{"uri": "a", "brand": "x"}, {"uri": "b", "brand": "y"}], "dash-ed": 1,
    },
    "nodes": {"read": {"metadata": {"count": 7}, "status": "succeeded"}, "skip": {"metadata": None, "status": "skipped"}},
    "run": {"id": "r1"},
}  # fmt: skip
WORDS = [
    "params",
    "nodes",
    "a",
    "metadata",
    "map",
    "size",
    "x",
    "1",
    "2.5",
    "null",
    "in",
    "'a'",
    "r'",
    '"',
    "\\",
    *".,()[]{}?:+-!<",
]
"""What random expressions are made of."""


def value(source: str) -> Any:
    return expression(source).evaluate(ENV)


def fault(source: str, env: dict[str, Any] | None = None) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        expression(source).evaluate(ENV if env is None else env, "/config/x")
    return caught.value


class TestValues:
    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("params.count", 3),
            ("params.whole", 2.0),
            ("params.none", None),
            ("params.big", 2**63),
            ('params["dash-ed"]', 1),
            ("params.count + 1", 4),
            ("params.rate * 2.0", 3.0),
            ("params.count > 2.5", True),
            ("nodes.read.metadata.count >= 7 && nodes.read.status == 'succeeded'", True),
            ("params.list.map(x, x * 2)", [2, 4, 6]),
            ("params.list.map(x, x > 1, x * 2)", [4, 6]),
            ("params.parts.filter(p, p.brand == 'x').map(p, p.uri)", ["a"]),
            ("size(params.list.filter(x, x > 1)) == 2", True),
            ("params.list.exists(x, x == 2) && params.list.all(x, x > 0)", True),
            ("params.list.exists_one(x, x > 2)", True),
            ("params.feed.matches('^file:')", True),
            ("string(params.yes) + string(params.count)", "true3"),
            ("has(params.nothing) ? params.nothing : 'default'", "default"),
            ("{'a': params.list}", {"a": [1, 2, 3]}),
            ("timestamp('2030-01-01T02:00:00+02:00')", "2030-01-01T00:00:00Z"),
            ("timestamp('2030-01-01T00:00:00Z') + duration('1h')", "2030-01-01T01:00:00Z"),
            ("duration('90m')", "90m"),
            ("b'abc'", "YWJj"),
        ],
    )
    def test_a_result_is_a_json_value_of_its_own_type(self, source: str, expected: Any) -> None:
        result = value(source)
        assert result == expected
        assert type(result) is type(expected)

    def test_a_macro_that_is_not_reached_is_not_run(self) -> None:
        assert value("false && params.list.all(x, 1 / 0 > x)") is False

    def test_an_error_in_exists_does_not_matter_when_another_element_decides(self) -> None:
        assert value("[0, 1].exists(x, 1 / x == 1)") is True

    def test_the_keys_of_a_map_come_sorted(self) -> None:
        assert expression("params.map(k, k)").evaluate({"params": {"b": 1, "a": 2}}) == ["a", "b"]

    def test_expressions_can_be_evaluated_in_several_threads(self) -> None:
        with ThreadPoolExecutor(4) as pool:
            assert set(
                pool.map(lambda _: value("params.count + size(params.list.map(x, x))"), range(100))
            ) == {6}


class TestErrors:
    def test_a_missing_value_is_named_with_its_place(self) -> None:
        error = fault("params.fed")
        assert error.message == "/config/x: params.fed does not exist (in params.fed)"
        assert error.extra == {"missing": "params.fed", "place": "/config/x"}

    def test_a_missing_value_is_named_inside_a_larger_expression_too(self) -> None:
        assert fault("params.count + nodes.read.metadata.size").extra["missing"] == "nodes.read.metadata.size"

    def test_the_metadata_of_a_skipped_node_does_not_exist(self) -> None:
        assert fault("nodes.skip.metadata.count").extra["missing"] == "nodes.skip.metadata.count"

    def test_a_value_that_is_tested_before_it_is_read_is_not_blamed(self) -> None:
        assert fault("has(params.a) ? params.a : params.b").extra["missing"] == "params.b"

    def test_a_variable_that_is_not_there_is_missing(self) -> None:
        assert fault("item.uri + 'x'").extra["missing"] == "item"

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("1 / 0", "division by zero"),
            ("9223372036854775807 + 1", "outside the range"),
            ("params.list[9] + 1", "out of bounds"),
            ("params.count * params.rate", "int and double do not mix"),
            ("params.feed + 1", "types do not go together"),
            ("params.feed.map(x, x)", "needs a list or a map"),
            ("params.list.filter(x, x)", "must be true or false"),
            ("params.list.map(x, x.y)", "types do not go together"),
            ("params.parts.map(p, p.url)", "'url' does not exist"),
            ("1.0 / 0.0", "not a finite number"),
            ("{1: 2}", "keys of a map must be text"),
            ("size(1)", "could not be evaluated"),
            ("int('x')", "could not be evaluated"),
            ("params.feed.matches('(')", "pattern that is not valid"),
            ("'a'.matches('(a{1000}){1000}')", "pattern that is not valid or too large"),
            ("1 +", "syntax error at line 1, column 4"),
        ],
    )
    def test_every_failure_has_one_sentence_of_ours(self, source: str, message: str) -> None:
        assert message in fault(source).message

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join))
    def test_whatever_the_text_only_our_error_comes_out(self, source: str) -> None:
        with suppress(ExpressionError):
            expression(source).evaluate(ENV)

    def test_the_library_is_not_quoted(self) -> None:
        assert (
            fault("1 + + 'a' 'b'").message
            == "/config/x: not valid CEL: syntax error at line 1, column 5 (in 1 + + 'a' 'b')"
        )

    def test_a_value_that_is_not_json_is_our_error_too(self) -> None:
        assert "not JSON" in fault("params.x == 1", {"params": {"x": "\ud800"}}).message


class TestBounds:
    def test_a_hundred_thousand_elements_are_filtered_in_linear_time(self) -> None:
        env = {"params": {"list": [{"n": index} for index in range(100_000)]}}
        result = expression("params.list.filter(x, x.n % 2 == 0)").evaluate(env)
        assert len(result) == 50_000

    @pytest.mark.parametrize(
        "source",
        [
            "params.list.map(x, params.list)",
            "params.list.map(x, params.text + 'a')",
            "+".join(["params.text"] * 150),
            "params.list.all(x, params.list.size() > x)",
        ],
    )
    def test_an_expression_that_multiplies_its_values_is_refused_before_it_runs(self, source: str) -> None:
        env = {"params": {"list": list(range(20_000)), "text": "x" * 1_000_000}}
        assert "too much work" in fault(source, env).message

    def test_only_what_is_read_counts(self) -> None:
        env = {"params": {"huge": ["x" * 1000] * 100_000, "small": 1}}
        assert expression("params.small + 1").evaluate(env) == 2

    def test_a_pattern_cannot_run_away(self) -> None:
        env = {"params": {"text": "a" * 100_000 + "!"}}
        assert expression("params.text.matches('^(a+)+$')").evaluate(env) is False

    def test_patterns_that_are_data_are_few_where_they_are_costly(self) -> None:
        cheap = {"params": {"patterns": [f"^brand-{number}$" for number in range(1000)]}}
        costly = {"params": {"patterns": [rf"^\pL{{{number}}}$" for number in range(1, 1000)]}}
        source = "params.patterns.exists(p, 'brand-999'.matches(p))"
        assert expression(source).evaluate(cheap) is True
        assert "too much work" in fault(source, costly).message

    def test_results_count(self) -> None:
        env = {"params": {"few": list(range(100)), "many": list(range(100_000))}}
        assert "too much work" in fault("params.few.map(x, params.many)", env).message


class TestTemplates:
    def test_alone_an_expression_keeps_its_type(self) -> None:
        template = Template({"a": "${{ params.list }}", "b": ["${{params.count}}"], "c": "plain"})
        assert template.render(ENV) == {"a": [1, 2, 3], "b": [3], "c": "plain"}

    def test_inside_text_it_becomes_text(self) -> None:
        template = Template(
            "${{ params.feed }}: ${{ params.yes }} ${{ params.none }} ${{ params.list }} ${{ params.whole }}"
        )
        assert template.render(ENV) == "file:a: true null [1,2,3] 2.0"

    def test_braces_and_quotes_inside_the_expression_do_not_end_it(self) -> None:
        assert Template("${{ {'a': {'b': '}}'}} }}").render(ENV) == {"a": {"b": "}}"}}

    def test_a_template_may_show_its_own_brackets(self) -> None:
        assert Template("${{ '$' + '{{' }} x").render(ENV) == "${{ x"

    def test_what_has_no_expression_is_static_and_returned_as_it_is(self) -> None:
        config = {"a": [1, {"b": "$ {{"}]}
        template = Template(config)
        assert template.static
        assert template.render({}) is config

    def test_the_nodes_read_are_known_without_rendering(self) -> None:
        template = Template({"a": "${{ nodes.x.metadata.u }}", "b": ["n ${{ nodes.y.status }}"]})
        assert template.reads == {"x", "y"}

    def test_an_error_names_the_place_inside_the_value(self) -> None:
        with pytest.raises(ExpressionError, match=r"^/config/a~1b/1: params\.nothing does not exist"):
            Template({"a/b": [1, "${{ params.nothing }}"]}).render(ENV, "/config")

    @pytest.mark.parametrize("text", ["${{ params.x", "${{ params.x }", "a ${{ ' }}"])
    def test_an_expression_that_is_not_closed_is_refused(self, text: str) -> None:
        with pytest.raises(ExpressionError, match="not closed"):
            Template(text)

    def test_an_expression_in_a_key_is_refused(self) -> None:
        with pytest.raises(ExpressionError, match="in a key"):
            Template({"${{ params.x }}": 1})

    def test_a_value_nested_without_end_is_refused(self) -> None:
        deep: Any = "x"
        for _ in range(900):
            deep = [deep]
        with pytest.raises(ExpressionError, match="nested too deeply"):
            Template(deep)
        with pytest.raises(ExpressionError, match="nested too deeply"):
            Template("deep: ${{ params.x }}").render({"params": {"x": deep}})

    def test_a_template_cannot_write_text_without_end(self) -> None:
        template = Template(["${{ params.text }}."] * 20)
        with pytest.raises(ExpressionError, match="longer than 16 MiB"):
            template.render({"params": {"text": "x" * 1_000_000}})

    def test_a_value_that_is_read_often_counts_often(self) -> None:
        template = Template(["${{ params.text }}"] * 20)
        with pytest.raises(ExpressionError, match="longer than 16 MiB"):
            template.render({"params": {"text": "x" * 1_000_000}})

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=8,
        )
    )
    def test_a_value_read_alone_is_the_value(self, given_value: Any) -> None:
        assert Template("${{ params.x }}").render({"params": {"x": given_value}}) == given_value


def test_equal_sources_share_one_expression() -> None:
    assert expression("params.a + 1") is expression("params.a + 1")


def test_nothing_is_compiled_until_it_is_needed() -> None:
    later = Expression("params.a + ")
    with pytest.raises(ExpressionError, match="syntax error"):
        later.compile()
