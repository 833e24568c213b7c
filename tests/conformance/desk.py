"""Where programs of the suite report from wherever they run, and ask whether they may go on."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Desk:
    """POST /NAME writes a line into the diary of NAME; GET /GATE is 200 once the gate is open."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.gates: set[str] = set()
        self._server = ThreadingHTTPServer(("0.0.0.0", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]

    def diary(self, run: str, **has: Any) -> list[dict[str, Any]]:
        """What programs of a run reported, those lines that have these members."""
        mine = [line for line in list(self.lines) if line["run"] == run]
        return [line for line in mine if all(line.get(name) == value for name, value in has.items())]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        desk = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                desk.lines.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self._answer(200)

            def do_GET(self) -> None:
                self._answer(200 if self.path.strip("/") in desk.gates else 404)

            def _answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                return

        return Handler

    @contextmanager
    def open(self) -> Generator[Desk]:
        thread = Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        yield self
        self._server.shutdown()
        self._server.server_close()
        thread.join()
