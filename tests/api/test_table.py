"""How a request finds its route, and how documents are compared."""

from __future__ import annotations

from typing import Any

import pytest

from app.api.difference import difference
from app.api.pages import Pages
from app.api.problems import MethodNotAllowed
from app.api.routes import ROUTES
from app.api.table import Table


@pytest.fixture
def table() -> Table:
    return Table(ROUTES, Pages())


def test_every_route_is_found_by_its_own_path(table: Table):
    for route in ROUTES:
        path = "/".join("v" if part.startswith("{") else part for part in route.path.split("/"))
        found = table.find(route.method, path)
        assert found is not None
        assert found[0] is route
        assert found[1] == dict.fromkeys(route.parameters, "v")


def test_no_two_routes_share_a_method_and_a_path():
    shapes = [(route.method, route.path) for route in ROUTES]
    assert len(shapes) == len(set(shapes))


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1",
        "/api/v1/workflows/",
        "/api/v1//workflows",
        "/api/v1/runs//nodes",
        "/API/v1/runs",
        "/hooks",
        "/hooks/",
    ],
)
def test_what_is_nearly_a_path_is_none(table: Table, path: str):
    assert table.find("GET", path) is None


def test_head_asks_for_what_get_gives(table: Table):
    found = table.find("HEAD", "/livez")
    assert found is not None
    assert found[0].method == "GET"


def test_another_method_is_told_the_allowed_ones(table: Table):
    with pytest.raises(MethodNotAllowed) as caught:
        table.find("PATCH", "/api/v1/workflows/shop")
    assert caught.value.extra["allow"] == "DELETE, GET, HEAD, PUT"


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("replace", "/a")]),
        ({"a": 1}, {"a": True}, [("replace", "/a")]),
        ({"a": {"b": [1]}}, {"a": {"b": [1, 2]}}, [("replace", "/a/b")]),
        ({"a/b": 1}, {"c~d": 1}, [("remove", "/a~1b"), ("add", "/c~0d")]),
    ],
)
def test_differences_are_told_by_place(old: Any, new: Any, changes: list[tuple[str, str]]):
    assert [(change["op"], change["pointer"]) for change in difference(old, new)] == changes
