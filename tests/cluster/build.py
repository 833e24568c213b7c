"""The binaries: pinned Go modules, built once into a cache outside the tree."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.console import say
from tests.cluster.errors import ClusterError
from tests.cluster.layout import cache_root
from tests.cluster.machine import go
from tests.cluster.trying import fetch

MODULES = Path(__file__).parent / "modules"
PROGRESS_EVERY = 20.0
"""Seconds between two lines while one binary is compiled."""


@dataclass(frozen=True)
class Tool:
    """One binary: the directory of its module below modules/, its package, and the variable that holds its version."""

    name: str
    module: str
    package: str
    version_variable: str = ""


_KUBERNETES = "k8s.io/component-base/version.gitVersion"
_CONTAINERD = "github.com/containerd/containerd/v2"

TOOLS = (
    Tool("pause", "pause", "."),
    Tool("etcd", "kubernetes", "go.etcd.io/etcd/server/v3"),
    Tool("kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl", _KUBERNETES),
    Tool("kube-scheduler", "kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler", _KUBERNETES),
    Tool("kube-proxy", "kubernetes", "k8s.io/kubernetes/cmd/kube-proxy", _KUBERNETES),
    Tool("kubelet", "kubernetes", "k8s.io/kubernetes/cmd/kubelet", _KUBERNETES),
    Tool("kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver", _KUBERNETES),
    Tool(
        "kube-controller-manager", "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager", _KUBERNETES
    ),
    Tool("containerd", "containerd", f"{_CONTAINERD}/cmd/containerd", f"{_CONTAINERD}/version.Version"),
    Tool("containerd-shim-runc-v2", "containerd", f"{_CONTAINERD}/cmd/containerd-shim-runc-v2"),
    Tool("ctr", "containerd", f"{_CONTAINERD}/cmd/ctr"),
    Tool("coredns", "kubernetes", "./coredns"),
)
"""What a cluster runs, in the order of building."""
KWOK = Tool("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok")
"""Simulated nodes: for tests of scale only."""


class Binaries:
    """The directory of each built binary."""

    def __init__(self, paths: dict[str, Path]) -> None:
        self._paths = paths

    def __getitem__(self, name: str) -> str:
        return str(self._paths[name])

    def directory(self, name: str) -> str:
        """Where a binary lies, for a PATH."""
        return str(self._paths[name].parent)


def build(tools: tuple[Tool, ...] = TOOLS) -> Binaries:
    """Build what the cache lacks, telling how it goes; minutes on a new machine. Raises ClusterError."""
    paths = {tool.name: _target(tool) for tool in tools}
    lacking = [tool for tool in tools if not paths[tool.name].exists()]
    if lacking:
        with alone():
            lacking = [tool for tool in tools if not paths[tool.name].exists()]
            command = go(max(_go_line(tool.module) for tool in lacking)) if lacking else ""
            for module in sorted({tool.module for tool in lacking}):
                _fetch_sources(command, module, [tool.package for tool in lacking if tool.module == module])
            for number, tool in enumerate(lacking, 1):
                _compile(command, tool, paths[tool.name], f"{number} of {len(lacking)}")
    return Binaries(paths)


def _target(tool: Tool) -> Path:
    """Keyed by everything that decides what is built."""
    return cache_root() / "bin" / f"{tool.module}-{_digest(MODULES / tool.module)}" / tool.name


def _digest(module: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in module.rglob("*") if path.suffix in (".mod", ".sum", ".go")):
        digest.update(path.relative_to(module).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _go_line(module: str) -> tuple[int, ...]:
    """The Go version that a module asks for."""
    found = re.search(r"^go (\d+(?:\.\d+)*)$", (MODULES / module / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise ClusterError(f"{module}/go.mod has no go line")
    return tuple(int(part) for part in found[1].split("."))


def _version(tool: Tool) -> str:
    """The pinned version of the module that a tool's package belongs to."""
    text = (MODULES / tool.module / "go.mod").read_text()
    for path, version in re.findall(r"^(?:require)?\s*(\S+) (v[^\s/]\S*)", text, re.MULTILINE):
        if tool.package == path or tool.package.startswith(path + "/"):
            return version
    return ""


@contextmanager
def alone() -> Generator[None]:
    """One process builds at a time; others wait for what it makes."""
    cache_root().mkdir(parents=True, exist_ok=True)
    with (cache_root() / "build.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is building; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch_sources(command: str, module: str, packages: list[str]) -> None:
    """Every module that the packages need, into Go's cache. Only this talks to a network, and it may be repeated."""
    say(f"fetching what {module} is made of")
    fetch(
        [command, "list", "-deps", *packages],
        f"fetching the sources of {module}",
        environment=_environment(),
        directory=MODULES / module,
    )


def _environment() -> dict[str, str]:
    return {
        "CGO_ENABLED": "0",
        "GOWORK": "off",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=readonly -buildvcs=false",
    }


def _compile(command: str, tool: Tool, target: Path, place: str) -> None:
    version = _version(tool)
    say(f"building {tool.name} {version} ({place}); kept in {target.parent}")
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".unfinished")
    flags = "-s -w" + (f" -X {tool.version_variable}={version}" if tool.version_variable else "")
    started = time.monotonic()
    with subprocess.Popen(
        [command, "build", "-v", "-trimpath", "-ldflags", flags, "-o", str(unfinished), tool.package],
        cwd=MODULES / tool.module,
        env={**os.environ, **_environment(), "GOPROXY": "off"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        lines = _follow(process, tool.name, started)
    if process.returncode:
        raise ClusterError(f"{tool.name} could not be built:\n" + "".join(lines[-30:]))
    unfinished.replace(target)
    say(f"built {tool.name} in {time.monotonic() - started:.0f} s")


def _follow(process: subprocess.Popen[str], name: str, started: float) -> list[str]:
    """Every line of the compiler (a package each), told in a summary now and then."""
    lines: list[str] = []
    told = started
    for line in process.stderr or ():
        lines.append(line)
        if time.monotonic() - told >= PROGRESS_EVERY:
            told = time.monotonic()
            say(f"  {name}: {len(lines)} packages compiled, {told - started:.0f} s")
    return lines
