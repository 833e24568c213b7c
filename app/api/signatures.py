"""Verifying webhooks: over the raw bytes, in constant time, Standard Webhooks within five minutes of now."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from hashlib import sha256

from standardwebhooks import Webhook, WebhookVerificationError

KINDS = ("standard", "github", "shopify", "none")
DELIVERY_HEADERS = {
    "standard": b"webhook-id",
    "github": b"x-github-delivery",
    "shopify": b"x-shopify-webhook-id",
}
"""The header in which each kind of sender names a delivery; its repeats carry the same name."""
SECRET_HEADERS = frozenset(
    {
        "authorization",
        "cookie",
        "webhook-signature",
        "x-hub-signature",
        "x-hub-signature-256",
        "x-shopify-hmac-sha256",
    }
)
"""Headers that no template may read."""


def verified(kind: str, secret: str, body: bytes, headers: Mapping[bytes, bytes]) -> bool:
    """Whether the sender knows the secret. Unknown kinds are never verified."""
    if kind == "standard":
        return _standard(secret, body, headers)
    if kind == "github":
        given = headers.get(b"x-hub-signature-256", b"")
        expected = "sha256=" + hmac.new(secret.encode(), body, sha256).hexdigest()
        return hmac.compare_digest(expected.encode(), given)
    if kind == "shopify":
        given = headers.get(b"x-shopify-hmac-sha256", b"")
        return hmac.compare_digest(base64.b64encode(hmac.digest(secret.encode(), body, sha256)), given)
    return kind == "none"


def usable_secret(kind: str, secret: str) -> bool:
    """Whether signatures of this kind can be checked with the secret: Standard Webhooks wants base64."""
    if kind != "standard":
        return True
    try:
        return bool(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
    except ValueError:
        return False


def _standard(secret: str, body: bytes, headers: Mapping[bytes, bytes]) -> bool:
    names = (b"webhook-id", b"webhook-timestamp", b"webhook-signature")
    given = {name.decode(): headers.get(name, b"").decode("latin-1") for name in names}
    try:
        Webhook(secret).verify(body, given, json_parse=False)
    except (WebhookVerificationError, ValueError):
        return False
    return True


def delivery_key(kind: str, headers: Mapping[bytes, bytes]) -> str | None:
    """What makes a delivery the same as an earlier one: the sender's delivery id, else Idempotency-Key, else
    nothing."""
    name = DELIVERY_HEADERS.get(kind)
    value = (headers.get(name) if name else None) or headers.get(b"idempotency-key")
    return value.decode("latin-1") if value else None
