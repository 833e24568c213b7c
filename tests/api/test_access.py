"""Who may do what: keys, scopes, prefixes (row 42), node tokens (row 37), the UI's cookie (row 40)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from app.api.access import IMPLIED, Scope
from app.store.api_keys import parse_key
from app.store.store import Store

KeyFor = Callable[..., Awaitable[httpx.AsyncClient]]
TokenFor = Callable[..., str]
Begin = Callable[..., Awaitable[str]]

pytestmark = pytest.mark.usefixtures("published")


def test_admin_includes_every_scope_and_trigger_only_itself():
    assert IMPLIED[Scope.ADMIN] == set(Scope)
    assert IMPLIED[Scope.TRIGGER] == {Scope.TRIGGER}
    assert IMPLIED[Scope.WRITE] == {Scope.WRITE, Scope.READ}


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic aGk6aGk=",
        "Bearer hr_root_wrongwrongwrongwrong",
        "Bearer \xff",
        "Bearer hr__x",
    ],
)
async def test_without_a_valid_key_nothing_is_told(anonymous: httpx.AsyncClient, header: str):
    headers = {b"authorization": header.encode("latin-1")}
    answer = await anonymous.get("/api/v1/workflows", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "text", ["hr_a_short", "hr_a-b_0123456789abcdef", "0123456789abcdef", "hr_a_" + "x" * 200]
)
def test_what_does_not_look_like_a_key_is_none(text: str):
    assert parse_key(text) is None


async def test_only_the_hash_of_a_key_is_kept(api: httpx.AsyncClient, store: Store):
    made = (await api.post("/api/v1/keys", json={"scopes": ["read"]})).json()
    stored = await store.batcher.call("HGET", store.keys.api_keys, made["id"])
    assert made["key"].rsplit("_", 1)[1].encode() not in stored
    listed = (await api.get("/api/v1/keys")).json()["items"]
    assert all("hash" not in key and "key" not in key for key in listed)


async def test_a_deleted_key_stops_working_at_once(api: httpx.AsyncClient, key_for: KeyFor):
    client = await key_for("read")
    identity = (await client.get("/api/v1/session")).json()["id"]
    assert (await api.delete(f"/api/v1/keys/{identity}")).status_code == 204
    assert (await client.get("/api/v1/workflows")).status_code == 401


@pytest.mark.parametrize(
    ("scope", "method", "path", "allowed"),
    [
        ("read", "GET", "/api/v1/workflows", True),
        ("read", "PUT", "/api/v1/workflows/shop", False),
        ("read", "POST", "/api/v1/workflows/shop/runs", False),
        ("read", "POST", "/api/v1/workflows/shop/hooks", False),
        ("trigger", "POST", "/api/v1/workflows/shop/runs", True),
        ("trigger", "GET", "/api/v1/workflows/shop", False),
        ("trigger", "GET", "/api/v1/runs", False),
        ("write", "GET", "/api/v1/workflows/shop", True),
        ("write", "POST", "/api/v1/workflows/shop/runs", False),
        ("write", "PUT", "/api/v1/node-types/x", False),
        ("operate", "GET", "/api/v1/keys", False),
        ("approve", "GET", "/api/v1/audit", False),
        ("admin", "GET", "/api/v1/audit", True),
    ],
)
async def test_a_scope_opens_its_routes_only(
    key_for: KeyFor, scope: str, method: str, path: str, allowed: bool
):
    answer = await (await key_for(scope)).request(method, path)
    assert (answer.status_code != 403) is allowed, answer.text


async def test_a_key_without_the_scope_is_refused_and_audited(api: httpx.AsyncClient, key_for: KeyFor):
    client = await key_for("read")
    identity = (await client.get("/api/v1/session")).json()["id"]
    assert (await client.delete("/api/v1/workflows/shop")).status_code == 403
    entry = (await api.get("/api/v1/audit", params={"key": identity})).json()["items"][0]
    assert entry["outcome"] == "refused"
    assert entry["action"] == "DELETE /api/v1/workflows/{workflow}"
    assert entry["target"] == "/api/v1/workflows/shop"


async def test_a_key_outside_its_prefix_is_refused_and_audited(api: httpx.AsyncClient, key_for: KeyFor):
    client = await key_for("write", "trigger", prefix="other-")
    identity = (await client.get("/api/v1/session")).json()["id"]
    for method, path in (
        ("GET", ""),
        ("PUT", ""),
        ("POST", "/runs"),
        ("GET", "/hooks"),
        ("GET", "/versions"),
    ):
        answer = await client.request(method, f"/api/v1/workflows/shop{path}")
        assert answer.status_code == 403, path
    entries = (await api.get("/api/v1/audit", params={"key": identity})).json()["items"]
    assert [entry["outcome"] for entry in entries] == ["refused"] * 5


async def test_a_prefix_hides_other_workflows_runs_and_receipts(key_for: KeyFor, begin: Begin):
    run = await begin()
    client = await key_for("read", prefix="other-")
    assert (await client.get("/api/v1/workflows")).json()["items"] == []
    assert (await client.get("/api/v1/runs")).json()["items"] == []
    assert (await client.get("/api/v1/triggers")).json()["items"] == []
    for path in ("", "/nodes", "/events", "/nodes/read", "/nodes/read/logs", "/nodes/read/records"):
        assert (await client.get(f"/api/v1/runs/{run}{path}")).status_code == 403
    assert (await client.get("/api/v1/runs", params={"workflow": "shop"})).status_code == 403


async def test_what_a_key_changes_is_audited(api: httpx.AsyncClient):
    await api.put("/api/v1/workflows/shop/draft", json={})
    newest = (await api.get("/api/v1/audit")).json()["items"][0]
    assert (newest["key"], newest["outcome"]) == ("root", "done")
    assert newest["action"] == "PUT /api/v1/workflows/{workflow}/draft"


async def _start(client: httpx.AsyncClient, run: str, node: str, token: str) -> int:
    headers = {"authorization": f"Bearer {token}"}
    path = f"/api/v1/runs/{run}/nodes/{node}/start"
    return (await client.post(path, headers=headers, json={"instance": "pod-1"})).status_code


async def test_a_token_opens_its_own_node_run(
    anonymous: httpx.AsyncClient, begin: Begin, token_for: TokenFor
):
    run = await begin()
    assert await _start(anonymous, run, "read", token_for(run, "read")) == 200


async def test_a_token_of_another_node_run_or_item_is_refused(
    anonymous: httpx.AsyncClient, begin: Begin, token_for: TokenFor
):
    run, other = await begin(), await begin()
    assert await _start(anonymous, run, "publish", token_for(run, "read")) == 403
    assert await _start(anonymous, other, "read", token_for(run, "read")) == 403
    assert await _start(anonymous, run, "read/items/0", token_for(run, "read")) == 403
    assert await _start(anonymous, run, "read", token_for(run, "read:0")) == 403


async def test_a_token_of_another_attempt_is_stale(
    anonymous: httpx.AsyncClient, begin: Begin, token_for: TokenFor
):
    run = await begin()
    assert await _start(anonymous, run, "read", token_for(run, "read", attempt=2)) == 409


async def test_an_expired_or_forged_token_is_refused(
    anonymous: httpx.AsyncClient, begin: Begin, token_for: TokenFor
):
    run = await begin()
    expired = token_for(run, "read", expires_ms=int(time.time() * 1000) - 1)
    good = token_for(run, "read")
    forged = good[:-4] + ("AAAA" if not good.endswith("AAAA") else "BBBB")
    for token in (expired, forged, "hn_x.y", "hn_.", ""):
        assert await _start(anonymous, run, "read", token) == 401


async def test_a_token_that_expires_while_it_is_remembered_is_refused(
    anonymous: httpx.AsyncClient, begin: Begin, token_for: TokenFor, monkeypatch: pytest.MonkeyPatch
):
    run = await begin()
    token = token_for(run, "read")
    assert await _start(anonymous, run, "read", token) == 200
    later = time.time() + 120
    monkeypatch.setattr("app.api.access.time.time", lambda: later)
    assert await _start(anonymous, run, "read", token) == 401


async def test_keys_and_tokens_never_open_each_others_routes(
    api: httpx.AsyncClient, anonymous: httpx.AsyncClient, begin: Begin, token_for: TokenFor
):
    run = await begin()
    with_key = await api.post(f"/api/v1/runs/{run}/nodes/read/start", json={"instance": "x"})
    token = {"authorization": f"Bearer {token_for(run, 'read')}"}
    with_token = await anonymous.get(f"/api/v1/runs/{run}", headers=token)
    assert (with_key.status_code, with_token.status_code) == (401, 401)


async def _sign_in(client: httpx.AsyncClient, key: str, **headers: str) -> httpx.Response:
    return await client.post("/api/v1/session", json={"key": key}, headers=headers)


@pytest.fixture
async def browser(anonymous: httpx.AsyncClient, settings: Any) -> httpx.AsyncClient:
    answer = await _sign_in(anonymous, settings.bootstrap_key.get_secret_value())
    flags = answer.headers["set-cookie"]
    assert "HttpOnly" in flags
    assert "SameSite=Strict" in flags
    assert settings.bootstrap_key.get_secret_value() not in flags
    return anonymous


async def test_the_cookie_reads(browser: httpx.AsyncClient):
    assert (await browser.get("/api/v1/workflows")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost.evil.example"},
        {"origin": "http://localhost:81"},
    ],
)
async def test_the_cookie_changes_nothing_for_another_origin(
    browser: httpx.AsyncClient, headers: dict[str, str]
):
    answer = await browser.post(
        "/api/v1/workflows/shop/runs", json={"params": {"feed": "x"}}, headers=headers
    )
    assert answer.status_code == 403


async def test_the_cookie_works_for_pages_of_this_server(browser: httpx.AsyncClient):
    headers = {"origin": "http://localhost"}
    answer = await browser.post(
        "/api/v1/workflows/shop/runs", json={"params": {"feed": "x"}}, headers=headers
    )
    assert answer.status_code == 202


async def test_signing_in_needs_a_valid_key_and_no_foreign_origin(
    anonymous: httpx.AsyncClient, settings: Any
):
    key = settings.bootstrap_key.get_secret_value()
    assert (await _sign_in(anonymous, "hr_root_wrongwrongwrongwrong")).status_code == 401
    assert (await _sign_in(anonymous, key, origin="http://evil.example")).status_code == 403


@pytest.mark.parametrize("value", ["", "x", "root.99999999999.0", "root.99999999999.é", ".."])
async def test_a_made_up_cookie_is_refused(anonymous: httpx.AsyncClient, value: str):
    headers = {b"cookie": f"headrace_session={value}".encode("latin-1")}
    assert (await anonymous.get("/api/v1/workflows", headers=headers)).status_code == 401


async def test_a_session_ends_with_its_key(app: Any, api: httpx.AsyncClient):
    made = (await api.post("/api/v1/keys", json={"scopes": ["read"]})).json()
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        await _sign_in(client, made["key"])
        assert (await client.get("/api/v1/workflows")).status_code == 200
        await api.delete(f"/api/v1/keys/{made['id']}")
        assert (await client.get("/api/v1/workflows")).status_code == 401


async def test_signing_out_forgets_the_cookie(browser: httpx.AsyncClient):
    await browser.delete("/api/v1/session")
    assert (await browser.get("/api/v1/workflows")).status_code == 401


async def test_the_bootstrap_key_is_installed_once(api: httpx.AsyncClient, store: Store, settings: Any):
    before = (await api.get("/api/v1/keys")).json()["items"]
    await store.api_keys.install(settings.bootstrap_key.get_secret_value())
    assert (await api.get("/api/v1/keys")).json()["items"] == before


async def test_a_key_with_a_prefix_makes_sees_and_revokes_only_keys_inside_it(
    api: httpx.AsyncClient, key_for: KeyFor
):
    client = await key_for("admin", prefix="other-")
    wider = await client.post("/api/v1/keys", json={"scopes": ["admin"]})
    inside = await client.post("/api/v1/keys", json={"scopes": ["read"], "prefix": "other-a"})
    assert (wider.status_code, inside.status_code) == (403, 201)
    prefixes = [key["prefix"] for key in (await client.get("/api/v1/keys")).json()["items"]]
    assert sorted(prefixes) == ["other-", "other-a"]
    assert (await client.delete("/api/v1/keys/root")).status_code == 403
    assert (await client.delete(f"/api/v1/keys/{inside.json()['id']}")).status_code == 204
    assert (await api.get("/api/v1/session")).status_code == 200


@pytest.mark.parametrize("more", [
    {"nodes": {"a": {"workflow": "shop"}}},
    {"nodes": {"a": {"workflow": {"name": "shop"}}}},
    {"nodes": {"a": {"type": "step"}}, "triggers": [{"run": {"name": "after", "workflow": "shop"}}]},
])  # fmt: skip
@pytest.mark.usefixtures("published")
async def test_a_document_reaches_no_further_than_the_prefix_of_its_key(
    key_for: KeyFor, more: dict[str, object]
):
    """A child run or a run trigger would start, or read the output of, another one's runs."""
    async with await key_for("write", prefix="other-") as client:
        answer = await client.put("/api/v1/workflows/other-a", json={"name": "other-a", **more})
    assert (answer.status_code, "shop" in answer.json()["detail"]) == (403, True)


