"""`headrace dev` from outside: processes, files and HTTP."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cli.client import Client, Target
from app.cli.dev.stack import tail

COMMAND = [sys.executable, "-P", "-m", "app.cli.main", "dev", "--port", "0", "--no-browser", "--workers", "1"]


def until(
    condition: Callable[[], Any], seconds: float = 30.0, tell: Callable[[], str] = lambda: "not in time"
) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, tell()
        time.sleep(0.02)
    return value


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


class Dev:
    """One `headrace dev` on a directory."""

    def __init__(self, root: Path, *arguments: str) -> None:
        self.data, self.ready_file, self.log = root / "data", root / "ready.json", root / "out.txt"
        command = [*COMMAND, "--data", str(self.data), "--ready-file", str(self.ready_file), *arguments]
        self.began = time.monotonic()
        with self.log.open("ab") as log:
            environment = os.environ | {"COLUMNS": "80"}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=root)

    def ready(self, seconds: float = 30.0) -> dict[str, Any]:
        until(lambda: self.ready_file.exists() or self.process.poll() is not None, seconds)
        assert self.process.poll() is None, self.output
        return json.loads(self.ready_file.read_text())

    @property
    def output(self) -> str:
        return self.log.read_text()

    def report(self) -> str:
        """What there is to see when something went wrong."""
        logs = sorted((self.data / "logs" / "engine").glob("*.log"))
        return "\n".join([self.output, *(f"--- {log.name}\n{tail(log)}" for log in logs)])

    def pids(self) -> list[int]:
        pids = self.ready()["pids"]
        return [pids["api"], pids["redis"], *pids["workers"]]

    def client(self) -> Client:
        ready = self.ready()
        return Client(Target(ready["url"], ready["api_key"], "test"), patience=20)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(25)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Dev]]:
    """Start a dev on the test's directory; whatever still runs at the end is stopped."""
    started: list[Dev] = []

    def begin(*arguments: str) -> Dev:
        started.append(Dev(tmp_path, *arguments))
        return started[-1]

    yield begin
    for dev in started:
        if dev.process.poll() is None:
            dev.stop()


def test_it_is_ready_within_its_time_and_says_how_to_reach_it(start: Callable[..., Dev]):
    dev = start("--no-demo")
    ready = dev.ready()
    assert time.monotonic() - dev.began < 30
    assert stat.S_IMODE(dev.ready_file.stat().st_mode) == 0o600
    assert set(ready) == {"url", "api_key", "redis_url", "pids"}
    assert all(alive(pid) for pid in dev.pids())
    assert httpx.get(f"{ready['url']}/readyz").status_code == 200
    assert ready["url"] in until(lambda: dev.output)


def test_sigterm_ends_everything_within_20_seconds_with_code_0(start: Callable[..., Dev]):
    dev = start("--no-demo")
    pids = dev.pids()
    began = time.monotonic()
    assert dev.stop() == 0
    assert time.monotonic() - began < 20
    assert not any(alive(pid) for pid in pids)
    assert not dev.ready_file.exists()


def test_children_that_are_killed_come_back_and_the_ready_file_follows(start: Callable[..., Dev]):
    dev = start("--no-demo")
    before, url = dev.pids(), dev.ready()["url"]
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not set(before) & set(dev.pids()))
    until(lambda: httpx.get(f"{url}/readyz", timeout=10).status_code == 200)
    assert dev.ready()["url"] == url


def test_killed_with_everything_it_goes_on_with_its_key_its_port_and_its_data(start: Callable[..., Dev]):
    dev = start("--no-demo")
    before, pids = dev.ready(), dev.pids()
    document = {"name": "kept", "nodes": {"pause": {"wait": {"duration": "0s"}}}}
    with dev.client() as client:
        client.send("PUT", "/workflows/kept", body=document)
    dev.process.kill()
    dev.process.wait()
    until(lambda: not any(alive(pid) for pid in pids))
    dev.ready_file.unlink()
    again = start("--no-demo")
    after = again.ready()
    assert (after["url"], after["api_key"]) == (before["url"], before["api_key"])
    with again.client() as client:
        assert client.get("/workflows/kept")["version"] == 1


def test_a_second_dev_on_the_same_directory_is_refused(start: Callable[..., Dev]):
    dev = start("--no-demo")
    dev.ready()
    second = start("--no-demo")
    assert second.process.wait(20) == 2
    assert "another `headrace dev` runs on" in dev.output
    assert httpx.get(f"{dev.ready()['url']}/livez").status_code == 200


def test_the_demo_run_succeeds_and_is_shown(start: Callable[..., Dev]):
    dev = start()
    dev.ready()
    until(lambda: "Ctrl-C stops everything" in dev.output or dev.process.poll() is not None, 90, dev.report)
    output = dev.output
    assert max(len(line) for line in output.splitlines() if "http" not in line and "/" not in line) <= 80
    for shown in (
        "✔ succeeded",
        "├─ reprice",
        "└─ images",
        "1 failed record",
        "petit-orme-09",
        "curl -X POST",
        "#key=hr_",
    ):
        assert shown in output, output
    with dev.client() as client:
        (run,) = client.get("/runs", workflow="brand-aggregator")["items"]
    assert run["status"] == "succeeded"
