"""Where `headrace dev` listens, and by which URL it is reached."""

from __future__ import annotations

import pytest

from app.cli.dev.stack import listen, reachable
from app.errors import UsageError


def port_of(listener) -> int:
    return int(listener.getsockname()[1])


def test_a_port_in_use_is_a_usage_error_with_the_remedy():
    with listen("127.0.0.1", 0, 0) as first, pytest.raises(UsageError, match="--port 0 picks a free port"):
        listen("127.0.0.1", port_of(first), 0)


def test_port_0_takes_the_last_port_again():
    with listen("127.0.0.1", 0, 0) as first:
        last = port_of(first)
    with listen("127.0.0.1", 0, last) as second:
        assert port_of(second) == last


def test_port_0_takes_another_one_when_the_last_is_taken():
    with listen("127.0.0.1", 0, 0) as first, listen("127.0.0.1", 0, port_of(first)) as second:
        assert port_of(second) not in (0, port_of(first))


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:1"), ("0.0.0.0", "http://127.0.0.1:1"), ("::", "http://[::1]:1"),
     ("fe80::1", "http://[fe80::1]:1"), ("box.lan", "http://box.lan:1")],
)  # fmt: skip
def test_a_wildcard_address_is_reached_by_loopback(host: str, url: str):
    assert reachable(host, 1) == url
