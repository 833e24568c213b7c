"""What a stranger sends: misspelt, doubled or beside the point. It is refused with its place, never quietly ignored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import orjson
import pytest

from app.core.concurrency import Limit, OnLimit
from app.store.store import Store
from app.store.triggers import read_trigger

KeyFor = Callable[..., Awaitable[httpx.AsyncClient]]
PATH = "/api/v1/workflows/shop"


def places(answer: httpx.Response) -> list[tuple[str, str]]:
    return [(place["pointer"], place["detail"]) for place in answer.json()["errors"]]


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("method", "path", "detail"),
    [
        ("POST", f"{PATH}/runs?dry_run=true", "this call has no 'dry_run' in its query"),
        (
            "GET",
            "/api/v1/runs?stauts=failed",
            "this call has no 'stauts' in its query; did you mean 'status'?",
        ),
        ("GET", "/api/v1/triggers?workflow=shop", "this call has no 'workflow' in its query"),
    ],
)
async def test_a_query_that_a_call_does_not_know_is_refused(
    api: httpx.AsyncClient, method: str, path: str, detail: str
):
    answer = await api.request(method, path)
    assert answer.status_code == 422
    assert [text for _, text in places(answer)] == [detail]
    assert (await api.get("/api/v1/runs")).json()["items"] == []


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"[]", ("", "must be an object")),
        (b'{"parms": {}}', ("/parms", "unknown field 'parms'; did you mean 'params'?")),
        (b'{"priority": "1"}', ("/priority", "must be a whole number")),
        (b'{"labels": {"a": 1}}', ("/labels/a", "must be text")),
    ],
)
async def test_a_body_is_refused_in_our_words(api: httpx.AsyncClient, body: bytes, place: tuple[str, str]):
    answer = await api.post(f"{PATH}/runs", content=body)
    assert (answer.status_code, places(answer)) == (422, [place])


@pytest.mark.parametrize("content_type", ["application/json", "application/yaml"])
async def test_a_node_that_is_given_twice_is_refused(
    api: httpx.AsyncClient, published: httpx.Response, content_type: str
):
    twice = (
        b'{"name": "shop", "nodes": {"a": {"wait": {"duration": "1s"}}, "a": {"wait": {"duration": "2s"}}}}'
    )
    answer = await api.put(PATH, content=twice, headers={"content-type": content_type})
    assert answer.status_code == 422
    assert "given twice" in places(answer)[0][1]
    assert (await api.get(PATH)).json()["version"] == published.json()["version"]


async def test_yaml_without_its_content_type_is_told_what_is_missing(api: httpx.AsyncClient):
    answer = await api.put(PATH, content=b"name: shop\nnodes: {}\n")
    assert answer.status_code == 400
    assert "application/yaml" in answer.json()["detail"]


@pytest.mark.usefixtures("published")
async def test_a_cursor_leads_no_key_out_of_its_prefix(api: httpx.AsyncClient, key_for: KeyFor):
    await api.put(
        "/api/v1/workflows/zebra", json={"name": "zebra", "nodes": {"a": {"wait": {"duration": "1s"}}}}
    )
    client = await key_for("read", prefix="zebra")
    listed = await client.get("/api/v1/workflows", params={"cursor": "a"})
    assert [item["name"] for item in listed.json()["items"]] == ["zebra"]


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    "path", [f"{PATH}/versions", f"{PATH}/hooks", "/api/v1/node-types", "/api/v1/pools", "/api/v1/keys"]
)
async def test_every_list_comes_in_pages(api: httpx.AsyncClient, document: dict[str, Any], path: str):
    await api.put(PATH, json=document | {"description": "second"})
    await api.post(f"{PATH}/hooks", json={"name": "another"})
    await api.put("/api/v1/node-types/other", json={"image": "busybox:1"})
    await api.put("/api/v1/pools/other", json={"slots": 1})
    await api.post("/api/v1/keys", json={"scopes": ["read"]})
    whole = (await api.get(path)).json()
    seen, cursor = list[Any](), None
    while len(seen) < len(whole["items"]):
        query = {"limit": 1} if cursor is None else {"limit": 1, "cursor": cursor}
        page = (await api.get(path, params=query)).json()
        assert len(page["items"]) == 1
        seen, cursor = seen + page["items"], page["next_cursor"]
    assert (seen, cursor) == (whole["items"], None)
    assert len(seen) > 1


@pytest.mark.usefixtures("published")
async def test_a_run_that_its_workflow_rejected_says_so(api: httpx.AsyncClient, store: Store):
    body = {"params": {"feed": "file:a"}}
    runs = [(await api.post(f"{PATH}/runs", json=body)).json()["run"] for _ in range(2)]
    for entry in await store.stream(store.keys.triggers, "test").read(2, 1000):
        await store.triggers.place_run(read_trigger(entry.id, entry.fields), 2, Limit("", 1, OnLimit.REJECT))
    answer = await api.get(f"/api/v1/runs/{runs[1]}")
    assert (answer.status_code, answer.json()["state"]) == (404, "rejected")
    assert "1 runs go on already, and on_limit is reject" in answer.json()["detail"]
    assert (await api.get(f"/api/v1/triggers/{answer.json()['receipt']}")).json()["state"] == "rejected"


async def test_a_wait_for_what_is_no_instant_is_refused(api: httpx.AsyncClient):
    document = {"name": "shop", "nodes": {"a": {"wait": {"until": "tomorrow"}}}}
    answer = await api.put(PATH, content=orjson.dumps(document))
    assert answer.status_code == 422
    assert places(answer)[0][0] == "/nodes/a/wait"
