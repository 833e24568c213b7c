"""Tokens of attempts: who may speak for one attempt of one node run. Signed, never stored; the store checks that it is live.

A node token opens the node protocol, a callback token only the callback of a service, and a tick token lets the pod of a
CronJob say that its schedule is due. What is signed differs by the purpose, so none can be turned into another.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from hashlib import sha256

from app.errors import Unauthorized

LIFETIME_MS = 30 * 24 * 3600 * 1000
"""The absolute cap; before it a token ends with its attempt."""
NEVER_MS = (1 << 53) - 1


@dataclass(slots=True, frozen=True)
class TokenClaims:
    run: str
    ref: str
    """The node, or "node:index" for an item of a map."""
    attempt: int
    workflow: str
    version: int
    expires_ms: int


@dataclass(slots=True, frozen=True)
class Purpose:
    """What a kind of token opens."""

    prefix: str
    salt: bytes
    """Signed with the payload."""
    what: str


NODE = Purpose("hn_", b"", "node token")
CALLBACK = Purpose("hc_", b"callback:", "callback token")
TICK = Purpose("ht_", b"tick:", "tick token")
"""Its claims are the workflow, and the schedule as `ref`; it has no end, and fires what is due anyway."""


def _signature(secret: bytes, purpose: Purpose, payload: bytes) -> bytes:
    digest = hmac.digest(secret, purpose.salt + payload, sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=")


def sign(secret: bytes, claims: TokenClaims, purpose: Purpose = NODE) -> str:
    """Its prefix + payload + "." + signature, both base64url; the payload is "run|ref|attempt|workflow|version|expires"."""
    fields = (claims.run, claims.ref, claims.attempt, claims.workflow, claims.version, claims.expires_ms)
    payload = base64.urlsafe_b64encode("|".join(map(str, fields)).encode()).rstrip(b"=")
    return f"{purpose.prefix}{payload.decode()}.{_signature(secret, purpose, payload).decode()}"


def verify(secret: bytes, token: str, now_ms: int, purpose: Purpose = NODE) -> TokenClaims:
    """The claims of a genuine token. Raises Unauthorized for a forged, malformed or expired one."""
    body, dot, signature = token.removeprefix(purpose.prefix).partition(".")
    if not token.startswith(purpose.prefix) or not dot or not token.isascii():
        raise Unauthorized(f"This needs the {purpose.what} of a node run.")
    if not hmac.compare_digest(_signature(secret, purpose, body.encode()), signature.encode()):
        raise Unauthorized(f"The {purpose.what} is not genuine.")
    raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode()
    run, ref, attempt, workflow, version, expires = raw.split("|")
    claims = TokenClaims(run, ref, int(attempt), workflow, int(version), int(expires))
    if now_ms >= claims.expires_ms:
        raise Unauthorized(f"The {purpose.what} has expired.")
    return claims