async def test_an_admin_with_a_prefix_reads_of_the_audit_what_concerns_its_workflows_and_what_it_did_itself(
    api: httpx.AsyncClient, key_for: KeyFor, document: dict[str, Any], published: httpx.Response
):
    inside, outside = {**document, "name": "other-shop"}, "/api/v1/workflows/shop"
    (await api.put("/api/v1/workflows/other-shop", json=inside)).raise_for_status()
    run = (await api.post("/api/v1/workflows/other-shop/runs", json={"params": {"feed": "f"}})).json()["run"]
    (await api.post(f"/api/v1/runs/{run}/cancel")).raise_for_status()
    hidden = (await api.post(f"{outside}/runs", json={"params": {"feed": "f"}})).json()["run"]
    (await api.post(f"/api/v1/runs/{hidden}/cancel")).raise_for_status()
    client = await key_for("admin", prefix="other-")
    assert (await client.delete(outside)).status_code == 403

    async def seen(who: httpx.AsyncClient, **query: Any) -> list[tuple[str, str]]:
        found, cursor = list[tuple[str, str]](), ""
        while cursor is not None:
            page = (await who.get("/api/v1/audit", params={**query, "cursor": cursor})).json()
            found += [(item["target"].removeprefix("/api/v1"), item["outcome"]) for item in page["items"]]
            cursor = page["next_cursor"]
        return found

    theirs = [
        ("/workflows/shop", "refused"),
        (f"/runs/{run}/cancel", "done"),
        ("/workflows/other-shop", "done"),
    ]
    assert await seen(client) == theirs
    assert await seen(client, limit=1) == theirs
    assert (f"/runs/{hidden}/cancel", "done") in await seen(api)
    assert await seen(client, key="root") == theirs[1:]
