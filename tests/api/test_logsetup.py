"""Logs tell what happened, and never what was in a variable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from app.logsetup import configure, escape
from app.settings import Settings


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def _fail(password: str) -> None:
    raise RuntimeError(f"cannot use {len(password)} characters")


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_an_exception_is_logged_without_the_values_of_variables(
    log_format: str, capsys: pytest.CaptureFixture[str]
):
    configure(Settings(log_format=log_format))
    try:
        _fail("hunter" + str(2))
    except RuntimeError:
        structlog.get_logger().exception("unexpected error", request_id="r-1")
    written = capsys.readouterr().err
    assert "RuntimeError" in written
    assert "r-1" in written
    assert "hunter2" not in written


def test_control_characters_cannot_forge_a_line():
    event: dict[str, Any] = {"event": "run", "name": "a\r\n2026 [info] forged \x1b[31m", "count": 1}
    assert escape(None, "info", event)["name"] == "a\\r\\n2026 [info] forged \\x1b[31m"
    assert event["count"] == 1


def test_the_level_is_the_settings(capsys: pytest.CaptureFixture[str]):
    configure(Settings(log_level="warning"))
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    written = capsys.readouterr().err
    assert "quiet" not in written
    assert "loud" in written
