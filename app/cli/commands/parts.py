"""`headrace dev`, and `server`, `worker` and `listener`: the parts that run as processes of their own.

Each imports what it needs when it is called: the other commands start faster for it.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
from pathlib import Path
from typing import Annotated

import typer

from app.cli.output import EXIT_ERROR, Format, Output, emit, out
from app.settings import Settings


def dev(
    data: Annotated[Path, typer.Option(help="Everything it keeps lies here.", file_okay=False)] = Path(
        ".headrace"
    ),
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 picks a free one.")] = 8765,
    ready_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Written as JSON once everything is ready."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many worker processes.")] = 2,
    no_demo: Annotated[bool, typer.Option("--no-demo", help="Do not run the demo workflow.")] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open a browser.")] = False,
) -> None:
    """Start everything on this machine: Valkey, API, workers, and a demo run.

    Needs no Docker, no cluster and no account. Ctrl-C drains and stops it; started again on the same
    directory it goes on where it was.
    """
    from app.cli.dev.session import serve
    from app.cli.dev.stack import Options

    options = Options(data, host, port, ready_file, workers, demo=not no_demo, browser=not no_browser)
    asyncio.run(serve(options, out()))


def server(
    host: Annotated[str | None, typer.Option(help="The address to listen on (HEADRACE_HOST).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="The port (HEADRACE_PORT).")] = None,
    fd: Annotated[int | None, typer.Option(hidden=True, help="An inherited listening socket.")] = None,
) -> None:
    """Start the API against HEADRACE_REDIS_URL."""
    import socket

    import uvicorn

    from app.api.startup import SaysWhy
    from app.collector import tune_collector
    from app.main import create_app

    settings = Settings()
    config = uvicorn.Config(
        lambda: SaysWhy(create_app(settings)),
        factory=True,
        host=host or settings.host,
        port=settings.port if port is None else port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_level=settings.log_level.lower(),
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(int(settings.drain) // 4, 1),
    )
    config.load()
    tune_collector()
    api = uvicorn.Server(config)
    api.run(sockets=None if fd is None else [socket.socket(fileno=fd)])
    if not api.started:
        raise typer.Exit(EXIT_ERROR)


def worker() -> None:
    """Start a worker against HEADRACE_REDIS_URL; any number may run side by side."""
    settings = Settings()
    from workers.main import run_worker

    run_worker(settings)


def listener() -> None:
    """Take events from a Redis stream or a Kafka topic (HEADRACE_LISTEN); any number may run side by side."""
    settings = Settings()
    from workers.listener.main import run_listener

    run_listener(settings)


def version(output: Output = Format.TABLE) -> None:
    """The version of this installation."""
    number = importlib.metadata.version("headrace")
    emit({"version": number}, output, lambda: f"headrace {number}")
