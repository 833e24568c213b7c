"""The URL guard: http(s) addresses that users give are resolved, checked, pinned, and never redirected."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from headrace.errors import Blocked, SourceError, SourceMissing

Address = IPv4Address | IPv6Address
Resolver = Callable[[str, int], list[str]]
"""host, port -> IP addresses as text. Raises OSError where there are none."""

_NAT64 = ip_network("64:ff9b::/96")
_FORBIDDEN_HEADER = frozenset("\r\n\0")


class Target(NamedTuple):
    """A checked URL: connect to `address`, never resolve `host` again."""

    scheme: str
    host: str
    port: int
    path: str
    address: str

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"


def resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver, which also knows decimal and hex forms of IPv4."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: Address) -> bool:
    """Whether an address is reachable on the public internet, embedded IPv4 addresses looked into."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.teredo or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def read_url(url: str) -> tuple[str, str, int, str]:
    """(scheme, host, port, path with query) of an http(s) URL. Raises Blocked for one that could be read two ways."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        raise Blocked("not a usable http(s) URL") from None
    host = (parts.hostname or "").rstrip(".")
    if not host or "%" in host or _FORBIDDEN_HEADER & set(url):
        raise Blocked("not a usable http(s) URL")
    if parts.username is not None or parts.password is not None:
        raise Blocked("credentials in a URL are not allowed")
    return parts.scheme, host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


class UrlGuard:
    """Checks and opens http(s) URLs. One look-up per URL: what was checked is what is connected to."""

    def __init__(self, allow: Sequence[str] = (), resolver: Resolver = resolve) -> None:
        """`allow`: `host` or `host:port` entries that may be private."""
        self._allow = frozenset(entry.lower() for entry in allow)
        self._resolver = resolver

    def check(self, url: str) -> Target:
        """Resolve and check a URL. Raises Blocked; SourceError where the name does not resolve."""
        scheme, host, port, path = read_url(url)
        return Target(scheme, host, port, path, self.addresses(host, port)[0])

    def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a name, each of them allowed. Raises Blocked; SourceError where it does not resolve."""
        try:
            found = [ip_address(text.partition("%")[0]) for text in self._resolver(host, port)]
        except (OSError, UnicodeError) as error:
            raise SourceError(f"cannot resolve {host}") from error
        if not found:
            raise SourceError(f"cannot resolve {host}")
        if not self._is_allowed(host, port) and not all(map(is_public, found)):
            raise Blocked(f"{host} is not a public address (HEADRACE_URL_ALLOW opens it)")
        return [str(address) for address in found]

    def _is_allowed(self, host: str, port: int) -> bool:
        bracketed = f"[{host}]" if ":" in host else host
        return not self._allow.isdisjoint({host, bracketed, f"{bracketed}:{port}"})

    def get(self, url: str, *, accept: str = "*/*") -> Any:
        """GET a URL; returns a urllib3 response to read as a stream. Raises SourceError and its kinds."""
        target = self.check(url)
        import urllib3

        timeout = urllib3.Timeout(connect=10, read=60)
        headers = {
            "Host": target.authority,
            "Accept": accept,
            "Accept-Encoding": "identity",
            "User-Agent": "headrace",
        }
        if target.scheme == "https":
            pool: Any = urllib3.HTTPSConnectionPool(
                target.address,
                target.port,
                timeout=timeout,
                server_hostname=target.host,
                assert_hostname=target.host,
            )
        else:
            pool = urllib3.HTTPConnectionPool(target.address, target.port, timeout=timeout)
        try:
            response = pool.urlopen(
                "GET", target.path, headers=headers, redirect=False, retries=False, preload_content=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise SourceError(f"cannot reach {target.authority}: {type(error).__name__}") from error
        return _accepted(response, target)


def _accepted(response: Any, target: Target) -> Any:
    """The response if it is a 200; its status decides about a retry."""
    status = response.status
    if status == 200:
        return response
    response.close()
    if 300 <= status < 400:
        raise Blocked(f"{target.authority} redirects ({status}); redirects are not followed")
    if 400 <= status < 500 and status not in (408, 425, 429):
        raise SourceMissing(f"{target.authority} answered {status}")
    raise SourceError(f"{target.authority} answered {status}")
