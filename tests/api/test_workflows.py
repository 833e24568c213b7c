"""Publishing workflows: versions, If-Match, dry runs, bad graphs (row 34), drafts and layouts."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import orjson
import pytest

PATH = "/api/v1/workflows/shop"
Document = dict[str, Any]


async def test_the_first_publish_makes_version_one(published: httpx.Response):
    body = published.json()
    assert (body["name"], body["version"]) == ("shop", 1)
    assert published.headers["etag"] == f'"{body["etag"]}"'


async def test_the_same_content_is_the_same_version(
    api: httpx.AsyncClient, published: httpx.Response, document: Document
):
    shuffled = orjson.dumps(dict(reversed(document.items())), option=orjson.OPT_INDENT_2)
    answer = await api.put(PATH, content=shuffled)
    assert (answer.status_code, answer.json()["version"]) == (200, 1)


@pytest.mark.usefixtures("published")
async def test_other_content_is_a_new_version_and_the_old_one_stays(
    api: httpx.AsyncClient, document: Document
):
    answer = await api.put(PATH, json=document | {"description": "second"})
    assert (answer.status_code, answer.json()["version"]) == (201, 2)
    assert (await api.get(PATH)).json()["document"]["description"] == "second"
    first = (await api.get(f"{PATH}/versions/1")).json()
    assert "description" not in first["document"] or not first["document"]["description"]


@pytest.mark.usefixtures("published")
async def test_publishing_an_older_content_makes_that_version_current(
    api: httpx.AsyncClient, document: Document
):
    await api.put(PATH, json=document | {"description": "second"})
    back = await api.put(PATH, json=document)
    assert (back.status_code, back.json()["version"]) == (200, 1)
    third = await api.put(PATH, json=document | {"description": "third"})
    assert third.json()["version"] == 3


async def test_node_types_are_pinned(api: httpx.AsyncClient, published: httpx.Response, document: Document):
    assert (await api.get(PATH)).json()["document"]["nodes"]["read"]["type"] == "step@1"
    await api.put("/api/v1/node-types/step", json={"image": "busybox:2"})
    assert (await api.put(PATH, json=document)).json()["version"] == 2
    assert (await api.get(PATH)).json()["document"]["nodes"]["read"]["type"] == "step@2"


async def test_if_match_refuses_when_someone_else_published(
    api: httpx.AsyncClient, published: httpx.Response, document: Document
):
    etag = published.headers["etag"]
    mine = await api.put(PATH, json=document | {"description": "mine"}, headers={"if-match": etag})
    theirs = await api.put(PATH, json=document | {"description": "theirs"}, headers={"if-match": etag})
    assert (mine.status_code, theirs.status_code) == (201, 412)
    assert theirs.json()["etag"] == mine.json()["etag"]


@pytest.mark.usefixtures("published")
async def test_if_none_match_means_it_must_be_new(api: httpx.AsyncClient, document: Document):
    new = document | {"name": "fresh"}
    headers = {"if-none-match": "*"}
    assert (await api.put(PATH, json=document, headers=headers)).status_code == 412
    assert (await api.put("/api/v1/workflows/fresh", json=new, headers=headers)).status_code == 201


@pytest.mark.usefixtures("published")
async def test_many_publishes_at_once_get_numbers_of_their_own(api: httpx.AsyncClient, document: Document):
    puts = (api.put(PATH, json=document | {"description": f"d{number}"}) for number in range(8))
    versions = sorted(answer.json()["version"] for answer in await asyncio.gather(*puts))
    assert versions == list(range(2, 10))
    assert len((await api.get(f"{PATH}/versions")).json()["items"]) == 9


@pytest.mark.usefixtures("published")
async def test_a_dry_run_checks_and_changes_nothing(api: httpx.AsyncClient, document: Document):
    good = await api.put(f"{PATH}?dry_run=true", json=document | {"description": "x"})
    bad = await api.put(f"{PATH}?dry_run=true", json={"name": "shop", "nodes": {"a": {"type": "nobody"}}})
    assert (good.status_code, bad.status_code) == (200, 422)
    assert (await api.get(PATH)).json()["version"] == 1


@pytest.mark.usefixtures("published")
async def test_the_changes_between_two_versions_are_told(api: httpx.AsyncClient, document: Document):
    nodes = document["nodes"] | {"extra": {"type": "step", "needs": ["read"]}}
    await api.put(PATH, json=document | {"nodes": nodes})
    changes = (await api.get(f"{PATH}/versions/1...2")).json()["changes"]
    assert [(change["op"], change["pointer"]) for change in changes] == [("add", "/nodes/extra")]


@pytest.mark.usefixtures("published")
async def test_yaml_is_accepted(api: httpx.AsyncClient):
    text = "name: shop\nnodes:\n  read: {type: step}\n  publish: {type: step, needs: [read]}\n"
    answer = await api.put(PATH, content=text, headers={"content-type": "application/yaml"})
    assert answer.status_code == 201
    bomb = "a: &a [x]\nb: *a\n"
    refused = await api.put(PATH, content=bomb, headers={"content-type": "application/yaml"})
    assert refused.status_code == 422


@pytest.mark.usefixtures("published")
async def test_the_name_of_the_document_is_the_one_in_the_path(api: httpx.AsyncClient, document: Document):
    answer = await api.put("/api/v1/workflows/other", json=document)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/name"


def _nodes(**needs: list[str]) -> Document:
    return {
        "name": "shop",
        "nodes": {name: {"type": "step", "needs": above} for name, above in needs.items()},
    }


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("document_", "place"),
    [
        (_nodes(a=["c"], b=["a"], c=["b"]), "/nodes"),
        (_nodes(a=["a"]), "/nodes"),
        (_nodes(a=[], b=["nobody"]), "/nodes/b/needs"),
        (_nodes(a=[], b=["a", "a"]), "/nodes/b/needs"),
        ({"name": "shop", "nodes": {"a": {"type": "nobody"}}}, "/nodes/a/type"),
        ({"name": "shop", "nodes": {"a": {"type": "step"}}, "nodez": {}}, "/nodez"),
        ({"name": "shop"}, ""),
    ],
    ids=["cycle", "loop", "unknown", "duplicate", "type", "field", "missing"],
)
async def test_a_bad_graph_is_refused_with_its_place(api: httpx.AsyncClient, document_: Document, place: str):
    answer = await api.put(PATH, json=document_)
    assert answer.status_code == 422
    assert any(each["pointer"].startswith(place) for each in answer.json()["errors"])
    assert (await api.get(PATH)).json()["version"] == 1


def _chain(count: int) -> bytes:
    nodes: Document = {"n0": {"type": "step"}}
    nodes |= {f"n{i}": {"type": "step", "needs": [f"n{i - 1}"]} for i in range(1, count)}
    return orjson.dumps({"name": "large", "nodes": nodes})


@pytest.mark.usefixtures("published")
async def test_a_hundred_thousand_nodes_are_accepted_while_the_api_goes_on(api: httpx.AsyncClient):
    put = asyncio.create_task(api.put("/api/v1/workflows/large", content=_chain(100_000), timeout=60))
    answered = 0
    while not put.done():
        assert (await api.get("/readyz")).status_code == 200
        answered += 1
    assert put.result().status_code == 201, put.result().text[:500]
    assert answered > 3


@pytest.mark.usefixtures("published")
async def test_more_than_two_hundred_thousand_nodes_are_refused(api: httpx.AsyncClient):
    answer = await api.put("/api/v1/workflows/large", content=_chain(200_001), timeout=60)
    assert answer.status_code == 422
    assert "200,000" in answer.text or "200000" in answer.text or "too many" in answer.text


@pytest.mark.usefixtures("published")
async def test_archiving_hides_and_publishing_brings_back(api: httpx.AsyncClient, document: Document):
    assert (await api.delete(PATH)).status_code == 204
    assert (await api.get("/api/v1/workflows")).json()["items"] == []
    assert len((await api.get("/api/v1/workflows?archived")).json()["items"]) == 1
    await api.put(PATH, json=document)
    assert len((await api.get("/api/v1/workflows")).json()["items"]) == 1


@pytest.mark.usefixtures("published")
async def test_lists_come_in_pages(api: httpx.AsyncClient, document: Document):
    for name in ("a", "b", "c"):
        await api.put(f"/api/v1/workflows/{name}", json=document | {"name": name})
    first = (await api.get("/api/v1/workflows?limit=2")).json()
    second = (await api.get("/api/v1/workflows", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    names = [item["name"] for item in first["items"] + second["items"]]
    assert names == ["a", "b", "c", "shop"]


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=1001", "limit=-1"])
async def test_a_bad_limit_is_invalid(api: httpx.AsyncClient, query: str):
    assert (await api.get(f"/api/v1/workflows?{query}")).status_code == 422


@pytest.mark.parametrize("what", ["draft", "layout"])
async def test_drafts_and_layouts_are_no_versions(api: httpx.AsyncClient, what: str):
    assert (await api.get(f"{PATH}/{what}")).status_code == 404
    saved = await api.put(f"{PATH}/{what}", json={"nodes": {"half": {}}})
    loaded = await api.get(f"{PATH}/{what}")
    assert loaded.json() == {"nodes": {"half": {}}}
    assert loaded.headers["etag"] == saved.headers["etag"]
    assert (await api.get(PATH)).status_code == 404
    assert (await api.put(f"{PATH}/{what}", json=[])).status_code == 422


@pytest.mark.parametrize(
    "path", ["/versions", "/versions/1", "/versions/0", "/versions/x", "/versions/1...2", ""]
)
async def test_what_is_not_there_is_not_found(api: httpx.AsyncClient, path: str):
    assert (await api.get(f"{PATH}{path}")).status_code == 404


@pytest.mark.parametrize("name", ["shop:draft", "shop:runs", "Shop", "-", "x" * 64, "%00"])
async def test_what_is_no_name_of_a_workflow_reaches_no_key(
    api: httpx.AsyncClient, published: httpx.Response, name: str
):
    await api.put("/api/v1/workflows/shop/draft", json={})
    for method, path in (("GET", ""), ("GET", "/versions"), ("POST", "/runs"), ("DELETE", "")):
        answer = await api.request(method, f"/api/v1/workflows/{name}{path}")
        assert answer.status_code == 404, answer.text
    for path in ("", "/draft", "/layout"):
        answer = await api.put(f"/api/v1/workflows/{name}{path}", json={})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/name")


async def test_a_workflow_tells_when_its_schedules_fire_next(api: httpx.AsyncClient, document: Document):
    (await api.put("/api/v1/node-types/step", json={"image": "busybox:1"})).raise_for_status()
    nightly = {"name": "nightly", "cron": "0 2 * * *", "time_zone": "Europe/Berlin"}
    document["triggers"] = [{"schedule": {**nightly, "params": {"feed": "${{ event.local }}"}}}]
    (await api.put("/api/v1/workflows/shop", json=document)).raise_for_status()
    (schedule,) = (await api.get("/api/v1/workflows/shop")).json()["schedules"]
    following = schedule.pop("next")
    assert schedule == {**nightly, "last": None}
    assert len(following) == len(set(following)) == 5


@pytest.mark.parametrize(
    ("field", "value"), [("cron", "61 2 * * *"), ("cron", "0 0 30 2 *"), ("time_zone", "Europe/Berlni")]
)
async def test_a_schedule_that_makes_no_sense_is_refused_with_its_place(
    api: httpx.AsyncClient, document: Document, field: str, value: str
):
    (await api.put("/api/v1/node-types/step", json={"image": "busybox:1"})).raise_for_status()
    document["triggers"] = [{"schedule": {"name": "nightly", "cron": "0 2 * * *", field: value}}]
    answer = await api.put("/api/v1/workflows/shop", json=document)
    assert answer.status_code == 422
    assert [place["pointer"] for place in answer.json()["errors"]] == [f"/triggers/0/schedule/{field}"]
