"""The parts that run as processes of their own say why they cannot start: one line, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("part", ["server", "worker"])
def test_a_url_that_is_none_of_redis_names_its_setting(headrace, monkeypatch: pytest.MonkeyPatch, part: str):
    monkeypatch.setenv("HEADRACE_REDIS_URL", "http://redis")
    ran = headrace(part)
    assert ran.code == 2
    assert "HEADRACE_REDIS_URL" in ran.err


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("HEADRACE_REDIS_URL", "redis://127.0.0.1:1", "The store does not answer"),
        ("HEADRACE_EXECUTORS", "docker", "HEADRACE_EXECUTORS must list some of"),
    ],
)
def test_a_server_that_cannot_start_says_why(name: str, value: str, says: str):
    environment = {**os.environ, "HEADRACE_PORT": "0", name: value}
    command = [sys.executable, "-m", "app.cli.main", "server"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 3
    assert f"cannot start: {says}" in ran.stderr
    assert "Traceback" not in ran.stderr
