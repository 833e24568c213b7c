"""What an expression reads is known from its text, before anything runs."""

from __future__ import annotations

import pytest

from app.core.cel_source import analyse, template_end
from app.errors import ExpressionError


def reads(source: str) -> set[str]:
    return {path[1] for path in analyse(source).uses if path[0] == "nodes"}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("nodes.a.metadata.count > 3", {"a"}),
        ("nodes[\"a\"].status == 'failed' || nodes . b . metadata.x", {"a", "b"}),
        ("params.list.filter(x, x > nodes.limit.metadata.max)", {"limit"}),
        ("'nodes.hidden.metadata' + nodes.seen.metadata.x", {"seen"}),
        ("nodes.seen.metadata.x // nodes.comment.metadata", {"seen"}),
        ('r"\\" + nodes.after_raw.metadata.x', {"after_raw"}),
        ('"""a " quote""" + nodes.after_triple.metadata.x', {"after_triple"}),
        ("{'nodes': 1}.nodes == params.nodes", set()),
        ("has(nodes.a.metadata.x) ? 1 : 2", {"a"}),
    ],
)
def test_the_nodes_read_are_found_in_the_text(source: str, names: set[str]) -> None:
    assert reads(source) == names


@pytest.mark.parametrize(
    "source", ["nodes", "nodes[params.x]", "nodes['a' + 'b'].status", "size(nodes)", "nodes.size()"]
)
def test_a_node_that_is_not_named_in_the_text_is_refused(source: str) -> None:
    with pytest.raises(ExpressionError, match=r"write nodes\.NAME"):
        analyse(source)


def test_only_metadata_and_status_of_a_node_can_be_read() -> None:
    with pytest.raises(ExpressionError, match=r"did you mean nodes\.split\.metadata\.parts"):
        analyse("nodes.split.parts")


def test_an_unknown_variable_gets_a_suggestion() -> None:
    with pytest.raises(ExpressionError, match="'param' is no variable; did you mean 'params'"):
        analyse("param.feed")


def test_an_unknown_function_gets_a_suggestion() -> None:
    with pytest.raises(ExpressionError, match="'startWith' is no function; did you mean 'startsWith'"):
        analyse("params.feed.startWith('a')")


def test_a_macro_inside_a_macro_is_refused() -> None:
    with pytest.raises(ExpressionError, match="one deep"):
        analyse("params.a.map(x, params.b.map(y, x + y))")


def test_one_macro_after_another_is_fine() -> None:
    found = analyse("params.a.filter(x, x > 1).map(y, y * 2)")
    assert [macro.kind for macro in found.macros] == ["filter", "map"]


@pytest.mark.parametrize("name", ["nodes", "params", "in", "int"])
def test_the_variable_of_a_macro_cannot_hide_another_one(name: str) -> None:
    with pytest.raises(ExpressionError, match="cannot be called"):
        analyse(f"params.a.map({name}, 1)")


def test_an_expression_is_at_most_two_kibibytes() -> None:
    analyse("'" + "é" * 1023 + "'")
    with pytest.raises(ExpressionError, match="2 KiB"):
        analyse("'" + "é" * 1024 + "'")


def test_an_expression_that_is_only_a_path_needs_no_cel() -> None:
    assert analyse('params["a-b"].c').path == ("params", "a-b", "c")
    assert analyse("params.c + 1").path is None


def test_bare_cel_is_told_to_leave_out_the_template() -> None:
    with pytest.raises(ExpressionError, match=r"without \$\{\{"):
        analyse("${{ params.x }}")


@pytest.mark.parametrize("text", ["{'a': {'b': 1}} }} rest", "'}}' }} rest", "1 // }}\n }} rest"])
def test_the_end_of_a_template_is_not_taken_from_inside_the_expression(text: str) -> None:
    assert text[template_end(text, 0) :] == "}} rest"
