"""What a stopped cluster leaves on the machine: mounts, control groups, packet rules, shims."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from tests.cluster import components
from tests.cluster.build import Binaries
from tests.cluster.layout import Layout
from tests.cluster.machine import program, search_path

CONTROL_GROUPS = Path("/sys/fs/cgroup")
POD_LOGS = Path("/var/log/containers")
"""Where every kubelet links to its containers' logs."""


def clear(layout: Layout, binaries: Binaries) -> None:
    """Take it all away; every part may be gone already."""
    _end_shims(binaries)
    unmount(layout.root)
    environment = {"PATH": search_path()}
    subprocess.run(components.proxy_cleanup(binaries), env=environment, capture_output=True, check=False)
    _remove_control_groups()
    for link in POD_LOGS.glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(layout.root):
            link.unlink()


def _end_shims(binaries: Binaries) -> None:
    """Shims outlive containerd by design; ours are those that run our binary, which no other cluster does."""
    shim = Path(binaries["containerd-shim-runc-v2"])
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "exe").readlink() == shim:
                os.kill(int(process.name), signal.SIGKILL)


def unmount(root: Path) -> None:
    """Every mount below a state directory, the innermost first."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    below = [path for path in mounted if path.startswith(f"{root}/")]
    for path in sorted(below, key=len, reverse=True):
        subprocess.run([program("umount"), "-l", path], capture_output=True, check=False)


def _remove_control_groups() -> None:
    """The kubelet's tree, in every hierarchy; one that still has a process stays."""
    for tree in [CONTROL_GROUPS / "kubepods", *CONTROL_GROUPS.glob("*/kubepods")]:
        for directory, _, _ in os.walk(tree, topdown=False):
            with contextlib.suppress(OSError):
                Path(directory).rmdir()
