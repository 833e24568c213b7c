"""A DAG as an outline."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.cli.outline import MAX_DRAWN, outline, topological


def drawn(needs: dict[str, list[str]]) -> list[str]:
    return [row.lead + row.name for row in outline(needs)]


def test_a_chain_stays_flush():
    assert drawn({"a": [], "b": ["a"], "c": ["b"]}) == ["a", "b", "c"]


def test_a_fan_out_is_indented_and_its_fan_in_comes_back():
    needs = {
        "split": [],
        "reprice": ["split"],
        "images": ["split"],
        "merge": ["reprice", "images"],
        "publish": ["merge"],
    }
    assert drawn(needs) == ["split", "├─ reprice", "└─ images", "merge", "publish"]


def test_a_branch_keeps_its_own_chain_beside_the_line():
    needs = {"a": [], "b": ["a"], "b2": ["b"], "c": ["a"], "end": ["b2", "c"]}
    assert drawn(needs) == ["a", "├─ b", "│  b2", "└─ c", "end"]


def test_a_fan_out_inside_a_fan_out_is_indented_twice():
    needs = {"a": [], "b": ["a"], "x": ["b"], "y": ["b"], "c": ["a"]}
    assert drawn(needs) == ["a", "├─ b", "│  ├─ x", "│  └─ y", "└─ c"]


def test_several_roots_stand_side_by_side():
    assert drawn({"a": [], "b": [], "join": ["a", "b"]}) == ["a", "b", "join"]


def test_a_node_that_skips_a_level_hangs_below_what_all_its_paths_share():
    needs = {"a": [], "b": ["a"], "c": ["a", "b"]}
    assert drawn(needs) == ["a", "└─ b", "c"]


def test_a_graph_nobody_could_read_is_listed_flat():
    needs = {"root": [], **{f"n{i}": ["root"] for i in range(MAX_DRAWN)}}
    assert drawn(needs)[:2] == ["root", "n0"]


def test_a_cycle_ends_as_well():
    assert topological({"a": ["b"], "b": ["a"], "c": []}) == ["c", "a", "b"]


@st.composite
def dags(draw: st.DrawFn) -> dict[str, list[str]]:
    size = draw(st.integers(1, 12))
    return {
        f"n{i}": sorted(draw(st.sets(st.sampled_from([f"n{j}" for j in range(i)]), max_size=3))) if i else []
        for i in range(size)
    }


@given(dags())
def test_every_node_appears_once_and_below_what_it_needs(needs: dict[str, list[str]]):
    names = [row.name for row in outline(needs)]
    assert sorted(names) == sorted(needs)
    place = {name: i for i, name in enumerate(names)}
    assert all(place[up] < place[name] for name, ups in needs.items() for up in ups)
