"""Where a node may run: the executors of an installation and the images its operator allows."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.nodetypes import NodeType
from app.core.placement import Misplaced, Placement, check_placement
from app.core.spec import parse_workflow
from app.errors import InvalidInput, UsageError

MANIFESTS = {
    "local@1": NodeType(name="local", command=["x"]),
    "both@1": NodeType(name="both", command=["x"], image="registry.example/both:1"),
}


def installation(executors: str = "process", allow: str = "") -> Placement:
    return Placement.parse(executors, allow, MANIFESTS)


@pytest.mark.parametrize(
    ("executors", "node", "chosen"),
    [
        ("process", ("local@1", None, None), "process"),
        ("process,kubernetes", ("both@1", None, None), "process"),
        ("kubernetes,process", ("both@1", None, None), "kubernetes"),
        ("kubernetes,process", ("local@1", None, None), "process"),
        ("process,kubernetes", ("both@1", None, "kubernetes"), "kubernetes"),
        ("process,kubernetes", ("from-the-api@3", None, None), "kubernetes"),
        ("process,container", (None, "registry.example/any:1", None), "container"),
    ],
)
def test_a_node_goes_where_it_says_else_to_the_first_executor_that_can_run_it(
    executors: str, node: tuple[Any, Any, Any], chosen: str
):
    assert installation(executors, "registry.example/*").choose(*node) == chosen


def test_an_image_runs_only_where_a_pattern_of_the_operator_allows_it():
    site = installation("kubernetes", "registry.example/team/*@sha256:*")
    assert site.choose(None, "registry.example/team/x@sha256:0f", None) == "kubernetes"
    refused = site.choose(None, "registry.example/team/x:latest", None)
    assert isinstance(refused, Misplaced)
    assert refused.field == "image"
    assert "HEADRACE_IMAGE_ALLOW" in refused.detail


def complaints(site: Placement, **node: Any) -> dict[str, str]:
    workflow = parse_workflow({"name": "w", "nodes": {"a": node}})
    with pytest.raises(InvalidInput) as caught:
        check_placement(workflow, site)
    return dict(caught.value.places)


def test_an_image_where_only_processes_run_is_refused_with_what_to_configure():
    (detail,) = complaints(installation(allow="*"), image="x:1").values()
    assert "HEADRACE_EXECUTORS has process" in detail
    assert "container or kubernetes" in detail


@pytest.mark.parametrize(
    ("node", "at"),
    [
        ({"type": "local@1", "executor": "kubernetes"}, "/nodes/a/executor"),
        ({"type": "local@1", "executor": "nonsense"}, "/nodes/a/executor"),
        ({"type": "from-the-api@1", "executor": "process"}, "/nodes/a/executor"),
        ({"type": "from-the-api@1"}, "/nodes/a/type"),
        ({"image": "foreign.example/x:1"}, "/nodes/a/image"),
        ({"wait": {"duration": "1s"}, "executor": "process"}, "/nodes/a/executor"),
    ],
)
def test_what_can_run_nowhere_is_refused_at_its_place(node: dict[str, Any], at: str):
    assert complaints(installation(), **node).keys() == {at}


@pytest.mark.parametrize("executors", ["", "process,process", "process,slurm", "service"])
def test_settings_that_make_no_sense_are_refused(executors: str):
    with pytest.raises(UsageError, match="HEADRACE_EXECUTORS"):
        installation(executors)
