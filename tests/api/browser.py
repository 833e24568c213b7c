"""A headless Chromium, spoken to over two pipes: messages of its debugging protocol, each ended by a NUL."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.cluster import machine

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 60.0
"""Seconds for one answer, and for one condition of a page."""


def chromium() -> str:
    """The path of a Chromium, which Debian gives to root. Raises ClusterError that names the package."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        machine.demand({"chromium": "chromium"})
    return found or machine.program("chromium")


class Browser:
    """One window. `open` goes to a page, `run` gives the value of an expression there."""

    def __init__(self, folder: Path) -> None:
        program = chromium()
        to_it, self._write = os.pipe()
        self._read, from_it = os.pipe()

        def pipes() -> None:
            """The browser reads from descriptor 3 and writes to 4; what is there now may be one of both."""
            first, second = os.dup(to_it), os.dup(from_it)
            os.dup2(first, 3)
            os.dup2(second, 4)

        self._process = subprocess.Popen(
            [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", f"--user-data-dir={folder}", "--remote-debugging-pipe", "about:blank"],
            preexec_fn=pipes, pass_fds=(3, 4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        os.close(to_it)
        os.close(from_it)
        self._number, self._rest = 0, b""
        self.dialogs = 0
        """Windows of alert() and its like that a page opened: none may."""
        (page,) = [each for each in self._ask("Target.getTargets")["targetInfos"] if each["type"] == "page"]
        self._session = self._ask("Target.attachToTarget", targetId=page["targetId"], flatten=True)[
            "sessionId"
        ]
        self._ask("Page.enable", self._session)

    def open(self, url: str) -> None:
        self._ask("Page.navigate", self._session, url=url)

    def run(self, expression: str) -> Any:
        """The value of an expression in the page, as JSON has it. Raises AssertionError where it throws."""
        reply = self._ask("Runtime.evaluate", self._session, expression=expression, returnByValue=True)
        assert "exceptionDetails" not in reply, reply["exceptionDetails"]
        return reply["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until an expression is true."""
        deadline = time.monotonic() + PATIENCE
        while not (value := self.run(expression)):
            assert time.monotonic() < deadline, f"{expression}: {self.run('document.body.innerText')}"
            select.select([], [], [], 0.05)
        return value

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def _ask(self, method: str, session: str | None = None, **params: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": session} if session else {}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._next()
            if reply.get("method") == "Page.javascriptDialogOpening":
                self.dialogs += 1
            if reply.get("id") == self._number:
                assert "error" not in reply, reply["error"]
                return reply["result"]

    def _next(self) -> Any:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], PATIENCE)
            assert ready, "the browser does not answer"
            part = os.read(self._read, 1 << 16)
            assert part, "the browser has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)
