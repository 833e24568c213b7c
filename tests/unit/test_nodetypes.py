"""A node type: a manifest and its pinned reference."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from app.core.nodetypes import NodeType, parse_ref


def test_the_reference_of_a_node_type_names_its_version() -> None:
    assert NodeType(name="catalog-read", version=3, command=["x"]).ref == "catalog-read@3"


def test_a_reference_may_leave_the_version_to_the_publish() -> None:
    assert parse_ref("catalog-read") == ("catalog-read", None)
    assert parse_ref("catalog-read@12") == ("catalog-read", 12)


@pytest.mark.parametrize("ref", ["", "A", "a@", "a@0", "a@-1", "a@1@2", "a b", "a\n"])
def test_what_is_no_reference_gives_nothing(ref: str) -> None:
    assert parse_ref(ref) is None


def test_a_node_type_that_runs_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="an image or a command"):
        NodeType(name="empty")


def test_unknown_fields_of_a_manifest_are_refused() -> None:
    with pytest.raises(ValidationError, match="priviliged"):
        NodeType.model_validate({"name": "a", "image": "b", "priviliged": True})
