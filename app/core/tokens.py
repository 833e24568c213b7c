"""Node tokens: who may speak for one attempt of one node run. Signed, never stored; the store checks that it is live."""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from hashlib import sha256

from app.errors import Unauthorized

LIFETIME_MS = 30 * 24 * 3600 * 1000
"""The absolute cap; before it a token ends with its attempt."""


@dataclass(slots=True, frozen=True)
class TokenClaims:
    run: str
    ref: str
    """The node, or "node:index" for an item of a map."""
    attempt: int
    workflow: str
    version: int
    expires_ms: int


def _signature(secret: bytes, payload: bytes) -> bytes:
    return base64.urlsafe_b64encode(hmac.digest(secret, payload, sha256)).rstrip(b"=")


def sign(secret: bytes, claims: TokenClaims) -> str:
    """`hn_` + payload + "." + signature, both base64url; the payload is "run|ref|attempt|workflow|version|expires"."""
    fields = (claims.run, claims.ref, claims.attempt, claims.workflow, claims.version, claims.expires_ms)
    payload = base64.urlsafe_b64encode("|".join(map(str, fields)).encode()).rstrip(b"=")
    return f"hn_{payload.decode()}.{_signature(secret, payload).decode()}"


def verify(secret: bytes, token: str, now_ms: int) -> TokenClaims:
    """The claims of a genuine token. Raises Unauthorized for a forged, malformed or expired one."""
    body, dot, signature = token.removeprefix("hn_").partition(".")
    if not token.startswith("hn_") or not dot or not token.isascii():
        raise Unauthorized("This needs the token of a node run.")
    if not hmac.compare_digest(_signature(secret, body.encode()), signature.encode()):
        raise Unauthorized("The node token is not genuine.")
    raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode()
    run, ref, attempt, workflow, version, expires = raw.split("|")
    claims = TokenClaims(run, ref, int(attempt), workflow, int(version), int(expires))
    if now_ms >= claims.expires_ms:
        raise Unauthorized("The node token has expired.")
    return claims
