"""Jobs are posted over connections that are kept; no answer is ever taken for another's (rule 10, fault rows 21, 23)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from workers.executors.kubernetes import poster as module
from workers.executors.kubernetes.poster import Poster

TIMEOUT = 0.5


def answer(body: bytes, *fields: str) -> bytes:
    head = "".join(
        f"{field}\r\n" for field in ("HTTP/1.1 201 Created", *fields, f"Content-Length: {len(body)}")
    )
    return head.encode() + b"\r\n" + body


class Front:
    """A server whose every answer is made by `say`, from the number of the request."""

    def __init__(self) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self.say: Callable[[int], Awaitable[bytes]] = self.number

    async def number(self, number: int) -> bytes:
        return answer(b"%d" % number)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                writer.write(await self.say(len(self.requests)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
def front() -> Front:
    return Front()


@pytest.fixture
async def poster(front: Front) -> AsyncIterator[Poster]:
    server = await asyncio.start_server(front.serve, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    made = Poster(f"http://127.0.0.1:{port}/jobs?a=b", True, None, TIMEOUT)
    yield made
    made.close()
    server.close()
    await server.wait_closed()


async def test_a_body_is_posted_as_it_is(front: Front, poster: Poster):
    found = await poster.post({"Authorization": "Bearer t"}, b"{}")
    assert (found.status, found.content) == (201, b"1")
    head, _, body = front.requests[0].partition(b"\r\n\r\n")
    first, *fields = head.decode().split("\r\n")
    assert (first, body) == ("POST /jobs?a=b HTTP/1.1", b"{}")
    assert {"Authorization: Bearer t", "Content-Length: 2"} < set(fields)


async def test_one_connection_serves_calls_that_follow_each_other(front: Front, poster: Poster):
    for number in (1, 2, 3):
        assert (await poster.post({}, b"{}")).content == b"%d" % number
    assert front.connections == 1


async def test_calls_at_a_time_have_connections_of_their_own(front: Front, poster: Poster):
    all_there = asyncio.Barrier(3)

    async def together(number: int) -> bytes:
        await all_there.wait()
        return await front.number(number)

    front.say = together
    found = await asyncio.gather(*(poster.post({}, b"{}") for _ in range(3)))
    assert sorted(each.content for each in found) == [b"1", b"2", b"3"]
    assert front.connections == 3


async def test_an_answer_that_comes_too_late_is_nobodys(front: Front, poster: Poster):
    late = asyncio.Event()

    async def slow_at_first(number: int) -> bytes:
        if number == 1:
            await late.wait()
        return await front.number(number)

    front.say = slow_at_first
    with pytest.raises(TimeoutError):
        await poster.post({}, b"{}")
    late.set()
    assert (await poster.post({}, b"{}")).content == b"2"


async def test_a_connection_that_the_server_closes_is_not_used_again(front: Front, poster: Poster):
    async def last(number: int) -> bytes:
        return answer(b"%d" % number, "Connection: close")

    front.say = last
    assert [(await poster.post({}, b"{}")).content for _ in range(2)] == [b"1", b"2"]
    assert front.connections == 2


async def test_a_connection_that_was_idle_for_long_is_not_used_again(
    front: Front, poster: Poster, monkeypatch: pytest.MonkeyPatch
):
    """A balancer between may have forgotten it without a word."""
    monkeypatch.setattr(module, "KEPT", 0.0)
    for _ in range(2):
        await poster.post({}, b"{}")
    assert front.connections == 2


@pytest.mark.parametrize(
    "said",
    [b"no HTTP at all\r\n\r\n", answer(b"x" * (module.MOST + 1)), answer(b"1") + answer(b"2")],
    ids=["garbage", "too long", "two at once"],
)
async def test_what_is_no_answer_ends_its_connection_and_nothing_else(
    front: Front, poster: Poster, said: bytes
):
    async def nonsense(number: int) -> bytes:
        return said if number == 1 else await front.number(number)

    front.say = nonsense
    try:
        first = (await poster.post({}, b"{}")).content
    except ConnectionError:
        first = b""
    assert first in (b"", b"1")
    assert (await poster.post({}, b"{}")).content == b"2"
    assert front.connections == 2
