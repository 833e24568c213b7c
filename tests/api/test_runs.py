"""Reading runs: lists, nodes, logs, and the stream of transitions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from app.logfiles import log_path
from app.settings import Settings
from app.store.store import Store

Begin = Callable[..., Awaitable[str]]

pytestmark = pytest.mark.usefixtures("published")


async def test_a_run_is_shown_as_the_contract_says(api: httpx.AsyncClient, begin: Begin):
    run = (await api.get(f"/api/v1/runs/{await begin()}")).json()
    assert (run["workflow"], run["version"], run["status"]) == ("shop", 1, "queued")
    assert run["params"] == {"feed": "file:a.ndjson"}
    assert run["created"].endswith("Z")


async def test_runs_are_listed_the_newest_first_and_in_pages(api: httpx.AsyncClient, begin: Begin):
    runs = {await begin() for _ in range(3)}
    first = (await api.get("/api/v1/runs?limit=2")).json()
    second = (await api.get("/api/v1/runs", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    seen = [run["id"] for run in first["items"] + second["items"]]
    assert len(seen) == 3
    assert set(seen) == runs


async def test_runs_are_filtered(api: httpx.AsyncClient, begin: Begin):
    await begin()
    for query, count in [
        ("workflow=shop", 1),
        ("workflow=other", 0),
        ("status=queued", 1),
        ("status=failed", 0),
        ("label=shop=north", 1),
        ("label=shop=south", 0),
        ("since=2020-01-01T00:00:00Z", 1),
        ("since=2100-01-01T00:00:00Z", 0),
    ]:
        items = (await api.get(f"/api/v1/runs?{query}")).json()["items"]
        assert len(items) == count, query


@pytest.mark.parametrize("query", ["status=odd", "since=soon", "cursor=%7C", "limit=0"])
async def test_a_bad_filter_is_invalid(api: httpx.AsyncClient, query: str):
    assert (await api.get(f"/api/v1/runs?{query}")).status_code == 422


async def test_every_node_is_listed_the_pending_ones_too(api: httpx.AsyncClient, begin: Begin):
    items = (await api.get(f"/api/v1/runs/{await begin()}/nodes")).json()["items"]
    assert [(node["name"], node["status"]) for node in items] == [
        ("read", "starting"),
        ("publish", "pending"),
    ]


@pytest.mark.parametrize(
    "path", ["", "/nodes", "/events", "/nodes/read", "/nodes/read/attempts", "/nodes/read/logs"]
)
@pytest.mark.parametrize("run", ["r-nobody", "..%2f", "%00", "x" * 100])
async def test_an_unknown_run_is_not_found(api: httpx.AsyncClient, run: str, path: str):
    assert (await api.get(f"/api/v1/runs/{run}{path}")).status_code == 404


@pytest.mark.parametrize("node", ["nobody", "Read", "read:x", "..", "read%0a"])
async def test_an_unknown_node_is_not_found(api: httpx.AsyncClient, begin: Begin, node: str):
    run = await begin()
    assert (await api.get(f"/api/v1/runs/{run}/nodes/{node}/logs")).status_code == 404


def _write(settings: Settings, run: str, text: str) -> Path:
    path = log_path(settings.log_dir, run, "read", 1, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


async def test_a_log_is_plain_text(api: httpx.AsyncClient, begin: Begin, settings: Settings):
    run = await begin()
    assert (await api.get(f"/api/v1/runs/{run}/nodes/read/logs")).status_code == 404
    _write(settings, run, "<script>alert(1)</script>\n")
    answer = await api.get(f"/api/v1/runs/{run}/nodes/read/logs")
    assert answer.text == "<script>alert(1)</script>\n"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_another_attempt_has_no_log(api: httpx.AsyncClient, begin: Begin, settings: Settings):
    run = await begin()
    _write(settings, run, "x")
    assert (await api.get(f"/api/v1/runs/{run}/nodes/read/logs?attempt=2")).status_code == 404


async def test_following_a_log_ends_with_the_attempt(
    api: httpx.AsyncClient, begin: Begin, settings: Settings, store: Store
):
    run = await begin()
    path = _write(settings, run, "one\n")
    following = asyncio.create_task(api.get(f"/api/v1/runs/{run}/nodes/read/logs?follow"))
    with path.open("a") as file:
        file.write("two\n")
    await store.batcher.call("HSET", store.keys.node(run, "read"), "s", "succeeded")
    assert (await asyncio.wait_for(following, 10)).text == "one\ntwo\n"


def _events(text: str) -> list[dict[str, Any]]:
    return [
        orjson.loads(line[6:])
        for line in text.splitlines()
        if line.startswith("data: ") and line != "data: {}"
    ]


async def _transition(store: Store, run: str, to: str) -> None:
    await store.batcher.call("HSET", store.keys.run(run), "s", to)
    event = orjson.dumps({"type": "run", "from": "queued", "to": to, "at": None})
    await store.batcher.call("XADD", store.keys.events(run), "*", "d", event)


async def test_the_stream_tells_every_transition_and_ends_with_the_run(
    api: httpx.AsyncClient, begin: Begin, store: Store
):
    run = await begin()
    stream = asyncio.create_task(api.get(f"/api/v1/runs/{run}/events"))
    await _transition(store, run, "running")
    await _transition(store, run, "succeeded")
    answer = await asyncio.wait_for(stream, 10)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [event["to"] for event in _events(answer.text)] == ["queued", "running", "succeeded"]


async def test_a_reconnect_misses_nothing_and_repeats_nothing(
    api: httpx.AsyncClient, begin: Begin, store: Store
):
    run = await begin()
    await _transition(store, run, "running")
    await _transition(store, run, "succeeded")
    whole = (await api.get(f"/api/v1/runs/{run}/events")).text
    ids = [line[4:] for line in whole.splitlines() if line.startswith("id: ")]
    rest = await api.get(f"/api/v1/runs/{run}/events", headers={"last-event-id": ids[0]})
    assert [event["to"] for event in _events(rest.text)] == ["running", "succeeded"]
    done = await api.get(f"/api/v1/runs/{run}/events", headers={"last-event-id": ids[-1]})
    assert done.status_code == 204


async def test_a_made_up_event_id_is_invalid(api: httpx.AsyncClient, begin: Begin):
    run = await begin()
    answer = await api.get(f"/api/v1/runs/{run}/events", headers={"last-event-id": "$"})
    assert answer.status_code == 422


async def test_a_client_that_leaves_ends_its_stream(server: str, begin: Begin, settings: Settings):
    run = await begin()
    key = settings.bootstrap_key.get_secret_value()
    async with httpx.AsyncClient(
        base_url=server, trust_env=False, headers={"authorization": f"Bearer {key}"}
    ) as client:
        async with client.stream("GET", f"/api/v1/runs/{run}/events") as stream:
            first = await anext(stream.aiter_lines())
            assert first.startswith("id: ")
        assert (await client.get("/livez")).status_code == 200


@pytest.mark.parametrize("path", ["triggers?cursor=" + "9" * 20, "triggers?cursor=1.2", "audit?cursor=1-1"])
async def test_a_cursor_that_was_never_given_is_no_fault(api: httpx.AsyncClient, path: str):
    assert (await api.get(f"/api/v1/{path}")).status_code == 200


@pytest.mark.parametrize("path", ["nodes", "nodes/read/items"])
async def test_a_cursor_of_another_list_is_invalid(api: httpx.AsyncClient, begin: Begin, path: str):
    """That of the runs has two parts, places in a document have one."""
    answer = await api.get(f"/api/v1/runs/{await begin()}/{path}?cursor=1795539793805.1")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/cursor")


@pytest.mark.parametrize("cursor", ["9" * 30 + "-1", "1-2-3", "x"])
async def test_what_is_no_cursor_of_the_audit_is_invalid(api: httpx.AsyncClient, cursor: str):
    assert (await api.get("/api/v1/audit", params={"cursor": cursor})).status_code == 422


async def test_failed_records_of_an_unknown_node_are_not_found(api: httpx.AsyncClient, begin: Begin):
    assert (await api.get(f"/api/v1/runs/{await begin()}/nodes/nobody/records")).status_code == 404


async def test_an_unknown_status_of_items_is_invalid(api: httpx.AsyncClient, begin: Begin):
    answer = await api.get(f"/api/v1/runs/{await begin()}/nodes/read/items?status=odd")
    assert answer.status_code == 422


async def test_why_answers_with_reasons_for_a_run_and_for_a_node(api: httpx.AsyncClient, begin: Begin):
    run = await begin()
    node = (await api.get(f"/api/v1/runs/{run}/nodes")).json()["items"][0]["name"]
    for path in (f"/api/v1/runs/{run}/why", f"/api/v1/runs/{run}/nodes/{node}/why"):
        items = (await api.get(path)).json()["items"]
        assert items
        assert {"code", "detail", "since"} <= items[0].keys()
    assert (await api.get(f"/api/v1/runs/{run}/nodes/nothing/why")).status_code == 404
