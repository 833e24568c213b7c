"""A real container engine for tests: the one of HEADRACE_TEST_ENGINE, else Debian's Podman, started on a socket of its own.

Whatever Podman keeps is below a temporary directory, so it meets nothing else of the machine's. Needs root, and installs what
is missing on Debian.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp

from app.settings import Settings
from tests.cluster import machine
from tests.cluster.headrace_images import BASE_TAG, base_archive
from tests.cluster.images import BUSYBOX_IMAGE, busybox_archive
from workers.executors.container.engine import Engine, EngineError

VARIABLE = "HEADRACE_TEST_ENGINE"
"""The address of the engine that the tests use instead of one of ours; its containers must reach this machine's loopback."""
PACKAGES = {"podman": "podman", "runc": "runc", "conmon": "conmon", "busybox": "busybox-static"}
BUSYBOX, PYTHON = BUSYBOX_IMAGE, BASE_TAG
PROCESSES = 4096


class TestEngine:
    """What a test needs to know of the engine."""

    __test__ = False

    def __init__(self, address: str, process: subprocess.Popen[bytes] | None) -> None:
        self.address = address
        self.process = process
        """The service, which may be frozen; None for an engine of others."""

    def settings(self, **more: Any) -> Settings:
        return Settings(container_engine=self.address, container_timeout=60, **more)

    async def load(self, archive: BinaryIO) -> None:
        """Take in a docker archive."""
        engine = Engine(self.settings())
        try:
            await engine.call("POST", "/images/load", data=archive)
        finally:
            await engine.close()


@contextmanager
def engine() -> Generator[TestEngine]:
    """The engine with the images BUSYBOX and PYTHON; one of ours is gone afterwards, with all that it ran."""
    named = os.environ.get(VARIABLE, "")
    if named:
        found = TestEngine(named, None)
        _load(found)
        yield found
        return
    machine.demand_root()
    machine.demand(PACKAGES)
    folder = Path(tempfile.mkdtemp(prefix="headrace-engine-"))
    process = _start(folder)
    try:
        found = TestEngine(f"unix://{folder}/engine.sock", process)
        _load(found)
        yield found
        asyncio.run(_clear(found))
    finally:
        process.kill()
        process.wait()
        subprocess.run(["umount", str(folder / "root" / "overlay")], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _configuration() -> str:
    """Limits that a machine without CAP_SYS_RESOURCE can set, and no service that it may lack."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    ulimits = json.dumps([f"nofile={files}:{files}", f"nproc={PROCESSES}:{PROCESSES}"])
    return f'[containers]\ndefault_ulimits={ulimits}\n[engine]\ncgroup_manager="cgroupfs"\nevents_logger="file"\n'


def _start(folder: Path) -> subprocess.Popen[bytes]:
    configuration, log = folder / "containers.conf", folder / "service.log"
    configuration.write_text(_configuration())
    options = [
        f"--root={folder}/root",
        f"--runroot={folder}/run",
        "--storage-driver=overlay",
        "--runtime=runc",
    ]
    environment = {**os.environ, "CONTAINERS_CONF": str(configuration), "PATH": machine.search_path()}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [machine.program("podman"), *options, "system", "service", "--time=0", f"unix://{folder}/engine.sock"],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + 30
    while not (folder / "engine.sock").exists():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return process


def _load(found: TestEngine) -> None:
    asyncio.run(found.load(io.BytesIO(busybox_archive())))
    with base_archive().open("rb") as archive:
        asyncio.run(found.load(archive))


async def _clear(found: TestEngine) -> None:
    engine = Engine(found.settings())
    try:
        for each in await engine.listed({}):
            await engine.remove(each["Id"])
    except (EngineError, aiohttp.ClientError):
        pass  # a test has ended it
    finally:
        await engine.close()
