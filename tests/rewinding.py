"""A server of the test's own that is set back to what it had at an earlier moment (fault row 13)."""

from __future__ import annotations

import shutil
from pathlib import Path

from app.embedded import EmbeddedValkey


def remember(server: EmbeddedValkey, past: Path) -> None:
    """Copy what the server has now."""
    _kill(server)
    shutil.copytree(server.directory / "appendonlydir", past)
    server.start()


def rewind(server: EmbeddedValkey, past: Path) -> None:
    """The server dies, and comes back with what it had when `past` was copied."""
    _kill(server)
    shutil.rmtree(server.directory / "appendonlydir")
    shutil.copytree(past, server.directory / "appendonlydir")
    server.start()


def _kill(server: EmbeddedValkey) -> None:
    assert server.process is not None
    server.process.kill()
    server.process.wait()
