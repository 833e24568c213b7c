"""The URL guard: what a node may not be talked into fetching."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from headrace.errors import Blocked, SourceError, SourceMissing
from headrace.files import FileGuard
from headrace.streams import Opener
from headrace.urls import UrlGuard

NOT_PUBLIC = [
    "http://169.254.169.254/latest/meta-data/",
    "http://0xa9fea9fe/",
    "http://2852039166/",
    "http://0251.0376.0251.0376/",
    "http://169.254.43518/",
    "http://127.0.0.1:6379/",
    "http://127.1/",
    "http://localhost/",
    "http://0.0.0.0/",
    "http://10.0.0.1/",
    "http://172.16.5.4/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://192.0.2.1/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[2001:0:a9fe:a9fe::1]/",
    "http://[fe80::1]/",
    "http://[fc00::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
]
"""Addresses that are not public, in every spelling; the engine's own client is held against the same table."""
TWO_WAYS = [
    "http://user:password@shop.example/",
    "http:///feed",
    "http://shop.example:99999/",
    "http://shop.example/a\r\nX-Evil: 1",
    "http://[fe80::1%25eth0]/",
    "ftp://shop.example/",
]
"""URLs that two programs could read as two places."""
FEED = b'{"n":1}\n{"n":2}\n'


@pytest.fixture
def shop() -> Iterator[tuple[int, list[str]]]:
    """A web server on 127.0.0.1: its port, and the Host headers it has seen."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(str(self.headers["Host"]))
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "http://169.254.169.254/latest/meta-data/")
            else:
                self.send_response({"/gone": 404, "/busy": 503}.get(self.path, 200))
            self.send_header("Content-Type", "application/x-ndjson; charset=utf-8")
            if self.path == "/cut":
                self.send_header("Content-Length", str(len(FEED) + 100))
            self.end_headers()
            self.wfile.write(FEED)

        def log_message(self, format: str, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield httpd.server_port, seen
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def answers(*addresses: str) -> Callable[[str, int], list[str]]:
    """A resolver that gives one address at each look-up, in turn."""
    left = list(addresses)
    return lambda host, port: [left.pop(0)]


def opener(tmp_path: Path, *allow: str, resolver: Callable[[str, int], list[str]] | None = None) -> Opener:
    urls = UrlGuard(allow) if resolver is None else UrlGuard(allow, resolver)
    return Opener(FileGuard([str(tmp_path)]), urls)


@pytest.mark.parametrize("url", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_blocked_in_every_spelling(url: str) -> None:
    with pytest.raises(Blocked):
        UrlGuard().check(url)


@pytest.mark.parametrize("url", TWO_WAYS)
def test_a_url_that_could_be_read_two_ways_is_blocked(url: str) -> None:
    with pytest.raises(Blocked):
        UrlGuard(resolver=lambda host, port: ["93.184.215.14"]).check(url)


def test_one_private_address_among_several_blocks_the_name() -> None:
    guard = UrlGuard(resolver=lambda host, port: ["93.184.215.14", "10.0.0.1"])
    with pytest.raises(Blocked):
        guard.check("https://shop.example/feed")


def test_a_public_name_is_pinned_to_the_address_that_was_checked() -> None:
    guard = UrlGuard(resolver=answers("93.184.215.14"))
    target = guard.check("https://shop.example/feed?page=1#top")
    assert (target.address, target.port, target.path) == ("93.184.215.14", 443, "/feed?page=1")
    assert target.authority == "shop.example"


def test_a_name_that_resolves_differently_the_second_time_is_checked_again(tmp_path: Path) -> None:
    rebound = opener(tmp_path, resolver=answers("93.184.215.14", "127.0.0.1"))
    stream = rebound.open("http://shop.example/feed")
    with pytest.raises(Blocked):
        list(stream)


def test_the_connection_goes_to_the_pinned_address_under_the_name(
    tmp_path: Path, shop: tuple[int, list[str]]
) -> None:
    port, seen = shop
    allowed = opener(tmp_path, "shop.example", resolver=lambda host, port: ["127.0.0.1"])
    assert list(allowed.open(f"http://shop.example:{port}/feed")) == [{"n": 1}, {"n": 2}]
    assert seen == [f"shop.example:{port}"]


def test_an_allowed_host_and_port_opens_only_that_port(tmp_path: Path, shop: tuple[int, list[str]]) -> None:
    port, _ = shop
    allowed = opener(tmp_path, f"127.0.0.1:{port}")
    assert list(allowed.open(f"http://127.0.0.1:{port}/feed#records=1-2")) == [{"n": 2}]
    with pytest.raises(Blocked):
        allowed.open("http://127.0.0.1:1/feed")


def test_a_redirect_is_not_followed(tmp_path: Path, shop: tuple[int, list[str]]) -> None:
    port, seen = shop
    stream = opener(tmp_path, "127.0.0.1").open(f"http://127.0.0.1:{port}/moved")
    with pytest.raises(Blocked, match="redirects"):
        list(stream)
    assert len(seen) == 1


def test_a_busy_server_is_worth_a_retry_and_a_missing_page_is_not(
    tmp_path: Path, shop: tuple[int, list[str]]
) -> None:
    port, _ = shop
    allowed = opener(tmp_path, "127.0.0.1")
    with pytest.raises(SourceError) as busy:
        list(allowed.open(f"http://127.0.0.1:{port}/busy"))
    with pytest.raises(SourceMissing) as gone:
        list(allowed.open(f"http://127.0.0.1:{port}/gone"))
    assert (busy.value.retryable, gone.value.retryable) == (True, False)


def test_a_name_that_does_not_resolve_is_worth_a_retry() -> None:
    def nowhere(host: str, port: int) -> list[str]:
        raise OSError("no such host")

    with pytest.raises(SourceError, match=r"cannot resolve shop\.example"):
        UrlGuard(resolver=nowhere).check("http://shop.example/")


def test_an_answer_that_breaks_off_is_worth_a_retry(tmp_path: Path, shop: tuple[int, list[str]]) -> None:
    port, _ = shop
    with pytest.raises(SourceError, match="broke off") as cut:
        list(opener(tmp_path, "127.0.0.1").open(f"http://127.0.0.1:{port}/cut"))
    assert cut.value.retryable
