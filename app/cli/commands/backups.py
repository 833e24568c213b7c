"""`headrace backup` and `headrace restore`: the whole state in Redis, in one file."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from app.cli.client import DEV_READY
from app.cli.output import Format, Output, emit
from app.errors import UsageError
from app.settings import Settings

Data = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", file_okay=False, help="A data directory of `headrace dev`, running or not."
    ),
]


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, help="Where the backup goes.")],
    data: Data = None,
    output: Output = Format.TABLE,
) -> None:
    """Write the whole state in Redis to FILE, as of one moment, while everything goes on.

    The server is HEADRACE_REDIS_URL, else that of the dev of this directory. What nodes wrote below
    HEADRACE_DATA_URI is not in it: copy that afterwards. FILE holds secrets.
    """
    from app.backup import back_up

    with _server(data, restoring=False) as url:
        manifest = asyncio.run(back_up(url, Settings().prefix, file))
    text = f"{file}: {manifest.runs} runs, {manifest.keys} keys, as of {manifest.created}"
    emit(asdict(manifest), output, lambda: Text(text))


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, help="A backup.")],
    data: Data = None,
    force: Annotated[bool, typer.Option("--force", help="Remove the installation that is there.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Put a backup back. API and workers must not run; the target must be empty, or --force."""
    from app.backup import restore as put_back

    with _server(data, restoring=True) as url:
        manifest = asyncio.run(put_back(file, url, Settings().prefix, force=force))
    text = f"restored {manifest.runs} runs, {manifest.keys} keys, as of {manifest.created}"
    emit(asdict(manifest), output, lambda: Text(text))


@contextlib.contextmanager
def _server(data: Path | None, *, restoring: bool) -> Generator[str]:
    """The URL of the server; that of a data directory that nobody serves is started meanwhile."""
    settings = Settings()
    if data is None and "redis_url" in settings.model_fields_set:
        yield settings.redis_url.get_secret_value()
        return
    ready = (data / "ready.json") if data is not None else DEV_READY
    running = None if restoring else _running(ready)
    if running is not None:
        yield running
        return
    from app.cli.dev.datadir import DataDir
    from app.embedded import EmbeddedValkey

    directory = DataDir(ready.parent)
    if not restoring and not directory.valkey.exists():
        raise UsageError("there is no server to back up: set HEADRACE_REDIS_URL, or name a --data directory")
    directory.make()
    with directory.lock():
        server = EmbeddedValkey(directory.valkey)
        server.start(600)
        try:
            yield server.url
        finally:
            server.stop(60)


def _running(ready: Path) -> str | None:
    try:
        return str(json.loads(ready.read_text("utf-8"))["redis_url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
