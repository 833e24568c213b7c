"""One `headrace dev` from start to end: the lock, the signals, the demo, the drain."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import webbrowser

from rich.console import Console
from rich.text import Text

from app.cli.client import Target
from app.cli.dev.datadir import DataDir, ReadyFiles
from app.cli.dev.demo import demo_in_background
from app.cli.dev.stack import Options, Stack, listen
from app.cli.output import EXIT_INTERRUPTED


async def serve(options: Options, console: Console) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP. Raises UsageError or Unavailable where it cannot start."""
    directory = DataDir(options.data)
    directory.make()
    with directory.lock():
        ready = ReadyFiles(directory.ready, *([options.ready_file] if options.ready_file else []))
        ready.check()
        ready.remove()
        with listen(options.host, options.port, directory.last_port()) as listener:
            directory.keep_port(int(listener.getsockname()[1]))

            def say(line: str) -> None:
                console.print(Text(line, style="bright_black"))

            stack = Stack(options, directory, listener, ready, say)
            stop = _signals(stack, console)
            try:
                if await _unless(stop, stack.start()):
                    await _serve(options, stack, directory, console, stop)
            finally:
                await stack.drain()
            console.print(Text("Stopped. Unfinished runs go on at the next start."))


async def _serve(
    options: Options, stack: Stack, directory: DataDir, console: Console, stop: asyncio.Event
) -> None:
    console.print(
        Text.assemble(("Headrace is ready: ", "bold"), (stack.url, "bold underline")), soft_wrap=True
    )
    halt = threading.Event()
    login = f"{stack.url}/#key={stack.api_key}"
    if options.demo:
        target = Target(stack.url, stack.api_key, "headrace dev")
        demo = demo_in_background(target, directory.data, console, halt)
        while demo.is_alive() and not stop.is_set():
            await asyncio.wait([asyncio.create_task(stop.wait())], timeout=0.1)
    if not stop.is_set():
        console.print(Text.assemble(("\nOpen the page, logged in:\n", "bold"), f"  {login}"), soft_wrap=True)
        closing = Text(f"\nLogs are in {directory.logs}\nCtrl-C stops everything.", style="bright_black")
        console.print(closing, soft_wrap=True)
        if options.browser and _has_display():
            await asyncio.to_thread(webbrowser.open, login)
        await stop.wait()
    halt.set()
    console.print(Text("\nDraining; Ctrl-C again stops at once."))


async def _unless(stop: asyncio.Event, work: object) -> bool:
    """Do the work unless told to stop first; whether it was done."""
    assert asyncio.iscoroutine(work)
    doing = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([doing, stopping], return_when=asyncio.FIRST_COMPLETED)
    if doing.done():
        stopping.cancel()
        doing.result()
        return True
    doing.cancel()
    await asyncio.wait([doing])
    return False


def _signals(stack: Stack, console: Console) -> asyncio.Event:
    """The first signal asks for the drain; the second one ends everything at once."""
    stop = asyncio.Event()

    def received() -> None:
        if stop.is_set():
            stack.kill()
            os._exit(EXIT_INTERRUPTED)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, received)
    return stop


def _has_display() -> bool:
    return sys.stdout.isatty() and (sys.platform == "darwin" or bool(os.environ.get("DISPLAY")))
