"""Where the suite runs: for each executor, how its nodes are made, and how a hand from outside reaches them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any, Protocol

from app.core.nodetypes import NodeType
from app.settings import Settings
from tests.containers.engine import BUSYBOX, PYTHON, TestEngine
from tests.kubernetes.conftest import TestCluster
from workers.executors.container.engine import Engine
from workers.executors.launchfiles import process_start
from workers.executors.process import end_all

PROGRAM = Path(__file__).with_name("program.py")
OURS = "app.kubernetes.io/managed-by"


class Place(Protocol):
    """One executor."""

    name: str
    host: str
    """This machine's address for the nodes."""

    def settings(self, folder: Path) -> dict[str, Any]:
        """What of the settings is this executor's own."""
        ...

    def shell(self, name: str, script: str) -> NodeType:
        """A node type that runs a script of the shell, and never heard of the node protocol."""
        ...

    def program(self) -> NodeType:
        """The node type that runs program.py."""
        ...

    async def kill(self, run: str, pid: int) -> None:
        """kill -9 the program of a run, which knows itself by this pid."""
        ...

    async def present(self, run: str) -> int:
        """How many processes, containers or Jobs of a run there are."""
        ...

    async def clear(self, settings: Settings) -> None:
        """Nothing of an installation is left."""
        ...


class Processes:
    name, host = "process", "127.0.0.1"

    def settings(self, folder: Path) -> dict[str, Any]:
        return {"executors": "process", "node_types": str(folder / "types")}

    def shell(self, name: str, script: str) -> NodeType:
        return NodeType(name=name, command=["/bin/sh", "-c", script])

    def program(self) -> NodeType:
        command = ["{python}", "-I", "-S", str(PROGRAM)]
        return NodeType(name="program", command=command, config_schema={"type": "object"})

    async def kill(self, run: str, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    async def present(self, run: str) -> int:
        found = 0
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                variables = path.read_bytes().split(b"\0")
            except OSError:
                continue
            told = f"HEADRACE_RUN_ID={run}".encode() in variables
            leads = path.parent.joinpath("stat").exists() and _leads_session(int(path.parent.name))
            found += told and leads
        return found

    async def clear(self, settings: Settings) -> None:
        await end_all(settings, grace=0.0)


def _leads_session(pid: int) -> bool:
    """Whether a live process is the first one of its session, as the shim of a launch is."""
    try:
        return process_start(pid) is not None and os.getsid(pid) == pid
    except ProcessLookupError:
        return False


class Images:
    """What the executors of images have in common."""

    busybox = python = ""
    more: dict[str, Any]

    def shell(self, name: str, script: str) -> NodeType:
        return NodeType(name=name, image=self.busybox, entrypoint=["sh", "-c", script], **self.more)

    def program(self) -> NodeType:
        # behind a shell, so that it is not the first process of its container, which no signal from inside can kill
        behind = (
            'trap "kill -TERM \\$!" TERM; python3 -c "$0" & wait $!; code=$?; wait $! || code=$?; exit $code'
        )
        entrypoint = ["sh", "-c", behind, PROGRAM.read_text("utf-8")]
        schema = {"type": "object"}
        return NodeType(
            name="program", image=self.python, entrypoint=entrypoint, config_schema=schema, **self.more
        )


class Containers(Images):
    name, host = "container", "127.0.0.1"
    busybox, python = BUSYBOX, PYTHON

    def __init__(self, engine: TestEngine) -> None:
        self.engine = engine
        self.more = {}

    def settings(self, folder: Path) -> dict[str, Any]:
        return {
            "executors": "container", "image_allow": "localhost/*", "container_engine": self.engine.address,
            "container_network": "host", "container_timeout": 30,
        }  # fmt: skip

    async def _listed(self, labels: dict[str, str]) -> list[dict[str, Any]]:
        engine = Engine(self.engine.settings())
        try:
            return await engine.listed(labels)
        finally:
            await engine.close()

    async def kill(self, run: str, pid: int) -> None:
        engine = Engine(self.engine.settings())
        try:
            for each in await engine.listed({"headrace.dev/run": run}):
                await engine.kill(each["Id"], "SIGKILL")
        finally:
            await engine.close()

    async def present(self, run: str) -> int:
        return len(await self._listed({"headrace.dev/run": run}))

    async def clear(self, settings: Settings) -> None:
        engine = Engine(self.engine.settings())
        try:
            for each in await engine.listed({"app.kubernetes.io/instance": settings.prefix}):
                await engine.remove(each["Id"])
        finally:
            await engine.close()


class Jobs(Images):
    name = "kubernetes"

    def __init__(self, cluster: TestCluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.host = cluster.host
        self.busybox, self.python = cluster.image("busybox:1"), cluster.image("headrace-base:1")
        self.more = {"kubernetes": {"run_as_user": 65532, "image_pull_policy": "Never"}}

    def settings(self, folder: Path) -> dict[str, Any]:
        return {
            "executors": "kubernetes", "image_allow": self.cluster.image("*"),
            "kubeconfig": str(self.cluster.kubeconfig), "kubernetes_namespace": self.namespace,
        }  # fmt: skip

    def _kubectl(self, *words: str) -> str:
        return self.cluster.kubectl(f"--namespace={self.namespace}", *words)

    async def kill(self, run: str, pid: int) -> None:
        pods = json.loads(self._kubectl("get", "pods", "-l", f"headrace.dev/run={run}", "-o", "json"))
        names = [each["metadata"]["name"] for each in pods["items"] if each["status"]["phase"] == "Running"]
        for name in names:
            self._kubectl("exec", name, "--", "sh", "-c", f"kill -9 {pid}")

    async def present(self, run: str) -> int:
        jobs = json.loads(self._kubectl("get", "jobs", "-l", f"headrace.dev/run={run}", "-o", "json"))
        return len(jobs["items"])

    async def clear(self, settings: Settings) -> None:
        self._kubectl("delete", "jobs", "--all", "--wait=false")
