"""Processes of this machine as /proc tells of them: found, measured and killed, never the wrong one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


def pids() -> Iterator[int]:
    """Every process there is now."""
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            yield int(entry.name)


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on; None when the process is gone, or a zombie."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    return _stat(pid) is not None


def children_of(parent: int) -> set[int]:
    """The live children of a process."""
    found: set[int] = set()
    for pid in pids():
        fields = _stat(pid)
        if fields is not None and int(fields[1]) == parent:
            found.add(pid)
    return found


def environment(pid: int) -> dict[str, str]:
    """The environment a process began with; empty when it is gone or another user's."""
    try:
        raw = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (line.decode("utf-8", "replace").partition("=") for line in raw.split(b"\0") if line)
    return {name: value for name, _, value in pairs}


def peak_memory(pid: int) -> int:
    """The most memory that a process has held so far (VmHWM), in KiB; 0 when it is gone."""
    try:
        for line in (PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


@dataclass(slots=True, frozen=True)
class NodeProcess:
    """The program of one node run. `session` is the shim in front of it, which leads their session."""

    pid: int
    session: int
    run: str
    node: str
    item: int | None
    attempt: int

    @property
    def ref(self) -> str:
        return self.node if self.item is None else f"{self.node}:{self.item}"


def node_processes(api_url: str) -> list[NodeProcess]:
    """The programs that run now as nodes of the installation at `api_url`; the shims are not listed."""
    found: list[NodeProcess] = []
    for pid in pids():
        env = environment(pid)
        if env.get("HEADRACE_API_URL") != api_url or "HEADRACE_RUN_ID" not in env:
            continue
        with suppress(ProcessLookupError):
            session = os.getsid(pid)
            if session != pid and alive(pid):
                item = env.get("HEADRACE_ITEM")
                found.append(
                    NodeProcess(
                        pid, session, env["HEADRACE_RUN_ID"], env["HEADRACE_NODE"],
                        int(item) if item else None, int(env["HEADRACE_ATTEMPT"]),
                    )
                )  # fmt: skip
    return found


def kill_child(pid: int, parent: int) -> bool:
    """kill -9 of a process, if it is still a child of `parent`. False when it is gone."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        fields = _stat(pid)
        if fields is None or int(fields[1]) != parent:
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def kill_node(node: NodeProcess, api_url: str, *, whole_session: bool = False) -> bool:
    """kill -9 of a node's program, with its shim or without, if it still is what it was. False when gone."""
    try:
        handle = os.pidfd_open(node.pid)
    except OSError:
        return False
    try:
        env = environment(node.pid)
        if (env.get("HEADRACE_API_URL"), env.get("HEADRACE_RUN_ID")) != (api_url, node.run):
            return False
        if whole_session:
            os.killpg(node.session, signal.SIGKILL)
        else:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True
