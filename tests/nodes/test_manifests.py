"""The node type manifests: up to date, and enough for a palette and a form."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest

from headrace_nodes import manifests

NAMES = sorted(path.name for path in manifests.DIRECTORY.glob("*.json"))


def test_the_files_are_what_the_classes_say():
    assert manifests.stale() == [], "run: python -m headrace_nodes.manifests --write"


def manifest(name: str) -> dict[str, Any]:
    """One manifest."""
    return json.loads((manifests.DIRECTORY / name).read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_a_form_can_be_drawn_from_every_config(name: str):
    found = manifest(name)
    schema = found["config_schema"]
    jsonschema_rs.meta.validate(schema)
    assert schema["additionalProperties"] is (found["name"] == "noop"), "its config is its metadata"
    assert all("title" in field for field in schema["properties"].values())
    assert found["title"]
    assert found["description"]
    assert found["icon"] != "box"
    assert found["category"] in ("Catalog", "Images", "Channels", "Trial")


@pytest.mark.parametrize("name", NAMES)
def test_every_default_fits_its_own_schema(name: str):
    for field in manifest(name)["config_schema"]["properties"].values():
        if "default" in field:
            jsonschema_rs.validate(field, field["default"])


@pytest.mark.parametrize("name", NAMES)
def test_the_command_runs_the_module_of_the_node_type(name: str):
    found = manifest(name)
    assert found["command"] == ["{python}", "-m", "headrace_nodes." + found["name"].replace("-", "_")]
