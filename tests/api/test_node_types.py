"""The catalog of node types, and the rule that commands come only from files."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import orjson
import pytest

from app.core.nodetypes import NodeType
from app.errors import NotFound
from app.nodetypes_files import Catalogued, NodeTypeFiles
from app.store.store import Store

PATH = "/api/v1/node-types/resize"


async def test_a_new_content_is_a_new_version(api: httpx.AsyncClient):
    first = await api.put(PATH, json={"image": "resize:1", "title": "Resize"})
    same = await api.put(PATH, json={"image": "resize:1", "title": "Resize"})
    second = await api.put(PATH, json={"image": "resize:2", "title": "Resize"})
    assert [(a.status_code, a.json()["version"]) for a in (first, same, second)] == [
        (201, 1),
        (200, 1),
        (201, 2),
    ]
    assert [each["version"] for each in (await api.get(f"{PATH}/versions")).json()["items"]] == [2, 1]
    assert (await api.get(f"{PATH}@1")).json()["image"] == "resize:1"


async def test_a_command_is_refused(api: httpx.AsyncClient):
    answer = await api.put(PATH, json={"image": "x", "command": ["sh", "-c", "id"]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/command"


@pytest.mark.parametrize("body", [{}, {"image": ""}, {"image": "x", "odd": 1}, {"image": 1}])
async def test_a_bad_node_type_is_invalid(api: httpx.AsyncClient, body: dict[str, object]):
    assert (await api.put(PATH, json=body)).status_code == 422


@pytest.mark.parametrize(
    ("pod", "place"),
    [
        ({"volumes": [{"name": "root", "mount_path": "/root", "hostPath": {"path": "/"}}]}, "volumes/0/hostPath"),
        ({"volumes": [{"name": "root", "mount_path": "/root", "host_path": "/"}]}, "volumes/0/host_path"),
        ({"privileged": True}, "privileged"),
        ({"securityContext": {"privileged": True}}, "securityContext"),
        ({"hostNetwork": True}, "hostNetwork"),
        ({"service_account": "admin"}, "service_account"),
        ({"run_as_user": 0}, "run_as_user"),
    ],
)  # fmt: skip
async def test_a_node_type_cannot_ask_for_the_machine_or_for_privilege(
    api: httpx.AsyncClient, pod: dict[str, object], place: str
):
    """Fault row 35."""
    answer = await api.put(PATH, json={"image": "resize:1", "kubernetes": pod})
    assert answer.status_code == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == [f"/kubernetes/{place}"]
    assert (await api.get(PATH)).status_code == 404


def _manifest(directory: Path, **fields: object) -> NodeType:
    manifest = {
        "name": "shout",
        "version": 1,
        "title": "Shout",
        "command": ["{python}", "-m", "shout"],
        **fields,
    }
    (directory / f"{manifest['name']}-{manifest['title']}.json").write_bytes(orjson.dumps(manifest))
    return NodeType(**manifest)  # pyright: ignore[reportArgumentType]


def test_a_command_comes_from_a_manifest_with_this_python(tmp_path: Path):
    _manifest(tmp_path)
    assert NodeTypeFiles([tmp_path]).command("shout@1") == [sys.executable, "-m", "shout"]


def test_without_a_manifest_there_is_no_command(tmp_path: Path):
    with pytest.raises(NotFound):
        NodeTypeFiles([tmp_path]).command("shout@1")


def test_a_broken_manifest_is_left_out(tmp_path: Path):
    _manifest(tmp_path)
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "odd.json").write_text('{"name": 1}')
    assert list(NodeTypeFiles([tmp_path]).types) == ["shout@1"]


def test_of_two_manifests_of_a_version_the_first_counts(tmp_path: Path):
    first = _manifest(tmp_path, title="A")
    _manifest(tmp_path, title="B")
    assert NodeTypeFiles([tmp_path]).types["shout@1"] == first


async def test_the_store_never_holds_a_command(store: Store, tmp_path: Path):
    node_type = _manifest(tmp_path)
    assert await store.node_types.install(node_type)
    raw = await store.batcher.call("HGET", store.keys.node_type("shout"), "1")
    assert b"python" not in raw


async def test_a_manifest_never_replaces_a_version(store: Store, tmp_path: Path):
    assert await store.node_types.install(_manifest(tmp_path, title="A"))
    assert await store.node_types.install(_manifest(tmp_path, title="A"))
    assert not await store.node_types.install(_manifest(tmp_path, title="B"))
    assert (await store.node_types.get("shout", 1)).title == "A"


async def test_the_stock_types_are_in_the_catalog_from_the_start_and_can_be_used(api: httpx.AsyncClient):
    items = (await api.get("/api/v1/node-types")).json()["items"]
    assert {"catalog-read", "catalog-filter", "catalog-merge"} <= {item["name"] for item in items}
    assert all("command" not in item for item in items)
    document = {
        "name": "stock",
        "nodes": {"read": {"type": "catalog-read", "config": {"uri": "file:a.ndjson"}}},
    }
    answer = await api.put("/api/v1/workflows/stock", json=document)
    assert answer.status_code == 201, answer.text


def test_a_manifest_that_comes_later_is_found_when_it_is_asked_for(tmp_path: Path):
    files = NodeTypeFiles([tmp_path])
    placed = files.placed("")
    assert placed.get("shout@1") is None
    node_type = _manifest(tmp_path)
    assert placed["shout@1"] == node_type
    assert files.command("shout@1") == [sys.executable, "-m", "shout"]


async def test_the_catalog_takes_a_manifest_that_came_while_the_server_runs(store: Store, tmp_path: Path):
    catalogued = Catalogued(NodeTypeFiles([tmp_path]), store.node_types.install)
    await catalogued.bring_in()
    _manifest(tmp_path)
    await catalogued.bring_in()
    assert "shout@1" in await store.node_types.catalog()


async def test_a_key_with_a_prefix_changes_no_type_that_other_workflows_share(
    api: httpx.AsyncClient, key_for: Callable[..., Awaitable[httpx.AsyncClient]]
):
    async with await key_for("admin", prefix="shop") as shop:
        assert (await shop.put(PATH, json={"image": "resize:1"})).status_code == 403
    assert (await api.get(PATH)).status_code == 404
