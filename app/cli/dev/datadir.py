"""The data directory of `headrace dev`: its layout, its lock, its API key, its ready file."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from app.errors import UsageError


class DataDir:
    """Everything one dev keeps. Below `root`: valkey/, data/, logs/, node-types/, api_key, port, lock, ready.json."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.valkey = self.root / "valkey"
        self.data = self.root / "data"
        self.logs = self.root / "logs"
        self.engine_logs = self.logs / "engine"
        """What API, workers and so on write; nodes write elsewhere below `logs`."""
        self.node_types = self.root / "node-types"
        """Manifests of node types of one's own; API and workers read them."""
        self.ready = self.root / "ready.json"

    def make(self) -> None:
        """Create the directories. Raises UsageError where that is not possible."""
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            for directory in (self.data, self.logs, self.engine_logs, self.node_types):
                directory.mkdir(exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot use {self.root} as data directory: {error.strerror}") from error

    @contextmanager
    def lock(self) -> Generator[None]:
        """Hold the directory. The kernel drops the lock with its process: a dead one leaves none behind."""
        with (self.root / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip()
                by = f" (process {holder})" if holder else ""
                raise UsageError(
                    f"another `headrace dev` runs on {self.root}{by}; stop it, or choose another --data"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def api_key(self) -> str:
        """The admin key of this directory, made once."""
        path = self.root / "api_key"
        with suppress(FileNotFoundError):
            return path.read_text("ascii").strip()
        key = f"hr_dev_{secrets.token_urlsafe(32)}"
        replace(path, key + "\n")
        return key

    def last_port(self) -> int:
        """The port served last, or 0: nodes that outlived a crash know the API by it."""
        try:
            return int((self.root / "port").read_text("ascii"))
        except (OSError, ValueError):
            return 0

    def keep_port(self, port: int) -> None:
        """Remember the port for the next start."""
        replace(self.root / "port", f"{port}\n")


def replace(path: Path, text: str) -> None:
    """Write a file of mode 0600 under a temporary name and rename it: readers see the old or the new one."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


class ReadyFiles:
    """The files that say how to reach a running dev. They are there only while it runs, once it is ready."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths

    def check(self) -> None:
        """Raises UsageError for a path that can never be written."""
        for path in self._paths:
            if not path.parent.is_dir():
                raise UsageError(f"{path.parent} is no directory: the ready file cannot be written there")

    def write(self, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, indent=2) + "\n"
        for path in self._paths:
            replace(path, text)

    def remove(self) -> None:
        for path in self._paths:
            path.unlink(missing_ok=True)
