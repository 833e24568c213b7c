"""The node protocol over HTTP: one kept connection, patient with an API that is down."""

from __future__ import annotations

import random
import sys
import time
from typing import Any

import orjson
import urllib3
from urllib3.util import parse_url

from headrace.environment import Place
from headrace.errors import ProtocolError, StaleEpoch, StepConflict
from headrace.protocol import Start

PATIENCE = 600.0
"""Seconds for which a call is tried again while the API is down."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 15.0
_TIMEOUT = urllib3.Timeout(connect=5, read=30)


class HttpEngine:
    """The Engine of a node process."""

    def __init__(self, api_url: str, token: str, place: Place, traceparent: str = "") -> None:
        self._base = parse_url(api_url)
        self._pool = urllib3.connection_from_url(api_url, maxsize=2, timeout=_TIMEOUT, retries=False)
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": "headrace-sdk",
        }
        if traceparent:
            self._headers["traceparent"] = traceparent
        item = "" if place.item is None else f"/items/{place.item}"
        self._path = f"{(self._base.path or '').rstrip('/')}/api/v1/runs/{place.run}/nodes/{place.node}{item}"
        self.patience = PATIENCE

    def start(self, instance: str) -> Start:
        """Take hold of the node run."""
        return Start.parse(self._post("start", {"instance": instance}))

    def checkpoints(self, epoch: int, steps: list[dict[str, Any]]) -> bool:
        """Record steps and positions; True when the run is being cancelled."""
        return bool(self._post("checkpoints", {"epoch": epoch, "steps": steps}).get("cancel"))

    def records(self, epoch: int, failed: list[dict[str, Any]], since: int | None = None) -> int:
        """Add failed records to the ledger, after those from the index `since` on were taken out."""
        more = {} if since is None else {"from": since}
        return int(self._post("records", {"epoch": epoch, "failed": failed, **more}).get("count", 0))

    def heartbeat(self, epoch: int) -> bool:
        """A sign of life; True when the run is being cancelled."""
        return bool(self._post("heartbeat", {"epoch": epoch}).get("cancel"))

    def fail(self, epoch: int, type: str, message: str, retryable: bool) -> None:
        """Report a failure of the whole node."""
        self._post("fail", {"epoch": epoch, "type": type, "message": message, "retryable": retryable})

    def fetch(self, href: str) -> Any:
        """GET metadata by reference; the token only goes to the API's own address."""
        url = parse_url(href)
        if url.host and (url.scheme, url.host, url.port) != (
            self._base.scheme,
            self._base.host,
            self._base.port,
        ):
            raise ProtocolError("metadata by reference lies at another address than the API")
        return self._call("GET", url.request_uri if url.host else href, None)

    def _post(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._call("POST", f"{self._path}/{name}", orjson.dumps(body))

    def _call(self, method: str, path: str, body: bytes | None) -> Any:
        """Call until there is an answer that says yes or no."""
        began, pause = time.monotonic(), _FIRST_PAUSE
        while True:
            asked = 0.0
            try:
                response = self._pool.urlopen(
                    method, path, body, self._headers, redirect=False, retries=False
                )
                if response.status not in (408, 425, 429) and response.status < 500:
                    return self._answer(response, path)
                problem = f"HTTP {response.status}"
                asked = _retry_after(response)
            except urllib3.exceptions.HTTPError as error:
                problem = type(error).__name__
            wait = max(asked, random.uniform(pause / 2, pause))  # noqa: S311 (jitter, no secret)
            if time.monotonic() - began + wait > self.patience:
                raise ProtocolError(f"the API does not answer: {problem} for {path.rpartition('/')[2]}")
            if pause == _FIRST_PAUSE:
                sys.stderr.write(f"headrace: the API does not answer ({problem}); trying again\n")
            time.sleep(wait)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _answer(self, response: urllib3.BaseHTTPResponse, path: str) -> Any:
        if 200 <= response.status < 300:
            try:
                return orjson.loads(response.data)
            except orjson.JSONDecodeError:
                raise ProtocolError(f"the API's answer to {path.rpartition('/')[2]} is not JSON") from None
        raise _refusal(response, path)


def _retry_after(response: urllib3.BaseHTTPResponse) -> float:
    """Seconds that the API asks to wait, at most 60."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), 60.0) if text.isdigit() else 0.0


def _refusal(response: urllib3.BaseHTTPResponse, path: str) -> ProtocolError:
    """The error that a problem document stands for."""
    try:
        problem = orjson.loads(response.data)
    except orjson.JSONDecodeError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    code = problem.get("code", "")
    if code == "stale_epoch":
        return StaleEpoch("a newer process holds this node run")
    text = f"{path.rpartition('/')[2]}: HTTP {response.status} {code} {problem.get('detail', '')}".rstrip()
    for place in problem.get("errors") or []:
        text += f"; {place.get('pointer')}: {place.get('detail')}"
    return (StepConflict if code == "step_conflict" else ProtocolError)(text)
