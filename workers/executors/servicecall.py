"""The requests that a service node makes: the first one, a poll, a cancel; and what must not be seen of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import orjson

from app.core.graph import Graph, NodeDef
from app.core.services import BODILESS, host_of, idempotency_key, same_origin
from app.core.tasks import Task, split_ref
from app.core.tokens import CALLBACK, NEVER_MS, TokenClaims, sign
from app.secretfiles import SecretFiles
from app.settings import Settings
from app.store.calls import Call
from app.store.nodes import Started


@dataclass(slots=True, frozen=True)
class Request:
    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None = None
    hidden: list[str] = field(default_factory=list)
    """What was sent and must be seen nowhere."""

    @property
    def host(self) -> str:
        return host_of(self.url)

    def without_secrets(self, answer: bytes) -> bytes:
        """The answer with each secret that it repeats as ***, however JSON spells it."""
        for secret in self.hidden:
            for spelling in {
                secret.encode(),
                orjson.dumps(secret)[1:-1],
                secret.replace("/", "\\/").encode(),
            }:
                answer = answer.replace(spelling, b"***")
        return answer

    def locate(self, location: str | None) -> str | None:
        """A Location as a URL of its own."""
        try:
            return None if location is None else urljoin(self.url, location)
        except ValueError:
            return location


class Requests:
    def __init__(self, settings: Settings, signing: bytes, secrets: SecretFiles) -> None:
        self._callbacks = f"{(settings.callback_url or settings.api_url).rstrip('/')}/api/v1/callbacks"
        self._runs = f"{(settings.callback_url or settings.api_url).rstrip('/')}/api/v1/runs"
        self._signing = signing
        self._secrets = secrets

    def first(self, call: Call, graph: Graph, node: NodeDef, started: Started) -> Request:
        """The request of an attempt, the same each time that it is sent. Raises NotFound for a secret that is not to be had."""
        assert node.service is not None
        url = call.url or node.service.url.value
        headers, hidden = self._headers(call.task, node, url)
        headers["Idempotency-Key"] = idempotency_key(call.task)
        token = self._token(call.task, graph)
        hidden.append(token)
        method = node.service.method
        if method in BODILESS:
            headers["Headrace-Callback-Url"] = f"{self._callbacks}/{token}"
            return Request(method, url, headers, None, hidden)
        headers["Content-Type"] = "application/json"
        return Request(method, url, headers, self._body(call, graph, node, started, token), hidden)

    def _body(self, call: Call, graph: Graph, node: NodeDef, started: Started, token: str) -> bytes:
        task = call.task
        name, index = split_ref(task.ref)
        body: dict[str, Any] = {
            "run": task.run, "workflow": graph.workflow, "version": graph.version, "node": name, "attempt": task.attempt,
            "config": started.config if started.config is not None else node.config.render({}),
            "inputs": started.told(lambda upstream: f"{self._runs}/{task.run}/nodes/{upstream}"),
            "callback": {"url": f"{self._callbacks}/{token}", "token": token},
        }  # fmt: skip
        if index is not None:
            body |= {"index": index, "item": started.item}
        return orjson.dumps(body)

    def poll(self, call: Call, node: NodeDef, location: str) -> Request:
        """Ask for the result. The secret goes only to where the first request went."""
        return Request("GET", location, *self._follow_up(call, node, location))

    def cancel(self, call: Call, node: NodeDef, location: str) -> Request:
        """Say that the result is not wanted any more."""
        return Request("DELETE", location, *self._follow_up(call, node, location))

    def _follow_up(self, call: Call, node: NodeDef, location: str) -> tuple[dict[str, str], None, list[str]]:
        assert node.service is not None
        first = call.url or node.service.url.value
        headers, hidden = self._headers(call.task, node, first if same_origin(first, location) else None)
        return headers, None, hidden

    def _headers(self, task: Task, node: NodeDef, url: str | None) -> tuple[dict[str, str], list[str]]:
        """The headers of every request, and what of them is secret; `url` is where the secret would be sent."""
        headers = {"Accept": "application/json", "traceparent": task.traceparent}
        assert node.service is not None
        if node.service.secret is None or url is None:
            return headers, []
        secret = self._secrets.read(node.service.secret, url)
        headers["Authorization"] = f"Bearer {secret}"
        return headers, [secret]

    def _token(self, task: Task, graph: Graph) -> str:
        """Without an end of its own, so that the request stays the same: it ends with its attempt."""
        claims = TokenClaims(task.run, task.ref, task.attempt, graph.workflow, graph.version, NEVER_MS)
        return sign(self._signing, claims, CALLBACK)
