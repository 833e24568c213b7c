"""Who may do what: scopes, principals, and the check of keys and node tokens.

Three kinds of callers, never interchangeable: an API key (`Authorization: Bearer hr_<id>_<secret>`), the UI's
session cookie (made from an API key, with that key's scopes), and a node token, which opens the node protocol
of one attempt and nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from app.api.edge import same_origin
from app.api.http import Call
from app.core.tokens import NODE, TokenClaims, verify
from app.errors import Forbidden, Unauthorized
from app.store.api_keys import ApiKey, ApiKeys, parse_key

COOKIE = "headrace_session"
NO_KEY = "A valid API key is required."
SESSION_SECONDS = 12 * 3600
CACHE_SECONDS = 5.0
"""How long a key that was deleted by another process may still be accepted here."""
CACHE_SIZE = 4096
V = TypeVar("V")


class Scope(StrEnum):
    """What a key may do. `admin` includes every other; write, operate and approve include read; trigger does
    not."""

    READ = "read"
    TRIGGER = "trigger"
    WRITE = "write"
    OPERATE = "operate"
    APPROVE = "approve"
    ADMIN = "admin"


IMPLIED: dict[Scope, frozenset[Scope]] = {
    Scope.READ: frozenset({Scope.READ}),
    Scope.TRIGGER: frozenset({Scope.TRIGGER}),
    Scope.WRITE: frozenset({Scope.WRITE, Scope.READ}),
    Scope.OPERATE: frozenset({Scope.OPERATE, Scope.READ}),
    Scope.APPROVE: frozenset({Scope.APPROVE, Scope.READ}),
    Scope.ADMIN: frozenset(Scope),
}


@dataclass(slots=True, frozen=True)
class Principal:
    """An authenticated key: its id, everything its scopes include, and the prefix its workflows must have."""

    id: str
    scopes: frozenset[Scope]
    prefix: str

    @classmethod
    def of(cls, key: ApiKey) -> Principal:
        """The principal of a stored key."""
        scopes = frozenset[Scope]().union(*(IMPLIED[Scope(scope)] for scope in key.scopes))
        return cls(key.id, scopes, key.prefix)

    def may_touch(self, workflow: str) -> bool:
        """Whether the workflow lies inside the key's prefix."""
        return workflow.startswith(self.prefix)


class Access:
    """Checks credentials, with a small cache so that the hot routes do not ask the store each time."""

    def __init__(self, keys: ApiKeys, secret: bytes) -> None:
        self._keys = keys
        self._secret = secret
        self._known: dict[bytes, tuple[Principal, float]] = {}
        self._unknown: dict[bytes, float] = {}
        self._tokens: dict[bytes, TokenClaims] = {}

    async def principal(self, call: Call) -> Principal:
        """Who calls, by Bearer key or by the UI's cookie.

        Raises Unauthorized, or Forbidden for a foreign origin.
        """
        header = call.headers.get(b"authorization")
        if header is None:
            return await self._from_cookie(call)
        found = self._known.get(header)
        now = time.monotonic()
        if found is not None and found[1] > now:
            return found[0]
        return await self._look_up(header, now)

    async def _look_up(self, header: bytes, now: float) -> Principal:
        digest = hashlib.sha256(header).digest()
        if self._unknown.get(digest, 0.0) > now:
            raise Unauthorized(NO_KEY)
        key = await self.verify_key(bearer(header) or "")
        if key is None:
            _remember(self._unknown, digest, now + CACHE_SECONDS)
            raise Unauthorized(NO_KEY)
        principal = Principal.of(key)
        _remember(self._known, header, (principal, now + CACHE_SECONDS))
        return principal

    async def verify_key(self, text: str) -> ApiKey | None:
        """The stored key that `text` is, or None."""
        parsed = parse_key(text)
        if parsed is None:
            return None
        key = await self._keys.get(parsed.id)
        return key if key is not None and hmac.compare_digest(key.hash, parsed.hash) else None

    def forget(self) -> None:
        """Drop the caches: a key was made or deleted by this process."""
        self._known.clear()
        self._unknown.clear()

    def claims(self, call: Call) -> TokenClaims:
        """What a node token says. Raises Unauthorized when it is absent, forged or expired."""
        header = call.headers.get(b"authorization", b"")
        now_ms = int(time.time() * 1000)
        claims = self._tokens.get(header)
        if claims is None:
            claims = verify(self._secret, bearer(header) or "", now_ms)
            _remember(self._tokens, header, claims)
        elif claims.expires_ms <= now_ms:
            raise Unauthorized("The node token has expired.")
        return claims

    def session(self, key: ApiKey) -> str:
        """The cookie's value: key id, expiry, signature. Deleting the key ends the session."""
        body = f"{key.id}.{int(time.time()) + SESSION_SECONDS}"
        return f"{body}.{self._sign(body)}"

    async def _from_cookie(self, call: Call) -> Principal:
        value = cookie(call.header(b"cookie") or "", COOKIE)
        if value is None:
            raise Unauthorized(NO_KEY)
        body, _, signature = value.rpartition(".")
        key_id, _, expires = body.partition(".")
        good = hmac.compare_digest(self._sign(body).encode(), signature.encode())
        if not good or not expires.isdigit() or int(expires) <= time.time():
            raise Unauthorized("The session has ended; sign in again.")
        if call.scope["method"] not in {"GET", "HEAD"} and not same_origin(call.headers):
            raise Forbidden("A request with the session cookie must come from a page of this server.")
        cache_key = b"cookie " + key_id.encode()
        found = self._known.get(cache_key)
        now = time.monotonic()
        if found is not None and found[1] > now:
            return found[0]
        key = await self._keys.get(key_id)
        if key is None:
            raise Unauthorized("The session has ended; sign in again.")
        principal = Principal.of(key)
        _remember(self._known, cache_key, (principal, now + CACHE_SECONDS))
        return principal

    def _sign(self, body: str) -> str:
        return hmac.new(self._secret, b"session:" + body.encode(), hashlib.sha256).hexdigest()


def is_node_token(call: Call) -> bool:
    """Whether the caller shows what is meant to be a node token."""
    return (bearer(call.headers.get(b"authorization", b"")) or "").startswith(NODE.prefix)


def bearer(header: bytes) -> str | None:
    """The token of an Authorization header, or None."""
    scheme, _, token = header.partition(b" ")
    if scheme.lower() != b"bearer":
        return None
    try:
        return token.strip().decode("ascii")
    except UnicodeDecodeError:
        return None


def cookie(header: str, name: str) -> str | None:
    """One cookie's value, or None."""
    for part in header.split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return None


def _remember(cache: dict[bytes, V], key: bytes, value: V) -> None:
    if len(cache) >= CACHE_SIZE:
        cache.clear()
    cache[key] = value
