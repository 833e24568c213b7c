"""What could run nowhere is refused when it is published (M16, fault row 35)."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from app.settings import Settings


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(
        update={"executors": "process,kubernetes", "image_allow": "registry.example/team/*"}
    )


@pytest.mark.parametrize(
    ("node", "pointer", "mention"),
    [
        ({"image": "foreign.example/x:1"}, "/nodes/a/image", "HEADRACE_IMAGE_ALLOW"),
        ({"image": "registry.example/team/x:1", "executor": "process"}, "/nodes/a/executor", "needs a process command"),
        ({"type": "catalog-read", "executor": "container"}, "/nodes/a/executor", "HEADRACE_EXECUTORS"),
    ],
)  # fmt: skip
async def test_a_node_that_could_run_nowhere_is_refused_with_its_place(
    api: httpx.AsyncClient, node: dict[str, str], pointer: str, mention: str
):
    config = {"config": {"uri": "file:x.ndjson"}} if "type" in node else {}
    answer = await api.put("/api/v1/workflows/w", json={"name": "w", "nodes": {"a": node | config}})
    assert answer.status_code == 422, answer.text
    (place,) = answer.json()["errors"]
    assert place["pointer"] == pointer
    assert mention in place["detail"]


async def test_an_allowed_image_is_published(api: httpx.AsyncClient):
    document = {"name": "w", "nodes": {"a": {"image": "registry.example/team/x:1"}}}
    assert (await api.put("/api/v1/workflows/w", json=document)).status_code == 201


@pytest.mark.parametrize(
    "field", ["hostPath", "securityContext", "privileged", "serviceAccountName", "command"]
)
async def test_a_document_cannot_say_how_a_pod_is_made(api: httpx.AsyncClient, field: str):
    """Fault row 35: there is no field for it, so there is nothing to check it against."""
    node = {"image": "registry.example/team/x:1", field: True}
    answer = await api.put("/api/v1/workflows/w", json={"name": "w", "nodes": {"a": node}})
    assert answer.status_code == 422
    assert [place["pointer"] for place in answer.json()["errors"]] == [f"/nodes/a/{field}"]
