"""The API server, over one pooled session: raw JSON, a timeout on every call, errors of ours.

Configuration (kubeconfig, service account, refreshed tokens) is kubernetes-asyncio's; its clients are not used for calls: they
know no default timeout, repeat a 410 by themselves and take an HTML page for an event.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import quote
from weakref import WeakSet

import aiohttp
import orjson
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config import ConfigException, load_incluster_config, load_kube_config

from app.errors import HeadraceError, UsageError
from app.settings import Settings
from workers.executors.kubernetes.poster import Answer, Poster
from workers.executors.kubernetes.protobuf import MAGIC, MEDIA_TYPE, unwrapped

MAX_CONNECTIONS = 250
LOOK = 0.005
CLOSING = 400
"""How many looks, so many seconds apart, connections have to go."""
JSON, MERGE_PATCH = "application/json", "application/merge-patch+json"
BRIEF = ",".join(
    [*(f"{form};as=PartialObjectMetadata;g=meta.k8s.io;v=v1" for form in (MEDIA_TYPE, JSON)), JSON]
)
"""What an answer may be that nobody reads: the object's metadata alone, in the form that costs the server least."""
UNCHECKED = "?fieldValidation=Ignore"
"""Spares the server to look for names in a Job that it does not know and to warn of them, which nobody reads."""
CREATED, REDIRECT, NOT_OURS = 201, 300, 502
UNAUTHORIZED, FORBIDDEN, MISSING, CONFLICT, GONE, TOO_MANY = 401, 403, 404, 409, 410, 429
JOBS, PODS, EVENTS, LEASES = "batch/v1", "v1", "v1", "coordination.k8s.io/v1"


