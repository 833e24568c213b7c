"""A real container engine for tests, on a socket of its own: Debian's Podman, or its Docker where HEADRACE_TEST_ENGINE says so.

Whatever it keeps is below a temporary directory, so it meets nothing else of the machine's. Needs root, and installs what is
missing on Debian. HEADRACE_TEST_ENGINE may name the address of another engine.
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
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp

from app.settings import Settings
from tests.cluster import machine
from tests.cluster.headrace_images import BASE_TAG, base_archive
from tests.cluster.images import BUSYBOX_IMAGE, busybox_archive
from tests.cluster.leftovers import unmount
from workers.executors.container.engine import Engine, EngineError

VARIABLE = "HEADRACE_TEST_ENGINE"
"""podman (the default) or docker, started here; or the address of an engine whose containers reach this machine's loopback."""
PODMAN_PACKAGES = {"podman": "podman", "runc": "runc", "conmon": "conmon"}
DOCKER_PACKAGES = {"dockerd": "docker.io", "containerd": "containerd", "runc": "runc", "iptables": "iptables"}
IMAGE_PACKAGES = {"busybox": "busybox-static"}
"""What the images of the tests are made of, whosever the engine is."""
BUSYBOX, PYTHON = BUSYBOX_IMAGE, BASE_TAG
PROCESSES = 4096
STARTING = 30.0
ENDING = 20.0
"""Seconds for the service to come up, and to end everything in good order."""


class TestEngine:
    """What a test needs to know of the engine."""

    __test__ = False

    def __init__(self, address: str) -> None:
        self.address = address

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
    named = os.environ.get(VARIABLE, "") or "podman"
    if "://" in named:
        found = TestEngine(named)
        _load(found)
        yield found
        return
    machine.demand_root()
    folder = Path(tempfile.mkdtemp(prefix="headrace-engine-"))
    started: list[subprocess.Popen[bytes]] = []
    try:
        (_start_docker if named == "docker" else _start_podman)(folder, started)
        found = TestEngine(f"unix://{folder}/engine.sock")
        _load(found)
        yield found
        asyncio.run(_clear(found))
    finally:
        for process in reversed(started):
            _end(process)
        unmount(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _start_podman(folder: Path, started: list[subprocess.Popen[bytes]]) -> None:
    machine.demand(PODMAN_PACKAGES)
    configuration = folder / "containers.conf"
    configuration.write_text(_podman_configuration())
    places = [
        f"--root={folder}/root",
        f"--runroot={folder}/run",
        "--storage-driver=overlay",
        "--runtime=runc",
    ]
    command = [
        machine.program("podman"), *places, "system", "service", "--time=0", f"unix://{folder}/engine.sock",
    ]  # fmt: skip
    _start(folder, started, command, "engine.sock", {"CONTAINERS_CONF": str(configuration)})


def _podman_configuration() -> str:
    """Limits that a machine without CAP_SYS_RESOURCE can set, and no service that it may lack."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    ulimits = json.dumps([f"nofile={files}:{files}", f"nproc={PROCESSES}:{PROCESSES}"])
    return f'[containers]\ndefault_ulimits={ulimits}\n[engine]\ncgroup_manager="cgroupfs"\nevents_logger="file"\n'


def _start_docker(folder: Path, started: list[subprocess.Popen[bytes]]) -> None:
    """Docker and a containerd of its own. The machine's network is left alone: the tests need the host's only."""
    machine.demand(DOCKER_PACKAGES)
    configuration = folder / "containerd.toml"
    configuration.write_text(
        f"""version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]

[grpc]
address = "{folder}/containerd.sock"
"""
    )
    runtime = [machine.program("containerd"), f"--config={configuration}"]
    _start(folder, started, runtime, "containerd.sock")
    places = [f"--data-root={folder}/root", f"--exec-root={folder}/run", f"--pidfile={folder}/docker.pid"]
    network = ["--bridge=none", "--iptables=false", "--ip6tables=false"]
    command = [
        machine.program("dockerd"), *places, *network, f"--host=unix://{folder}/engine.sock",
        f"--containerd={folder}/containerd.sock", "--storage-driver=overlay2",
        "--exec-opt=native.cgroupdriver=cgroupfs",
    ]  # fmt: skip
    _start(folder, started, command, "engine.sock")


def _start(
    folder: Path,
    started: list[subprocess.Popen[bytes]],
    command: Sequence[str],
    socket: str,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Start a service and wait for its socket."""
    log = folder / f"{socket}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, "PATH": machine.search_path(), **(environment or {})},
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    started.append(process)
    deadline = time.monotonic() + STARTING
    while not (folder / socket).exists():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def _load(found: TestEngine) -> None:
    machine.demand(IMAGE_PACKAGES)
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
