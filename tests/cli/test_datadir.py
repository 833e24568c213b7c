"""The data directory: one dev at a time, one key for ever, a ready file that is always whole."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.cli.dev.datadir import DataDir, ReadyFiles
from app.errors import UsageError
from app.store.api_keys import parse_key

HOLD = """
import sys, time
from pathlib import Path
from app.cli.dev.datadir import DataDir
with DataDir(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def directory(tmp_path: Path) -> DataDir:
    made = DataDir(tmp_path / "data")
    made.make()
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def holder(directory: DataDir):
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory.root)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_dev_on_one_directory_is_refused_by_name(directory: DataDir, holder: subprocess.Popen[str]):
    with (
        pytest.raises(UsageError, match=rf"another `headrace dev` runs on .* \(process {holder.pid}\)"),
        directory.lock(),
    ):
        pass


def test_the_lock_of_a_killed_dev_is_gone(directory: DataDir, holder: subprocess.Popen[str]):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with directory.lock():
        assert (directory.root / "lock").read_text() == str(os.getpid())


def test_the_api_key_is_made_once_and_for_us_alone(directory: DataDir):
    key = directory.api_key()
    assert directory.api_key() == key
    assert mode(directory.root / "api_key") == 0o600
    assert parse_key(key) is not None


def test_the_directory_itself_is_for_us_alone(directory: DataDir):
    assert mode(directory.root) == 0o700


def test_the_port_is_remembered(directory: DataDir):
    assert directory.last_port() == 0
    directory.keep_port(4711)
    assert directory.last_port() == 4711


def test_a_directory_that_cannot_be_is_a_usage_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot use"):
        DataDir(tmp_path / "file" / "data").make()


def test_the_ready_file_is_for_us_alone_and_goes_with_us(tmp_path: Path):
    path = tmp_path / "ready.json"
    ready = ReadyFiles(path)
    ready.write({"url": "http://x"})
    assert mode(path) == 0o600
    ready.remove()
    ready.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_reader_never_sees_half_a_ready_file(tmp_path: Path):
    path, seen, done = tmp_path / "ready.json", set[int](), threading.Event()
    ready = ReadyFiles(path)
    ready.write({"n": 0})

    def read() -> None:
        while not done.is_set():
            seen.add(json.loads(path.read_text())["n"])

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(300):
        ready.write({"n": n, "pad": "x" * 5000})
    done.set()
    reader.join()
    assert seen <= set(range(300))
    assert seen


def test_a_ready_file_in_no_directory_is_a_usage_error(tmp_path: Path):
    with pytest.raises(UsageError, match="is no directory"):
        ReadyFiles(tmp_path / "none" / "ready.json").check()
