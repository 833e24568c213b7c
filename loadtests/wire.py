"""A small, fast HTTP/1.1 load client: so many connections, each sending its next request when the answer has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import cast


class _Peer(asyncio.Protocol):
    def __init__(self, requests: Callable[[], bytes | None], done: asyncio.Future[None]) -> None:
        self._requests = requests
        self._done = done
        self._buffer = b""
        self.statuses: dict[int, int] = {}
        self.last_body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        request = self._requests()
        if request is None:
            if not self._done.done():
                self._done.set_result(None)
            self._transport.close()
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        mark = head.lower().find(b"content-length:")
        length = int(head[mark + 15 :].split(b"\r\n", 1)[0]) if mark >= 0 else 0
        if len(rest) < length:
            return
        status = int(head[9:12])
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.last_body, self._buffer = rest[:length], rest[length:]
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(ConnectionError(f"the server closed a connection: {exc}"))


def request(path: str, body: bytes, headers: dict[str, str], host: str = "127.0.0.1") -> bytes:
    """The bytes of one POST."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def drive(
    host: str, port: int, sources: list[Callable[[], bytes | None]]
) -> tuple[float, dict[int, int], list[bytes]]:
    """One connection per source until each gives None: (requests per second, answers by status, last bodies)."""
    loop = asyncio.get_running_loop()
    peers: list[_Peer] = []
    waits: list[asyncio.Future[None]] = []
    began = perf_counter()
    for source in sources:
        done: asyncio.Future[None] = loop.create_future()
        peer = _Peer(source, done)
        await loop.create_connection(lambda peer=peer: peer, host, port)
        peers.append(peer)
        waits.append(done)
    await asyncio.gather(*waits)
    took = perf_counter() - began
    statuses: dict[int, int] = {}
    for peer in peers:
        for status, count in peer.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    return sum(statuses.values()) / took, statuses, [peer.last_body for peer in peers]


def repeat(payload: bytes, budget: list[int]) -> Callable[[], bytes | None]:
    """The same request until the shared budget is spent."""

    def following() -> bytes | None:
        if budget[0] <= 0:
            return None
        budget[0] -= 1
        return payload

    return following
