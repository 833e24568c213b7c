"""What every request goes through, whatever its route."""

from __future__ import annotations

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from app.api.edge import allowed_hosts, host_name
from app.errors import EngineFault
from app.main import create_app
from app.settings import Settings


async def test_every_answer_has_a_request_id_of_its_own(anonymous: httpx.AsyncClient):
    first, second = [(await anonymous.get("/livez")).headers["x-request-id"] for _ in range(2)]
    assert first != second


async def test_a_given_request_id_comes_back(anonymous: httpx.AsyncClient):
    answer = await anonymous.get("/livez", headers={"x-request-id": "trace-1.2"})
    assert answer.headers["x-request-id"] == "trace-1.2"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a\tb"])
async def test_a_bad_request_id_is_replaced(anonymous: httpx.AsyncClient, given: str):
    answer = await anonymous.get("/livez", headers={"x-request-id": given})
    assert answer.headers["x-request-id"] != given


async def test_security_headers_are_on_every_answer(anonymous: httpx.AsyncClient):
    for path in ("/livez", "/api/v1/nope", "/api/v1/docs"):
        headers = (await anonymous.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost@evil.example"])
async def test_a_foreign_host_is_refused(anonymous: httpx.AsyncClient, host: str):
    answer = await anonymous.get("/api/v1/openapi.json", headers={"host": host})
    assert answer.status_code == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:8765", "127.0.0.1:1", "[::1]:8765", "LOCALHOST"])
async def test_loopback_names_are_answered_with_any_port(anonymous: httpx.AsyncClient, host: str):
    assert (await anonymous.get("/api/v1/openapi.json", headers={"host": host})).status_code == 200


async def test_probes_are_answered_whatever_the_host(anonymous: httpx.AsyncClient):
    for path in ("/livez", "/readyz", "/metrics"):
        assert (await anonymous.get(path, headers={"host": "10.1.2.3:8765"})).status_code == 200


def test_hosts_come_from_the_settings():
    hosts = allowed_hosts("http://api.internal:8765", "0.0.0.0", extra="shop.example, [2001:db8::1]")
    assert hosts is not None
    assert {b"api.internal", b"shop.example", b"[2001:db8::1]", b"localhost"} <= hosts
    assert allowed_hosts("127.0.0.1", extra="*") is None


@pytest.mark.parametrize(
    ("header", "name"), [(b"a.b:80", b"a.b"), (b"[::1]", b"[::1]"), (b"[::1]:80", b"[::1]"), (b"A", b"a")]
)
def test_the_port_is_no_part_of_a_host_name(header: bytes, name: bytes):
    assert host_name(header) == name


async def test_an_unknown_path_is_a_problem_document(api: httpx.AsyncClient):
    answer = await api.get("/api/v1/nope")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "https://headrace.dev/problems/not_found",
        "title": "There is no such thing.",
        "status": 404,
        "detail": "There is no such thing.",
        "code": "not_found",
        "errors": [],
    }


async def test_a_wrong_method_tells_the_right_ones(api: httpx.AsyncClient):
    answer = await api.post("/api/v1/workflows")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "x-unknown"])
async def test_an_encoded_body_is_refused(api: httpx.AsyncClient, encoding: str):
    headers = {"content-encoding": encoding}
    answer = await api.post("/api/v1/workflows/shop/runs", content=b"\x1f\x8b", headers=headers)
    assert answer.status_code == 415


async def test_a_declared_length_past_the_limit_is_refused_at_once(api: httpx.AsyncClient):
    answer = await api.post("/api/v1/workflows/shop/runs", content=b"x" * ((1 << 20) + 1))
    assert answer.status_code == 413
    assert answer.json()["limit"] == 1 << 20


async def test_workflows_may_be_larger_than_other_bodies(api: httpx.AsyncClient):
    answer = await api.put("/api/v1/workflows/shop", content=b"x" * ((1 << 20) + 1))
    assert answer.status_code == 400


@pytest.mark.parametrize("fault", [RuntimeError, EngineFault])
async def test_an_unexpected_error_says_nothing_of_its_cause(settings: Settings, fault: type[Exception]):
    async def broken(_: Request) -> PlainTextResponse:
        raise fault("the password is hunter2")

    app = create_app(settings, extra_routes=[Route("/broken", broken)])
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/broken")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "hunter2" not in answer.text


async def test_extra_routes_go_through_the_same_middlewares(settings: Settings):
    async def empty(_: Request) -> PlainTextResponse:
        return PlainTextResponse("")

    app: Starlette = create_app(settings, extra_routes=[Route("/floor", empty, methods=["POST"])])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        good = await client.post("/floor", content=b"{}")
        large = await client.post("/floor", content=b"x" * ((1 << 20) + 1))
    assert "x-request-id" in good.headers
    assert large.status_code == 413
