"""The engine's HTTP client: what a service's URL may not talk it into, and that TLS is verified against the name."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from tests.sdk.test_url_guard import NOT_PUBLIC, TWO_WAYS
from workers.executors.webclient import Answer, CallError, WebClient, usable


def answers(*addresses: str) -> Callable[[str, int], list[str]]:
    """A resolver that gives one address at each look-up, in turn."""
    left = list(addresses)
    return lambda host, port: [left.pop(0)]


async def get(client: WebClient, url: str) -> Answer:
    try:
        return await client.send("GET", url, {}, None, limit=1000, seconds=10)
    finally:
        await client.close()


async def refused(client: WebClient, url: str) -> CallError:
    with pytest.raises(CallError) as error:
        await get(client, url)
    return error.value


@pytest.mark.parametrize("url", NOT_PUBLIC)
async def test_an_address_that_is_not_public_is_blocked_in_every_spelling(url: str):
    error = await refused(WebClient("", connections=4), url)
    assert (error.type, error.retryable) == ("blocked", False)


@pytest.mark.parametrize("url", TWO_WAYS)
async def test_a_url_that_could_be_read_two_ways_is_blocked(url: str):
    assert not usable(url)
    assert (
        await refused(WebClient("", connections=4, resolver=answers("93.184.215.14")), url)
    ).type == "blocked"


async def test_a_name_is_looked_up_once_and_that_address_is_connected_to(shop: tuple[int, list[str]]):
    port, seen = shop
    client = WebClient(f"shop.example:{port}", connections=4, resolver=answers("127.0.0.1"))
    assert (await get(client, f"http://shop.example:{port}/feed?a=b%2Fc")).status == 200
    assert seen == [f"shop.example:{port} /feed?a=b%2Fc"]


async def test_a_name_that_resolves_differently_the_second_time_is_checked_again(shop: tuple[int, list[str]]):
    port, seen = shop
    client = WebClient("", connections=4, resolver=answers("93.184.215.14", "127.0.0.1"))
    client_error: list[str] = []
    for _ in range(2):  # the first is not reachable from here, or is; the second must never be
        try:
            await client.send("GET", f"http://rebound.example:{port}/", {}, None, limit=10, seconds=0.5)
        except CallError as error:
            client_error.append(error.type)
    await client.close()
    assert client_error[-1] == "blocked"
    assert not seen


async def test_a_redirect_is_an_answer_and_is_not_followed(shop: tuple[int, list[str]]):
    port, seen = shop
    answer = await get(WebClient("127.0.0.1", connections=4), f"http://127.0.0.1:{port}/moved")
    assert (answer.status, len(seen)) == (302, 1)


async def test_an_answer_is_read_up_to_its_limit(shop: tuple[int, list[str]]):
    port, _ = shop
    assert (
        await refused(WebClient("127.0.0.1", connections=4), f"http://127.0.0.1:{port}/long")
    ).type == "answer_too_large"


async def test_a_compressed_answer_is_not_unpacked(shop: tuple[int, list[str]]):
    port, _ = shop
    assert (
        await refused(WebClient("127.0.0.1", connections=4), f"http://127.0.0.1:{port}/bomb")
    ).type == "bad_answer"


async def test_a_certificate_of_another_name_is_refused_and_its_own_is_not(
    tls_shop: int, monkeypatch: pytest.MonkeyPatch, certificate: Path
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    allow = f"shop.example:{tls_shop},other.example:{tls_shop}"
    own = WebClient(allow, connections=4, resolver=answers("127.0.0.1"), trust=ssl.create_default_context())
    assert (await get(own, f"https://shop.example:{tls_shop}/feed")).status == 200
    other = WebClient(allow, connections=4, resolver=answers("127.0.0.1"), trust=ssl.create_default_context())
    assert (await refused(other, f"https://other.example:{tls_shop}/feed")).type == "tls"


# a web server of the tests' own ---------------------------------------------------------------------------------------


async def _serve(seen: list[str], context: ssl.SSLContext | None = None) -> tuple[web.AppRunner, int]:
    async def handle(request: web.Request) -> web.Response:
        seen.append(f"{request.headers['Host']} {request.raw_path}")
        match request.path:
            case "/moved":
                return web.Response(status=302, headers={"Location": "http://169.254.169.254/"})
            case "/long":
                return web.Response(body=b"x" * 2000)
            case "/bomb":
                return web.Response(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
            case _:
                return web.json_response({"n": 1})

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    return runner, runner.addresses[0][1]


@pytest.fixture
async def shop() -> AsyncIterator[tuple[int, list[str]]]:
    """A web server on 127.0.0.1: its port, and what it was asked."""
    seen: list[str] = []
    runner, port = await _serve(seen)
    yield port, seen
    await runner.cleanup()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of shop.example that signs itself; its key lies beside it."""
    folder = tmp_path_factory.mktemp("tls")
    file = folder / "shop.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=shop.example", "-addext", "subjectAltName=DNS:shop.example", "-keyout", str(folder / "shop.key"),
         "-out", str(file)],
        check=True, capture_output=True,
    )  # fmt: skip
    return file


@pytest.fixture
async def tls_shop(certificate: Path) -> AsyncIterator[int]:
    """The same server with TLS, as shop.example."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    runner, port = await _serve([], context)
    yield port
    await runner.cleanup()
