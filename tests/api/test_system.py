"""Probes, metrics, documents and pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette

from app.api.pages import Pages
from app.api.routes import ROUTES
from app.embedded import EmbeddedValkey
from app.main import create_app
from app.settings import Settings
from app.store.store import Store
from app.store.triggers import Trigger


async def test_a_durable_store_is_ready(anonymous: httpx.AsyncClient):
    answer = await anonymous.get("/readyz")
    assert (answer.status_code, answer.json()["findings"]) == (200, [])


def _client(app: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


async def test_a_store_that_does_not_fsync_is_not_ready_and_says_so(tmp_path: Path):
    server = EmbeddedValkey(tmp_path, fsync="everysec")
    server.start()
    app = create_app(Settings(redis_url=SecretStr(server.url), log_level="critical"))
    try:
        async with app.router.lifespan_context(app), _client(app) as client:
            answer = await client.get("/readyz")
    finally:
        server.stop()
    assert answer.status_code == 503
    assert "appendfsync" in answer.text


async def test_without_redis_nothing_is_accepted_and_the_probes_say_why(tmp_path: Path):
    server = EmbeddedValkey(tmp_path)
    server.start()
    key = "hr_root_0123456789abcdef0123"
    settings = Settings(redis_url=SecretStr(server.url), bootstrap_key=SecretStr(key), log_level="critical")
    app = create_app(settings)
    async with app.router.lifespan_context(app), _client(app) as client:
        server.stop()
        ready = await client.get("/readyz")
        live = await client.get("/livez")
        metrics = await client.get("/metrics")
        headers = {"authorization": f"Bearer {key}"}
        trigger = await client.post("/api/v1/workflows/shop/runs", json={}, headers=headers)
    assert (ready.status_code, live.status_code, metrics.status_code) == (503, 200, 200)
    assert (trigger.status_code, trigger.json()["code"]) == (503, "store_unavailable")
    assert int(trigger.headers["retry-after"]) >= 1


async def test_metrics_have_the_route_and_never_a_run_id(api: httpx.AsyncClient):
    await api.get("/api/v1/runs/r1m85y0n3dt13h79zs2kd")
    text = (await api.get("/metrics")).text
    assert (
        'http_request_duration_seconds_count{method="GET",route="/api/v1/runs/{run}",status="404"} 1.0'
        in text
    )
    assert "r1m85y0n3dt13h79zs2kd" not in text
    assert "headrace_build_info" in text
    for name in (
        "jobs_active",
        "runs_total",
        "run_duration_seconds",
        "node_runs_total",
        "queue_depth",
        "pool_slots",
    ):
        assert f"# TYPE headrace_{name.removesuffix('_total')}" in text, name


@pytest.fixture
async def openapi(anonymous: httpx.AsyncClient) -> dict[str, Any]:
    return (await anonymous.get("/api/v1/openapi.json")).json()


def _refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in cast("dict[str, Any]", value).items():
            if name == "$ref":
                yield item
            else:
                yield from _refs(item)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _refs(item)


async def test_the_openapi_document_holds_every_route(openapi: dict[str, Any]):
    described = {(method.upper(), path) for path, item in openapi["paths"].items() for method in item}
    assert described == {(route.method, route.path) for route in ROUTES if not route.hidden}
    assert openapi["openapi"] == "3.1.0"


async def test_every_reference_of_the_openapi_document_leads_somewhere(openapi: dict[str, Any]):
    for ref in set(_refs(openapi)):
        place: Any = openapi
        for part in ref.removeprefix("#/").split("/"):
            place = place[part]
        assert place


async def test_operation_ids_are_unique(openapi: dict[str, Any]):
    ids = [operation["operationId"] for item in openapi["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))


def test_every_route_that_is_not_public_names_who_may_call_it():
    for route in ROUTES:
        if route.auth.value == "key" and not route.path.endswith("/session"):
            assert route.scopes, route.path


async def test_the_docs_page_needs_no_other_host(anonymous: httpx.AsyncClient):
    page = await anonymous.get("/api/v1/docs")
    assert page.status_code == 200
    for link in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert "//" not in link
        assert (await anonymous.get(f"/api/v1/{link}")).status_code == 200
    assert (await anonymous.get("/api/v1/docs/nothing.js")).status_code == 404


async def test_schemas_are_published(anonymous: httpx.AsyncClient):
    workflow = (await anonymous.get("/api/v1/schemas/workflow")).json()
    assert workflow["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert (await anonymous.get("/api/v1/schemas/nothing")).status_code == 404


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "index.html").write_text("<h1>Headrace</h1>")
    (tmp_path / "web" / "app.js").write_text("1")
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path / "web"


@pytest.fixture
async def browser(app: Starlette, site: Path) -> httpx.AsyncClient:
    from app.api.table import Table

    table = next(route for route in app.routes if isinstance(route, Table))
    table.fallback = Pages(site)
    return _client(app)


async def test_the_page_is_served_with_a_policy(browser: httpx.AsyncClient):
    answer = await browser.get("/")
    assert answer.text == "<h1>Headrace</h1>"
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert (await browser.get("/app.js")).status_code == 200


@pytest.mark.parametrize("path", ["/nothing.js", "/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt"])
async def test_nothing_outside_the_page_is_served(browser: httpx.AsyncClient, path: str):
    assert (await browser.get(path)).status_code == 404


async def test_counts_of_workers_are_told_by_one_api_process_each_so_that_a_sum_over_all_is_right(
    api: httpx.AsyncClient, store: Store, settings: Settings
):
    name = 'headrace_triggers_total{outcome="queued",source="schedule"}'

    async def told(client: httpx.AsyncClient) -> float:
        lines = (await client.get("/metrics")).text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), -1)

    async def counted(times: int) -> None:
        for _ in range(times):
            await store.triggers.accept(Trigger("shop", 1, "schedule:nightly", {}))
        await store.tallies.flush()

    second = create_app(settings)
    async with (
        second.router.lifespan_context(second),
        httpx.AsyncClient(transport=httpx.ASGITransport(second), base_url="http://localhost") as other,
    ):
        assert await told(api) == -1
        await counted(3)
        assert [await told(each) for each in (api, other, api, other)] == [3, 0, 3, 0]
        await counted(2)
        assert [await told(each) for each in (other, api)] == [2, 3]
