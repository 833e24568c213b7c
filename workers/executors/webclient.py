"""The HTTP client for URLs that users give: guarded (RELIABILITY rule 20), bounded, never redirected.

The rule of what may be called is the SDK's (`headrace.urls`), one rule for nodes and for the engine. Here it sits in the
connector: whatever name a request is for, it is the connector's resolver that looks it up, and it gives only addresses that
were checked; TLS is verified against the name. What looks like a number is resolved before, since connectors skip their
resolver for it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from headrace.errors import Blocked, SourceError
from headrace.urls import Resolver, UrlGuard, read_url, resolve

CONNECT_SECONDS = 10.0
RESOLVERS = 16
"""Names that are looked up at a time; a look-up that hangs takes one of them."""
LOOKUP_SECONDS = 10.0
PLAIN = "!$%&'()*+,;=:@/?~-._[]"
"""What stands in a path or query as it is; everything else is percent-encoded."""


@dataclass(slots=True, frozen=True)
class Answer:
    """What a server said; the names of headers are lower case, of repeated ones the last counts."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class CallError(Exception):
    """There is no answer that could be used: `type` and `message` tell why, without a text of any library's."""

    def __init__(self, type: str, message: str, *, retryable: bool, host_fault: bool = False) -> None:
        super().__init__(message)
        self.type = type
        self.message = message
        self.retryable = retryable
        self.host_fault = host_fault


class GuardedResolver(AbstractResolver):
    """Gives a connector the addresses that it may connect to, and no other."""

    def __init__(self, guard: UrlGuard) -> None:
        self._guard = guard
        self._threads = ThreadPoolExecutor(RESOLVERS, "resolver")

    async def addresses(self, host: str, port: int) -> list[str]:
        """Raises Blocked; OSError where it does not resolve."""
        loop = asyncio.get_running_loop()
        try:
            looked_up = loop.run_in_executor(self._threads, self._guard.addresses, host, port)
            return await asyncio.wait_for(looked_up, LOOKUP_SECONDS)
        except SourceError as error:
            if isinstance(error, Blocked):
                raise
            raise OSError(error.args[0]) from None

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=address, port=port, proto=0, flags=socket.AI_NUMERICHOST,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
            )
            for address in await self.addresses(host, port)
        ]  # fmt: skip

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class WebClient:
    """One for each worker. Every call has a connection of its own: none fails because a kept one had gone stale, and every
    one is checked. Close it with `await close()`."""

    def __init__(
        self,
        allow: str,
        *,
        connections: int,
        resolver: Resolver = resolve,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        """`allow`: host or host:port, comma separated, that may be private. `trust`: None is the system's."""
        entries = [entry for entry in (part.strip() for part in allow.split(",")) if entry]
        self._resolver = GuardedResolver(UrlGuard(entries, resolver))
        self._connections = connections
        self._trust = trust
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        limit: int,
        seconds: float | None,
    ) -> Answer:
        """One request, one answer of at most `limit` bytes within `seconds` (None: as long as it takes).

        Raises CallError.
        """
        try:
            target = await self._target(url)
            timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS)
            async with self._open().request(
                method, target, headers=headers, data=body, allow_redirects=False, timeout=timeout
            ) as response:
                answer = await self._read(response, limit)
        except Blocked as error:
            raise CallError(
                "blocked", f"the URL guard refuses the address: {error.args[0]}", retryable=False
            ) from None
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError):
            raise CallError(
                "tls", "the service's certificate or its TLS is not valid", retryable=True, host_fault=True
            ) from None
        except (aiohttp.ServerTimeoutError, TimeoutError):
            raise CallError(
                "timeout", "the service did not answer in time", retryable=True, host_fault=True
            ) from None
        except (aiohttp.ClientConnectorError, OSError):
            raise CallError(
                "unreachable", "the service cannot be reached", retryable=True, host_fault=True
            ) from None
        except (aiohttp.ClientError, ValueError):
            raise CallError(
                "broken_answer",
                "the service's answer broke off, or is not HTTP",
                retryable=True,
                host_fault=True,
            ) from None
        return answer

    async def _target(self, url: str) -> URL:
        scheme, host, port, path = read_url(url)
        if ":" in host or not any(character.isalpha() for character in host):
            host = (await self._resolver.addresses(host, port))[0]
        path, _, query = quote(path, safe=PLAIN).partition("?")
        return URL.build(
            scheme=scheme, host=_ascii(host), port=port, path=path, query_string=query, encoded=True
        )

    @staticmethod
    async def _read(response: aiohttp.ClientResponse, limit: int) -> Answer:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise CallError(
                "bad_answer", "the service's answer is compressed, which was not asked for", retryable=False
            )
        body = bytearray()
        async for chunk in response.content.iter_chunked(1 << 16):
            body += chunk
            if len(body) > limit:
                response.close()
                if response.status >= 400:
                    break  # what matters is the status; the rest of a long error page is not read
                raise CallError(
                    "answer_too_large", f"the service's answer is longer than {limit} bytes", retryable=False
                )
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, headers, bytes(body[:limit]))

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=self._resolver,
                use_dns_cache=False,
                limit=self._connections,
                force_close=True,
                ssl=True if self._trust is None else self._trust,
            )
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False,
                headers={"User-Agent": "headrace", "Accept-Encoding": "identity"},
            )  # fmt: skip
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        await self._resolver.close()


def usable(url: str) -> bool:
    """Whether it is an http(s) URL that can be read one way only; where it leads is checked when it is called."""
    try:
        read_url(url)
    except Blocked:
        return False
    return True


def _ascii(host: str) -> str:
    """A name as DNS and TLS have it. Raises Blocked for one that is none."""
    try:
        return host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        raise Blocked("not a usable http(s) URL") from None
