"""The parts of one machine's Headrace: which processes, when they are ready, how they are drained."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import SecretStr

from app.cli.dev.children import ProcessChild, ValkeyChild
from app.cli.dev.datadir import DataDir, ReadyFiles
from app.cli.dev.supervisor import Supervisor
from app.embedded import EmbeddedValkey
from app.errors import HeadraceError, Unavailable, UsageError
from app.settings import Settings

READY_WITHIN = 60.0
"""Seconds for everything to come up; a long append-only file takes its time to load."""
WORKERS_GRACE, NODES_GRACE, API_GRACE, VALKEY_GRACE = 10.5, 3.0, 3.0, 2.0
"""How the 20 seconds of a shutdown are shared out, in the order they are used."""
HOPELESS = 3
"""Deaths of one child before everything is ready that end the start."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `headrace dev` was asked for."""

    data: Path
    host: str
    port: int
    ready_file: Path | None
    workers: int
    demo: bool
    browser: bool


def listen(host: str, port: int, last: int) -> socket.socket:
    """The socket the API accepts on. We hold it: callers wait while an API process is restarted.

    With port 0 the `last` port is taken again if it is free. Raises UsageError.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    error: OSError | None = None
    for candidate in [port] if port else [last, 0]:
        try:
            return socket.create_server((host, candidate), family=family, backlog=2048)
        except (OSError, OverflowError) as failure:
            error = failure if isinstance(failure, OSError) else OSError(0, str(failure))
    reason = error.strerror if error else "no port"
    raise UsageError(f"cannot listen on {host}:{port}: {reason}; --port 0 picks a free port")


def reachable(host: str, port: int) -> str:
    """The URL by which this machine reaches a listener; a wildcard address becomes loopback."""
    if not host.strip("0.:"):
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Stack:
    """Valkey, the API and the workers of one data directory."""

    def __init__(
        self,
        options: Options,
        directory: DataDir,
        listener: socket.socket,
        ready: ReadyFiles,
        say: Callable[[str], None],
    ) -> None:
        self._options = options
        self._listener = listener
        self._ready_files = ready
        self._up = False
        self.url = reachable(options.host, int(listener.getsockname()[1]))
        self.api_key = directory.api_key()
        server = EmbeddedValkey(directory.valkey)
        self.settings = self._settings(directory, server.url)
        self.supervisor = Supervisor(changed=self._changed, say=say)
        self.valkey = ValkeyChild(server)
        environment = self._environment()
        self.api = ProcessChild(
            "api",
            [*_headrace("server"), "--fd", str(listener.fileno())],
            env=environment | {"HEADRACE_BOOTSTRAP_KEY": self.api_key},
            log=directory.engine_logs / "api.log",
            pass_fds=[listener.fileno()],
        )
        self.workers = [
            ProcessChild(
                name, _headrace("worker"), env=environment, log=directory.engine_logs / f"{name}.log"
            )
            for name in (f"worker-{number}" for number in range(1, options.workers + 1))
        ]

    def _settings(self, directory: DataDir, redis_url: str) -> Settings:
        given = Settings()
        roots = [given.data_roots, str(directory.data), *_demo_roots()]
        return Settings(
            redis_url=SecretStr(redis_url),
            api_url=self.url,
            host=self._options.host,
            port=int(self._listener.getsockname()[1]),
            data_uri=f"file:{directory.data}",
            data_roots=",".join(root for root in roots if root),
            log_dir=directory.logs,
            node_types=os.pathsep.join(
                part for part in (str(directory.node_types), given.node_types) if part
            ),
        )

    def _environment(self) -> dict[str, str]:
        own = {"HEADRACE_URL", "HEADRACE_API_KEY", "HEADRACE_BOOTSTRAP_KEY"}
        settings = self.settings
        return {name: value for name, value in os.environ.items() if name not in own} | {
            "HEADRACE_REDIS_URL": settings.redis_url.get_secret_value(),
            "HEADRACE_API_URL": settings.api_url,
            "HEADRACE_HOST": settings.host,
            "HEADRACE_PORT": str(settings.port),
            "HEADRACE_DATA_URI": settings.data_uri,
            "HEADRACE_DATA_ROOTS": settings.data_roots,
            "HEADRACE_LOG_DIR": str(settings.log_dir),
            "HEADRACE_NODE_TYPES": settings.node_types,
            "PYTHONUNBUFFERED": "1",
        }

    async def start(self) -> None:
        """Start everything; returns when it is ready and the ready files say so. Raises Unavailable."""
        deadline = time.monotonic() + READY_WITHIN
        await self.supervisor.start(self.valkey)
        for child in (self.api, *self.workers):
            await self.supervisor.start(child)
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as http:
            while not (await self._api_ready(http) and await self._workers_live()):
                self._give_up(time.monotonic() > deadline)
                await asyncio.sleep(0.05)
        self._up = True
        self._changed()

    def _give_up(self, late: bool) -> None:
        children = (self.valkey, self.api, *self.workers)
        broken = [child for child in children if self.supervisor.deaths(child) >= HOPELESS]
        if broken:
            raise Unavailable(f"{broken[0].name} dies again and again; its log says:\n{tail(broken[0].log)}")
        if late:
            raise Unavailable(
                f"not ready within {READY_WITHIN:g} seconds; the logs are in {self.api.log.parent}"
            )

    async def _api_ready(self, http: httpx.AsyncClient) -> bool:
        try:
            return (await http.get(f"{self.url}/readyz")).status_code == 200
        except httpx.HTTPError:
            return False

    async def _workers_live(self) -> bool:
        pids = {child.pid for child in self.workers}
        return None not in pids and pids <= await live_workers(self.settings)

    def _changed(self) -> None:
        if self._up:
            self._ready_files.write(self.description())

    def description(self) -> dict[str, object]:
        """What the ready files hold."""
        return {
            "url": self.url,
            "api_key": self.api_key,
            "redis_url": self.settings.redis_url.get_secret_value(),
            "pids": {
                "api": self.api.pid,
                "redis": self.valkey.pid,
                "workers": [child.pid for child in self.workers],
            },
        }

    async def drain(self) -> None:
        """End everything in order. Workers go first, while nodes can still checkpoint; Valkey goes last."""
        self._up = False
        self._ready_files.remove()
        await self.supervisor.stop(self.workers, WORKERS_GRACE)
        if self.valkey.pid is not None:
            await _end_nodes(self.settings)
        self._listener.close()
        await self.supervisor.stop([self.api], API_GRACE)
        await self.supervisor.stop([self.valkey], VALKEY_GRACE)

    def kill(self) -> None:
        """End everything at once; what was accepted is on disk."""
        self._ready_files.remove()
        self.supervisor.kill()


async def live_workers(settings: Settings) -> set[int]:
    """Process ids of the workers that say they can claim work now."""
    # Imported while the children start, which takes them longer: the start is a second shorter for it.
    from app.store.client import Batcher
    from app.store.keys import Keys
    from app.store.workers import Workers

    batcher = Batcher(settings.redis_url.get_secret_value(), timeout=2.0)
    try:
        live = await Workers(batcher, Keys(settings.prefix), lease_ms=0).live()
    except HeadraceError:
        return set()
    finally:
        await batcher.close()
    return {int(record.get("pid", 0)) for record in live.values()}


async def _end_nodes(settings: Settings) -> None:
    """End the node processes of this data directory; they resume from their checkpoints at the next start."""
    from workers.executors.process import end_all

    try:
        async with asyncio.timeout(NODES_GRACE):
            await end_all(settings, grace=NODES_GRACE - 1)
    except (TimeoutError, HeadraceError):
        return


def _headrace(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "app.cli.main", *arguments]


def _demo_roots() -> list[str]:
    from headrace_nodes import demo

    return [str(demo.ROOT)]


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, for people."""
    try:
        return "\n".join(path.read_text("utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return "(nothing)"
