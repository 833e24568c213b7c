"""Server-sent events: the parser, and a reader that reconnects where it was (Last-Event-ID)."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from app.cli.client import Client, segment
from app.errors import HeadraceError, NotFound

SILENCE = 45.0
"""Seconds without a byte after which a connection counts as dead; the server sends a comment every 15."""


NO_CONTENT = 204
"""The answer of the server when the run has ended and everything was told."""


class Event(NamedTuple):
    """One event of a stream; `id` is what a reconnect sends back."""

    id: str
    kind: str
    data: str


def parse(lines: Iterable[str]) -> Iterator[Event]:
    """Events from the lines of a text/event-stream, read as the WHATWG standard says, without comments."""
    last, kind, data = "", "", list[str]()
    for line in lines:
        if not line:
            if data:
                yield Event(last, kind or "message", "\n".join(data))
            kind, data = "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            kind = value
        elif name == "id" and "\0" not in value:
            last = value


class Doorbell:
    """Follows a run's events in a thread and rings at each; the state itself is asked for.

    An event is a hint: whoever waits also looks by itself from time to time, so a stream that cannot be
    had costs only speed.
    """

    def __init__(self, client: Client, run: str) -> None:
        self._client = client
        self._path = f"/runs/{segment(run)}/events"
        self._rings: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self.connected = False
        threading.Thread(target=self._follow, name="events", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Wait for a ring, and swallow all that came together with it."""
        try:
            self._rings.get(timeout=seconds)
        except queue.Empty:
            return False
        while not self._rings.empty():
            self._rings.get()
        return True

    def close(self) -> None:
        """Forget about the stream; its thread ends with its connection."""
        self._closed.set()

    def _follow(self) -> None:
        last, pause = "", 0.2
        while not self._closed.is_set():
            try:
                headers = {"accept": "text/event-stream"} | ({"last-event-id": last} if last else {})
                with self._client.stream(self._path, headers=headers, silence=SILENCE) as response:
                    self.connected, pause = True, 0.2
                    for event in parse(response.iter_lines()):
                        last = event.id or last
                        self._rings.put(None)
                        if self._closed.is_set() or event.kind == "end":
                            return
                    if response.status_code == NO_CONTENT:
                        return
            except NotFound:
                return
            except (HeadraceError, RuntimeError):
                pause = min(pause * 2, 5.0)
            finally:
                self.connected = False
            self._closed.wait(pause)
