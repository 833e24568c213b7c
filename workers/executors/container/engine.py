"""The container engine, over one pooled session: raw JSON, a timeout on every call, errors of ours.

What is called here both Docker and Podman answer alike; where they differ, it is said.
"""

from __future__ import annotations

import io
import ssl
import tarfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

import aiohttp
import orjson

from app.errors import HeadraceError, UsageError
from app.settings import Settings

MISSING, CONFLICT = 404, 409
NEWEST = (1, 44)
"""The newest version of the API that was read for this module; an engine that has it is asked in it."""
PULL_SILENCE = 300.0
"""Seconds without a word of its progress after which a pull is broken off."""
HEADER = 8
"""Bytes before each piece of a log: which stream, three zeros, the length."""
TAR_ROOM = 8 * 512
"""Bytes of a tar before a small file's content: its header, and headers of long attributes before that."""


class EngineError(HeadraceError):
    """The container engine refused a call."""

    code = "container_engine"

    def __init__(self, http_status: int, message: str) -> None:
        super().__init__(message)
        self.http_status = http_status

    @property
    def passing(self) -> bool:
        """Whether the same call may succeed later by itself."""
        return self.http_status >= 500

    @property
    def taken(self) -> bool:
        """Whether there is a container of that name (Podman tells it with 500)."""
        return self.http_status == CONFLICT or (
            self.http_status >= 500 and "name is already in use" in self.message
        )


class Silent(EngineError):
    """The container engine does not answer."""

    def __init__(self, message: str = "the container engine does not answer") -> None:
        super().__init__(503, message)


