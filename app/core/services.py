"""Services as nodes (M11), the pure part: where a call goes, what is sent, what an answer means, when to ask again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlsplit

import orjson

from app.core.cel_values import text_value
from app.core.expressions import Env, Expression, Template, pieces
from app.core.json_values import decode_json
from app.core.tasks import Task
from app.errors import ExpressionError, InputError

METADATA_LIMIT = 256 * 1024
"""Bytes of metadata that one node run may keep, and of an answer that is read."""
MAX_URL = 8_192
"""Bytes of a URL once its expressions are evaluated."""
BODILESS = frozenset({"GET", "DELETE"})
"""Methods whose requests carry no body, so neither config nor inputs."""
TRANSIENT = frozenset({408, 425, 429})
"""Client errors that another attempt may mend."""
DONE = frozenset({200, 201, 203})
EMPTY = frozenset({204, 205})
ACCEPTED = 202
FIRST_POLL_MS = 1_000
LAST_POLL_MS = 30_000
"""Between two polls, where the service does not say: a tenth of the time it has taken so far, within these."""
MOST_POLL_MS = 300_000
"""The longest Retry-After that is followed between two polls."""
MOST_DELAY_MS = 3_600_000
"""The longest Retry-After that is followed between two attempts."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
SHOWN = 300
"""Characters of a refusing answer that are kept in the error."""


class UrlTemplate(Template):
    """A URL with expressions in its path and query; each value is percent-encoded, so that it stays one part of them."""

    __slots__ = ()

    def render(self, env: Env, place: str = "") -> str:
        """The URL. Raises ExpressionError that names `place`."""
        if self.static:
            return self.value
        url = ""
        for part in pieces(self.value):
            if isinstance(part, Expression):
                value = text_value(part.evaluate(env, place))
                url += quote(value, safe="") if len(value) <= MAX_URL else value
            else:
                url += part
            if len(url) > MAX_URL:
                raise ExpressionError(f"{place}: the URL is longer than {MAX_URL} characters", place=place)
        if not {".", ".."}.isdisjoint(urlsplit(url).path.split("/")):
            raise ExpressionError(f"{place}: a value makes '.' or '..' of a part of the path", place=place)
        return url


@dataclass(slots=True, frozen=True)
class ServiceDef:
    """What a service node calls."""

    url: UrlTemplate
    method: str = "POST"
    secret: str | None = None
    """The name of the secret that is sent."""

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> ServiceDef:
        """From the `service` of a checked document."""
        return cls(UrlTemplate(spec["url"]), spec.get("method", "POST"), spec.get("secret"))

    @property
    def host(self) -> str:
        """host:port, the same for every call of the node: no expression stands in it."""
        return host_of(self.url.value)


def host_of(url: str) -> str:
    """`host:port` of a URL, lower case, with the scheme's own port where it names none."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        port = parts.port
    except ValueError:
        port = None
    return f"{f'[{host}]' if ':' in host else host}:{port or (443 if parts.scheme == 'https' else 80)}"


def same_origin(one: str, other: str) -> bool:
    """Whether two URLs have the same scheme, host and port."""
    return urlsplit(one).scheme == urlsplit(other).scheme and host_of(one) == host_of(other)


def idempotency_key(task: Task) -> str:
    """The same for every sending of one attempt, whichever worker sends it; another attempt has another one."""
    return f"{task.run}/{task.ref}/{task.attempt}"


@dataclass(slots=True, frozen=True)
class Waiting:
    """A service that has accepted its work: the node run's position inside execute."""

    attempt: int
    since: int
    """ms when it was accepted."""
    location: str | None
    """Where to ask for the result; None: only its callback tells."""

    def encode(self) -> bytes:
        return orjson.dumps({"attempt": self.attempt, "since": self.since, "location": self.location})

    @classmethod
    def parse(cls, data: bytes | None, attempt: int) -> Waiting | None:
        """Of the position's data; None where it is of another attempt, or there is none."""
        record = orjson.loads(data) if data else None
        if not isinstance(record, dict) or record.get("attempt") != attempt:
            return None
        return cls(attempt, record["since"], record["location"])


@dataclass(slots=True, frozen=True)
class Finished:
    metadata: bytes


@dataclass(slots=True, frozen=True)
class Accepted:
    location: str | None
    retry_after: int | None
    """ms that the service asks to wait before the next poll."""


@dataclass(slots=True, frozen=True)
class Failed:
    type: str
    message: str
    retryable: bool
    delay: int = 0
    """ms that the service asks to wait before another attempt."""
    host_fault: bool = False
    """It speaks against the host, not against this call: what the circuit counts."""


Outcome = Finished | Accepted | Failed


def judge(status: int, headers: Mapping[str, str], body: bytes, now_ms: int) -> Outcome:
    """What an answer means; the names of `headers` are lower case."""
    if status in EMPTY or (status in DONE and not body.strip()):
        return Finished(b"null")
    if status in DONE:
        return _metadata(body)
    if status == ACCEPTED:
        wait = retry_after(headers.get("retry-after"), now_ms)
        return Accepted(headers.get("location") or None, wait)
    if 300 <= status < 400:
        return Failed("redirect", f"the service answered {status}: redirects are not followed", False)
    retryable = status >= 500 or status in TRANSIENT
    delay = retry_after(headers.get("retry-after"), now_ms) if status in (429, 503) else None
    message = f"the service answered {status}{_said(body)}"
    return Failed(f"http_{status}", message, retryable, min(delay or 0, MOST_DELAY_MS), status >= 500)


def _metadata(body: bytes) -> Outcome:
    try:
        return Finished(orjson.dumps(decode_json(body)))
    except InputError:
        return Failed("bad_answer", "the service's answer is not valid JSON", False)


def _said(body: bytes) -> str:
    """What a refusing service says, in one line: a problem's title and detail where it sent one."""
    text = body[: 4 * SHOWN].decode(errors="replace")
    try:
        problem = orjson.loads(body)
    except ValueError:
        problem = None
    if isinstance(problem, dict):
        told = [
            problem[name]
            for name in ("title", "detail", "message", "error")
            if isinstance(problem.get(name), str)
        ]
        text = ": ".join(told) or text
    line = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", " ".join(text.split()))
    if not line:
        return ""
    return f": {line[:SHOWN]}{'...' if len(line) > SHOWN else ''}"


def retry_after(value: str | None, now_ms: int) -> int | None:
    """ms of a Retry-After header: seconds or an HTTP date. None without a usable one."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text) * 1000
    try:
        return max(round(parsedate_to_datetime(text).timestamp() * 1000) - now_ms, 0)
    except (ValueError, TypeError, OverflowError):
        return None


def poll_after(waited_ms: int, asked_ms: int | None, jitter: float) -> int:
    """ms until the next poll of a service that has worked for `waited_ms`; `asked_ms` is its Retry-After."""
    if asked_ms is None:
        wait = min(max(waited_ms // 10, FIRST_POLL_MS), LAST_POLL_MS)
    else:
        wait = min(max(asked_ms, FIRST_POLL_MS), MOST_POLL_MS)
    return wait + round(wait * 0.1 * jitter)
