"""Children that die come back; a shutdown ends them in order; nothing outlives the parent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.cli.dev.children import ProcessChild, ValkeyChild
from app.cli.dev.supervisor import Supervisor
from app.embedded import EmbeddedValkey

SLEEP = [sys.executable, "-S", "-c", "print('up', flush=True); import time; time.sleep(60)"]
DEAF = [
    sys.executable, "-S", "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]  # fmt: skip
FAIL = [sys.executable, "-S", "-c", "import sys; print('no way'); sys.exit(7)"]


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - of processes, which ring no bell
            await asyncio.sleep(0.01)


class Watch:
    """What a supervisor tells."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.changes = 0

    def changed(self) -> None:
        self.changes += 1


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
async def supervisor(watch: Watch):
    made = Supervisor(changed=watch.changed, say=watch.lines.append)
    yield made
    made.kill()
    await made.stop(made.children, grace=5)


@pytest.fixture
def child(tmp_path: Path) -> Callable[..., ProcessChild]:
    def make(name: str, command: list[str]) -> ProcessChild:
        return ProcessChild(name, command, env=dict(os.environ), log=tmp_path / f"{name}.log")

    return make


def up(child: ProcessChild) -> bool:
    return child.log.exists() and "up" in child.log.read_text()


async def test_a_child_that_is_killed_comes_back(supervisor: Supervisor, watch: Watch, child):
    worker = child("worker", SLEEP)
    await supervisor.start(worker)
    first = worker.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: watch.changes)
    assert worker.pid not in (None, first)
    assert watch.lines == ["worker was ended by SIGKILL; starting it again"]


async def test_a_child_that_always_fails_is_started_ever_more_slowly(
    supervisor: Supervisor, watch: Watch, child
):
    began = time.monotonic()
    broken = child("api", FAIL)
    await supervisor.start(broken)
    await until(lambda: supervisor.deaths(broken) == 3)
    assert time.monotonic() - began >= 0.2 + 0.4
    assert watch.lines[0] == "api ended with code 7; starting it again"
    assert "no way" in broken.log.read_text()


async def test_a_stopped_child_stays_away(supervisor: Supervisor, watch: Watch, child):
    worker = child("worker", SLEEP)
    await supervisor.start(worker)
    assert await supervisor.stop([worker], grace=5) == []
    assert worker.pid is None
    assert watch.changes == 0


async def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(supervisor: Supervisor, child):
    deaf = child("deaf", DEAF)
    await supervisor.start(deaf)
    await until(lambda: up(deaf))
    assert await supervisor.stop([deaf], grace=0.2) == ["deaf"]
    assert deaf.pid is None


async def test_a_child_in_its_back_off_is_not_started_by_a_shutdown(supervisor: Supervisor, child):
    broken = child("api", FAIL)
    await supervisor.start(broken)
    await until(lambda: supervisor.deaths(broken) == 1)
    assert await supervisor.stop([broken], grace=5) == []
    assert supervisor.deaths(broken) == 1


async def test_children_are_stopped_together_and_groups_one_after_the_other(supervisor: Supervisor, child):
    workers, api = [child("w1", SLEEP), child("w2", SLEEP)], child("api", SLEEP)
    for one in (*workers, api):
        await supervisor.start(one)
    await supervisor.stop(workers, grace=5)
    assert [one.pid is None for one in (*workers, api)] == [True, True, False]
    await supervisor.stop([api], grace=5)
    assert api.pid is None


async def test_valkey_comes_back_on_its_port_with_its_data(
    supervisor: Supervisor, watch: Watch, tmp_path: Path
):
    from app.store.client import connect

    server = EmbeddedValkey(tmp_path / "valkey")
    valkey = ValkeyChild(server)
    await supervisor.start(valkey)
    client = connect(server.url, timeout=5)
    await client.set("kept", "yes")
    await client.aclose()
    assert valkey.pid
    os.kill(valkey.pid, signal.SIGKILL)
    await until(lambda: watch.changes)
    again = connect(server.url, timeout=5)
    assert await again.get("kept") == b"yes"
    await again.aclose()


PARENT = """
import asyncio, os, sys
from pathlib import Path
from app.cli.dev.children import ProcessChild
async def main():
    child = ProcessChild("c", [sys.executable, "-S", "-c", "import time; time.sleep(60)"], env=dict(os.environ), log=Path(sys.argv[1]))
    await child.start()
    print(child.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""  # noqa: E501


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
async def test_a_child_goes_with_its_killed_parent(tmp_path: Path):
    parent = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", PARENT, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    await until(lambda: not _alive(pid))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
