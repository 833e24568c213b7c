"""Retry and fork over HTTP: a new run or its preview, once for each idempotency key, refused with the place and the way out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from app.store.store import Store

KeyFor = Callable[..., Awaitable[httpx.AsyncClient]]
Begin = Callable[..., Awaitable[str]]
Ended = Callable[..., Awaitable[str]]

pytestmark = pytest.mark.usefixtures("published")


@pytest.fixture
def ended(begin: Begin, store: Store) -> Ended:
    """A run that ended: its nodes so, itself as failed."""

    async def make(read: str = "failed", publish: str = "blocked") -> str:
        run = await begin()
        keys = store.keys
        for node, status in (("read", read), ("publish", publish)):
            await store.batcher.call("HSET", keys.node(run, node), "s", status, "m", '{"n":1}')
        await store.batcher.call("HSET", keys.run(run), "s", "failed")
        return run

    return make


def actions(answer: httpx.Response) -> dict[str, tuple[str, str | None]]:
    return {item["name"]: (item["action"], item.get("why")) for item in answer.json()["items"]}


async def test_a_retry_is_a_new_run_that_names_the_old_one(
    api: httpx.AsyncClient, ended: Ended, store: Store
):
    run = await ended()
    answer = await api.post(f"/api/v1/runs/{run}/retry", json={"from": "failed"})
    assert answer.status_code == 202
    made = answer.json()["run"]
    assert made != run
    assert answer.headers["location"] == f"/api/v1/runs/{made}"
    receipt = (await api.get(f"/api/v1/triggers/{answer.json()['receipt']}")).json()
    assert (receipt["state"], receipt["source"]) == ("queued", f"retry:{run}")
    assert await store.retention.pins(run) == (1, True)


@pytest.mark.parametrize(
    "query", ["dry_run=on", "dry_run=treu", "dryrun=true", "dry-run=1", "dry_run=true&force=1"]
)
async def test_a_preview_that_is_misspelt_does_not_do_the_real_thing(
    api: httpx.AsyncClient, ended: Ended, store: Store, query: str
):
    run = await ended()
    answer = await api.post(f"/api/v1/runs/{run}/retry?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith(("/dry", "/force"))
    assert await store.batcher.call("XLEN", store.keys.triggers) == 0


async def test_what_has_no_preview_is_not_done_for_one(api: httpx.AsyncClient, begin: Begin):
    run = await begin()
    answer = await api.post(f"/api/v1/runs/{run}/cancel?dry_run=true")
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"pointer": "/dry_run", "detail": "this call has no 'dry_run' in its query"}
    ]
    assert (await api.get(f"/api/v1/runs/{run}")).json()["status"] == "queued"


async def test_a_run_that_is_being_removed_is_not_retried(api: httpx.AsyncClient, ended: Ended, store: Store):
    """One of the two wins: after the removal has begun nothing is accepted that would lose what it keeps."""
    run = await ended()
    assert await store.retention.close(run, 0) == 1
    answer = await api.post(f"/api/v1/runs/{run}/retry", json={"from": "failed"})
    assert (answer.status_code, answer.json()["type"].rsplit("/", 1)[-1]) == (409, "conflict")
    assert "is being removed" in answer.json()["title"] + answer.json()["detail"]
    assert await store.batcher.call("XLEN", store.keys.triggers) == 0


async def test_failed_is_where_a_retry_begins_when_nothing_is_said(api: httpx.AsyncClient, ended: Ended):
    answer = await api.post(f"/api/v1/runs/{await ended('succeeded', 'failed')}/retry?dry_run=true")
    assert actions(answer) == {"read": ("keep", None), "publish": ("run", "status")}


async def test_a_preview_starts_nothing(api: httpx.AsyncClient, ended: Ended, store: Store):
    run = await ended("succeeded", "succeeded")
    answer = await api.post(f"/api/v1/runs/{run}/retry?dry_run=true", json={"from": "publish"})
    assert answer.status_code == 200
    assert answer.json()["counts"] == {"run": 1, "keep": 1, "failed_records": 0}
    assert actions(answer) == {"read": ("keep", None), "publish": ("run", "asked")}
    assert await store.batcher.call("XLEN", store.keys.triggers) == 0
    assert await store.retention.pins(run) == (0, False)


async def test_a_preview_comes_in_pages(api: httpx.AsyncClient, ended: Ended):
    path = f"/api/v1/runs/{await ended()}/retry?dry_run=true&limit=1"
    first = (await api.post(path)).json()
    second = (await api.post(f"{path}&cursor={first['next_cursor']}")).json()
    assert [page["items"][0]["name"] for page in (first, second)] == ["read", "publish"]
    assert second["next_cursor"] is None


async def test_the_same_key_makes_one_run(api: httpx.AsyncClient, ended: Ended):
    path = f"/api/v1/runs/{await ended()}/retry"
    headers = {"idempotency-key": "mend-1"}
    answers = [await api.post(path, headers=headers, json={"from": "all"}) for _ in range(3)]
    assert len({answer.text for answer in answers}) == 1
    other = await api.post(path, headers=headers, json={"from": "failed"})
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


async def test_a_run_that_goes_on_cannot_be_retried(api: httpx.AsyncClient, begin: Begin):
    run = await begin()
    for path, body in (("retry", {}), ("fork", {"node": "read"})):
        answer = await api.post(f"/api/v1/runs/{run}/{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "run_not_finished")


async def test_a_run_of_which_nothing_failed_says_what_can_be_asked(api: httpx.AsyncClient, ended: Ended):
    run = await ended("succeeded", "skipped")
    answer = await api.post(f"/api/v1/runs/{run}/retry")
    assert answer.status_code == 409
    assert "all" in answer.json()["detail"]


async def test_unknown_nodes_and_runs_are_not_found(api: httpx.AsyncClient, ended: Ended):
    run = await ended()
    assert (await api.post(f"/api/v1/runs/{run}/retry", json={"from": "nobody"})).status_code == 404
    assert (await api.post(f"/api/v1/runs/{run}/fork", json={"node": "nobody"})).status_code == 404
    assert (await api.post("/api/v1/runs/rnobody/retry")).status_code == 404
    assert (
        await api.post(f"/api/v1/runs/{run}/fork", json={"node": "read", "version": 9})
    ).status_code == 404


async def test_failed_records_alone_can_be_asked_for(api: httpx.AsyncClient, ended: Ended, store: Store):
    """The run itself may have succeeded: some records were tolerated."""
    run = await ended("succeeded", "succeeded")
    await store.batcher.call("HSET", store.keys.node(run, "read"), "fr", 5)
    answer = await api.post(f"/api/v1/runs/{run}/retry?dry_run=true", json={"from": "failed"})
    assert answer.json()["counts"] == {"run": 2, "keep": 0, "failed_records": 5}
    assert actions(answer) == {"read": ("run", "records"), "publish": ("run", "upstream")}
    assert [item.get("failed_records") for item in answer.json()["items"]] == [5, None]
    answer = await api.post(f"/api/v1/runs/{run}/retry", json={"from": "failed"})
    assert answer.status_code == 202


FORKS: list[tuple[dict[str, Any], str]] = [
    ({}, "/node"),
    ({"node": "read", "config": {}, "metadata": {}}, "/config"),
    ({"node": "publish", "config": {"x": "${{ nodes.read.metadata.n }}"}}, "/config/x"),
    ({"node": "read", "config": {"x": "${{ 1 + }}"}}, "/config/x"),
    ({"node": "publish", "metadata": {}}, "/metadata"),
    ({"node": "read", "colour": "red"}, "/colour"),
    ({"node": "read", "metadata": "x" * (300 << 10)}, "/metadata"),
]


@pytest.mark.parametrize(("body", "pointer"), FORKS)
async def test_a_fork_that_cannot_be_is_refused_with_its_place(
    api: httpx.AsyncClient, ended: Ended, body: dict[str, Any], pointer: str
):
    answer = await api.post(f"/api/v1/runs/{await ended()}/fork", json=body)
    assert answer.status_code in (413, 422)
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_a_fork_takes_another_version(api: httpx.AsyncClient, ended: Ended, document: dict[str, Any]):
    run = await ended("succeeded", "succeeded")
    document["nodes"]["publish"]["config"] = {"to": "shop"}
    assert (await api.put("/api/v1/workflows/shop", json=document)).json()["version"] == 2
    path = f"/api/v1/runs/{run}/fork?dry_run=true"
    answer = await api.post(path, json={"node": "publish", "version": 2})
    assert (answer.json()["version"], actions(answer)["read"]) == (2, ("keep", None))
    answer = await api.post(path, json={"node": "read", "version": 2})
    assert actions(answer) == {"read": ("run", "asked"), "publish": ("run", "changed")}


@pytest.mark.parametrize("act", ["retry", "fork"])
async def test_it_needs_the_scope_operate_and_is_audited(
    api: httpx.AsyncClient, ended: Ended, key_for: KeyFor, act: str
):
    path, body = f"/api/v1/runs/{await ended()}/{act}", {"node": "read"} if act == "fork" else {}
    for scopes, prefix in ((("write", "trigger", "read"), ""), (("operate",), "other-")):
        assert (await (await key_for(*scopes, prefix=prefix)).post(path, json=body)).status_code == 403
    client = await key_for("operate", prefix="shop")
    assert (await client.post(path, json=body)).status_code == 202
    identity = (await client.get("/api/v1/session")).json()["id"]
    entry = (await api.get("/api/v1/audit", params={"key": identity})).json()["items"][0]
    assert (entry["outcome"], entry["target"]) == ("done", path)
