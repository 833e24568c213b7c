"""The log of one pod as an API server gives it: what the readers of logs are tested against without a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from app.joblogs import JobLog, PartsReader
from workers.executors.kubernetes.client import ClusterError, Unreachable

POD = "20260101T000000Z.0a1b2c3d"
"""What the parts of the log of a pod are named by."""


class Content:
    """What a stream gives, chunk by chunk; it may end with an error, which aiohttp then raises each time."""

    def __init__(
        self, chunks: list[bytes], error: Exception | None = None, endless: asyncio.Event | None = None
    ) -> None:
        self.content = self
        """An answer is read by what is in it."""
        self._chunks = chunks
        self._endless = endless
        self._error = error

    async def readany(self) -> bytes:
        if self._chunks:
            return self._chunks.pop(0)
        if self._endless is not None:
            self._endless.set()
            await asyncio.Event().wait()
        if self._error is not None:
            raise self._error
        return b""


class Pod:
    """An API server with the log of one pod: a stream gives all lines from the second that is asked for."""

    def __init__(self, text: bytes, *, chunk: int = 1 << 16) -> None:
        self.text = text
        self.chunk = chunk
        self.error: Exception | None = None
        self.ends_followed = True
        """False: its machine never ends a stream that waits for more."""
        self.followed = asyncio.Event()
        """Such a stream has given what there was."""
        self.gone_after: int | None = None
        """So many streams are given; the pod is not there any more when the next is asked for."""
        self.asked: list[str | None] = []

    def url(self, *parts: str) -> str:
        return "/".join(parts)

    @asynccontextmanager
    async def stream(self, url: str, params: Mapping[str, str], *, silence: float) -> AsyncGenerator[Content]:
        if self.gone_after is not None and len(self.asked) >= self.gone_after:
            raise ClusterError(404, "NotFound", "no pod")
        since = params.get("sinceTime")
        self.asked.append(since)
        lines = self.text.splitlines(keepends=True)
        text = b"".join(line for line in lines if since is None or line[:19].decode() + "Z" >= since)
        chunks = [text[at : at + self.chunk] for at in range(0, len(text), self.chunk)]
        error, self.error = self.error, None
        try:
            yield Content(
                chunks, error, None if self.ends_followed or "follow" not in params else self.followed
            )
        except TimeoutError as broken:
            raise Unreachable(f"the stream broke off ({type(broken).__name__})") from broken


def at(number: int) -> bytes:
    return b"2026-01-01T00:%02d:%02d.000000000Z" % divmod(number, 60)


async def text_of(log: JobLog) -> bytes:
    return b"".join([chunk async for chunk in PartsReader(log).more(final=True)])