class ClusterError(HeadraceError):
    """The API server refused a call."""

    code = "cluster"

    def __init__(self, http_status: int, reason: str, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.reason = reason
        """As the server names it: AlreadyExists, Forbidden, ..."""
        self.wait = wait
        """Seconds that it asks us to wait."""

    @property
    def passing(self) -> bool:
        """Whether the same call may succeed later by itself."""
        return self.http_status in (408, TOO_MANY) or self.http_status >= 500


class Unreachable(ClusterError):
    """The API server does not answer."""

    def __init__(self, message: str = "the API server does not answer") -> None:
        super().__init__(503, "Unreachable", message)


async def configuration(settings: Settings) -> Configuration:
    """Where the cluster is and who we are. Raises UsageError where neither can be found."""
    found = Configuration()
    inside = not settings.kubeconfig and settings.in_pod
    try:
        if inside:
            load_incluster_config(client_configuration=found)
        else:
            await load_kube_config(config_file=settings.kubeconfig or None, client_configuration=found)
    except (ConfigException, OSError) as error:
        raise UsageError(
            "The cluster is not known: set HEADRACE_KUBECONFIG or KUBECONFIG to a kubeconfig, or run in a pod "
            f"with a service account ({type(error).__name__})."
        ) from error
    return found


def tls(config: Configuration) -> ssl.SSLContext | bool:
    """How a client of ours meets the API server: its authority, our certificate."""
    if not str(config.host).startswith("https"):
        return True
    context = ssl.create_default_context(cafile=config.ssl_ca_cert)
    if config.cert_file:
        context.load_cert_chain(config.cert_file, keyfile=config.key_file)
    if not config.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Cluster:
    """One API server. Open it with `await Cluster.open(settings)`, close it with `await cluster.close()`."""

    def __init__(self, config: Configuration, namespace: str, timeout: float) -> None:
        self.namespace = namespace
        self._config = config
        self._host = str(config.host).rstrip("/")
        self._timeout = timeout
        self._jobs = self.url(JOBS, "jobs") + UNCHECKED
        self._poster = Poster(self._jobs, tls(config), config.tls_server_name, timeout)
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=MAX_CONNECTIONS, ssl=tls(config), socket_factory=self._socket
            ),
            read_bufsize=1 << 21,
            auto_decompress=True,
        )

    @classmethod
    async def open(cls, settings: Settings) -> Self:
        """Raises UsageError where no cluster is configured. Talks to nobody yet."""
        config = await configuration(settings)
        return cls(config, settings.kubernetes_namespace, settings.kubernetes_timeout)

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        made = socket.socket(*address[:3])
        made.setblocking(False)
        self._sockets.add(made)
        return made

    async def close(self) -> None:
        """Returns when no connection is left: one that was broken off as it began is gone only moments later."""
        self._poster.close()
        await self._session.close()
        for _ in range(CLOSING):
            if all(each.fileno() < 0 for each in self._sockets):
                return
            await asyncio.sleep(LOOK)

    def url(self, group: str, kind: str, name: str = "", sub: str = "") -> str:
        """The address of a kind of objects in our namespace, of one, or of one's subresource."""
        base = "api" if "/" not in group else "apis"
        parts = [self._host, base, group, "namespaces", self.namespace, kind]
        return "/".join(parts + [quote(part, safe="") for part in (name, sub) if part])

    def global_url(self, group: str, kind: str) -> str:
        """The address of a kind of objects that belong to no namespace."""
        return f"{self._host}/apis/{group}/{kind}"

    async def _headers(self, content_type: str | None = None, accept: str = JSON) -> dict[str, str]:
        token: Any = await self._config.get_api_key_with_prefix("BearerToken")
        headers = {"Accept": accept, "User-Agent": "headrace"}
        if token:
            headers["Authorization"] = token
        if content_type:
            headers["Content-Type"] = content_type
        return headers

    async def call(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        content_type: str = JSON,
    ) -> dict[str, Any]:
        """One call, once; the object it answers with. Raises ClusterError, Unreachable."""
        data = None if body is None else orjson.dumps(body)
        headers = await self._headers(content_type if data is not None else None)
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        try:
            async with self._session.request(
                method, url, data=data, params=params, headers=headers, timeout=timeout,
                server_hostname=self._config.tls_server_name, proxy=self._config.proxy,
            ) as answer:  # fmt: skip
                raw = await answer.read()
                return _checked(answer.status, answer.headers, raw)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"the API server does not answer ({type(error).__name__})") from error

    @asynccontextmanager
    async def stream(
        self, url: str, params: Mapping[str, str], *, silence: float, accept: str = JSON
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """An answer without end, as it comes; broken off after `silence` seconds without a byte.

        Raises ClusterError, Unreachable, at any point of the block.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=silence)
        try:
            async with self._session.get(
                url, params=params, headers=await self._headers(accept=accept), timeout=timeout,
                server_hostname=self._config.tls_server_name, proxy=self._config.proxy,
            ) as answer:  # fmt: skip
                if answer.status != 200:
                    _checked(answer.status, answer.headers, await answer.content.read(1 << 16))
                yield answer
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"the stream broke off ({type(error).__name__})") from error

    # objects ----------------------------------------------------------------------------------------------------

    async def create_job(self, job: bytes) -> None:
        """Create a Job from its JSON; returns when the server has it. Raises ClusterError, Unreachable."""
        headers = await self._headers(JSON, BRIEF)
        try:
            answer = await (self._poster.post if not self._config.proxy else self._by_proxy)(headers, job)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"the API server does not answer ({type(error).__name__})") from error
        if answer.status != CREATED or not answer.headers.get("content-type", "").startswith(
            (MEDIA_TYPE, JSON)
        ):
            _checked(answer.status if answer.status >= REDIRECT else NOT_OURS, answer.headers, answer.content)

    async def _by_proxy(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """As Poster.post, behind a proxy."""
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        async with self._session.post(
            self._jobs, data=body, headers=headers, timeout=timeout, proxy=self._config.proxy,
            server_hostname=self._config.tls_server_name,
        ) as answer:  # fmt: skip
            return Answer(answer.status, answer.headers, await answer.read())

    async def get_job(self, name: str) -> dict[str, Any]:
        return await self.call("GET", self.url(JOBS, "jobs", name))

    async def delete_job(self, name: str, uid: str | None = None) -> bool:
        """Delete it; it is there until its pods are gone. False where there is none (any more) of that UID."""
        options: dict[str, Any] = {"propagationPolicy": "Foreground"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            await self.call("DELETE", self.url(JOBS, "jobs", name), options)
        except ClusterError as error:
            if error.http_status in (404, CONFLICT):
                return False
            raise
        return True

    async def patch_job(self, name: str, change: Mapping[str, Any]) -> dict[str, Any]:
        return await self.call("PATCH", self.url(JOBS, "jobs", name), change, content_type=MERGE_PATCH)


def _checked(status: int, headers: Mapping[str, str], raw: bytes) -> dict[str, Any]:
    """The object of an answer. Raises ClusterError for a refusal and for what is no object of Kubernetes."""
    try:
        found: Any = unwrapped(raw) if raw.startswith(MAGIC) else orjson.loads(raw)
    except ValueError:
        found = None
    if status < 300 and isinstance(found, dict):
        return found
    wait = headers.get("retry-after", "")
    seconds = float(wait) if wait.isdigit() else None
    if not isinstance(found, dict) or found.get("kind") != "Status":
        # a proxy's page, or half an answer: whoever sent it, it was not the API server
        raise ClusterError(
            status if status >= 300 else 502, "NotKubernetes", f"HTTP {status} without a Status", seconds
        )
    details: Any = found.get("details") or {}
    if seconds is None and isinstance(details.get("retryAfterSeconds"), int):
        seconds = float(details["retryAfterSeconds"])
    message = str(found.get("message") or "")[:1000]
    raise ClusterError(int(found.get("code") or status), str(found.get("reason") or ""), message, seconds)


async def cancelled_quietly(*tasks: asyncio.Task[Any]) -> None:
    """End tasks of ours and wait until they have."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