class Engine:
    """One engine. Talks to nobody before its first call; close it with `await engine.close()`."""

    def __init__(self, settings: Settings) -> None:
        """Raises UsageError for an address that is none."""
        self._timeout = settings.container_timeout
        self._certificates = settings.container_certificates
        parts = urlsplit(settings.container_engine)
        self._socket = parts.path if parts.scheme == "unix" else ""
        if not (self._socket or (parts.scheme in ("tcp", "http", "https") and parts.hostname)):
            raise UsageError(
                "HEADRACE_CONTAINER_ENGINE is unix:///PATH, tcp://HOST:PORT or https://HOST:PORT, "
                f"and not '{settings.container_engine}'."
            )
        scheme = "https" if parts.scheme == "https" else "http"
        self._host = "http://engine" if self._socket else f"{scheme}://{parts.netloc}"
        self._version = ""
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            if self._socket:
                connector: aiohttp.BaseConnector = aiohttp.UnixConnector(self._socket, limit=0)
            else:
                connector = aiohttp.TCPConnector(limit=0, ssl=_tls(self._certificates))
            self._session = aiohttp.ClientSession(connector=connector)
        return self._session

    # calls ------------------------------------------------------------------------------------------------------

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        data: bytes | BinaryIO | None = None,
    ) -> Any:
        """One call, once; the JSON that it answers with, None for none. Raises EngineError, Silent."""
        content = data if body is None else orjson.dumps(body)
        kind = "application/x-tar" if body is None else "application/json"
        headers = {} if content is None else {"Content-Type": kind}
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        url = await self._url(path)
        try:
            async with self._open().request(
                method, url, params=params, data=content, headers=headers, timeout=timeout
            ) as answer:
                raw = await answer.read()
                _check(answer.status, raw)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Silent(f"the container engine does not answer ({type(error).__name__})") from error
        try:
            return orjson.loads(raw) if raw else None
        except ValueError:
            return None

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, params: Mapping[str, str], *, silence: float | None
    ) -> AsyncGenerator[aiohttp.StreamReader]:
        """An answer as it comes; broken off after `silence` seconds without a byte, None: never.

        Raises EngineError, Silent, at any point of the block.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=silence)
        url = await self._url(path)
        try:
            async with self._open().request(method, url, params=params, timeout=timeout) as answer:
                if answer.status >= 300:
                    _check(answer.status, await answer.content.read(1 << 16))
                yield answer.content
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Silent(f"the container engine broke off ({type(error).__name__})") from error

    async def _url(self, path: str) -> str:
        if not self._version:
            self._version = await self._negotiate()
        return f"{self._host}/v{self._version}{path}"

    async def _negotiate(self) -> str:
        """The newest version of the API that the engine and we know. Raises EngineError, Silent."""
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        try:
            async with self._open().get(f"{self._host}/version", timeout=timeout) as answer:
                raw = await answer.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Silent(f"the container engine does not answer ({type(error).__name__})") from error
        _check(answer.status, raw)
        try:
            told: Any = orjson.loads(raw)
            newest, oldest = str(told["ApiVersion"]), str(told.get("MinAPIVersion") or "1.24")
            ours = ".".join(map(str, NEWEST))
            return max(min(newest, ours, key=_number), oldest, key=_number)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EngineError(502, "what answers there is no container engine") from error

    # containers -------------------------------------------------------------------------------------------------

    async def create(self, name: str, body: Mapping[str, Any]) -> str:
        """The id of a new container."""
        return str((await self.call("POST", "/containers/create", body, params={"name": name}))["Id"])

    async def inspect(self, name: str) -> dict[str, Any]:
        return await self.call("GET", f"/containers/{name}/json")

    async def start(self, name: str) -> None:
        """Start it, unless it was started."""
        await self.call("POST", f"/containers/{name}/start")

    async def kill(self, name: str, signal: str) -> None:
        """Signal its first process. Nothing where it does not run."""
        try:
            await self.call("POST", f"/containers/{name}/kill", params={"signal": signal})
        except EngineError as error:
            if error.http_status not in (MISSING, CONFLICT):
                raise

    async def remove(self, name: str) -> None:
        """Remove it and what it kept. Nothing where it is gone."""
        try:
            await self.call("DELETE", f"/containers/{name}", params={"force": "true", "v": "true"})
        except EngineError as error:
            if error.http_status not in (MISSING, CONFLICT):
                raise

    async def listed(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """Those with these labels, whether they run or not."""
        params = {"all": "true", "filters": _filters(labels)}
        return await self.call("GET", "/containers/json", params=params)

    @asynccontextmanager
    async def events(
        self, labels: Mapping[str, str], *, silence: float
    ) -> AsyncGenerator[aiohttp.StreamReader]:
        """What happens to containers with these labels from now on, a line of JSON each."""
        async with self.stream(
            "GET", "/events", {"filters": _filters(labels, type="container")}, silence=silence
        ) as told:
            yield told

    async def put_directory(self, name: str, path: str, directory: str) -> None:
        """Make a directory below `path` in a container, which everybody may write to."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            info = tarfile.TarInfo(directory)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(info)
        await self.call("PUT", f"/containers/{name}/archive", params={"path": path}, data=packed.getvalue())

    async def read_file(self, name: str, path: str, limit: int) -> bytes | None:
        """The first `limit` bytes of a file in a container; None where there is no file."""
        raw = b""
        try:
            params = {"path": path}
            async with self.stream(
                "GET", f"/containers/{name}/archive", params, silence=self._timeout
            ) as told:
                while len(raw) < TAR_ROOM + limit and (piece := await told.read(1 << 16)):
                    raw += piece
        except EngineError as error:
            if error.http_status == MISSING:
                return None
            raise
        return first_file(raw, limit)

    # images -----------------------------------------------------------------------------------------------------

    async def has_image(self, image: str) -> bool:
        try:
            await self.call("GET", f"/images/{quote(image, safe='/:@')}/json")
        except EngineError as error:
            if error.http_status == MISSING:
                return False
            raise
        return True

    async def pull(self, image: str) -> None:
        """Raises EngineError where the image does not come, in the engine's words."""
        name, tag = split_image(image)
        async with self.stream(
            "POST", "/images/create", {"fromImage": name, "tag": tag}, silence=PULL_SILENCE
        ) as told:
            rest = b""
            while piece := await told.read(1 << 16):
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    _check_progress(line)
            _check_progress(rest)


def split_image(image: str) -> tuple[str, str]:
    """A reference to an image -> (name, tag or digest); the tag is latest where none is told."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    head, colon, tag = image.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (image, "latest")


def _tls(certificates: str) -> ssl.SSLContext | bool:
    if not certificates:
        return True
    folder = Path(certificates)
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _filters(labels: Mapping[str, str], **more: str) -> str:
    found = {"label": [f"{name}={value}" for name, value in labels.items()]}
    return orjson.dumps(found | {name: [value] for name, value in more.items()}).decode()


def _check(status: int, raw: bytes) -> None:
    """Raises EngineError for a refusal."""
    if status < 300 or status == 304:
        return
    try:
        message = str(orjson.loads(raw)["message"])
    except (ValueError, KeyError, TypeError):
        message = f"HTTP {status}"
    raise EngineError(status, message[:1000])


def _check_progress(line: bytes) -> None:
    """Raises EngineError where a line of a pull says that it failed."""
    try:
        told: Any = orjson.loads(line) if line.strip() else {}
    except ValueError:
        return
    if isinstance(told, dict) and told.get("error"):
        raise EngineError(502, str(told["error"])[:1000])


def first_file(raw: bytes, limit: int) -> bytes | None:
    """The beginning of the first member of a tar, cut off as it may be; None where that is no file."""
    try:
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            member = tar.next()
            if member is None or not member.isfile():
                return None
            return raw[member.offset_data : member.offset_data + min(member.size, limit)]
    except tarfile.TarError:
        return None
