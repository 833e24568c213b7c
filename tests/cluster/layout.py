"""Where the cluster keeps its files, and the addresses and ports it uses."""

from __future__ import annotations

import json
import os
import random
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.errors import ClusterError

HOST = "10.200.0.1"
"""This machine as its pods see it: an address of the loopback interface and the gateway of every pod."""
POD_NETWORK = "10.200.0.0/24"
SERVICE_NETWORK = "10.201.0.0/24"
DNS_ADDRESS = "10.201.0.10"
DOMAIN = "cluster.local"
NODE = "node1"

PORT_NAMES = (
    "etcd",
    "etcd-peer",
    "apiserver",
    "controllers",
    "scheduler",
    "kubelet",
    "proxy",
    "proxy-metrics",
    "dns",
    "dns-ready",
    "kwok",
)
FIRST_PORT, LAST_PORT, PORT_STEP = 16440, 32000, 20
"""Below the range from which clients' ports are taken, so that no connection takes one away."""


ROOT_VARIABLE = "HEADRACE_CLUSTER_DIR"
KUBECONFIG_VARIABLE = "HEADRACE_TEST_KUBECONFIG"
"""The cluster that the tests use instead of one of ours."""

MARKER = Path("/run/headrace-test-cluster")
"""Names the state directory of the one cluster that this machine can have: its pods' network is the machine's."""


def default_root() -> Path:
    """HEADRACE_CLUSTER_DIR; else the directory of the cluster that this machine has; else one in the temporary directory."""
    named = os.environ.get(ROOT_VARIABLE, "")
    if not named and MARKER.exists():
        named = MARKER.read_text().strip()
    return Path(named).resolve() if named else Path(tempfile.gettempdir()) / f"headrace-cluster-{os.getuid()}"


def cache_root() -> Path:
    """What is built once: $XDG_CACHE_HOME/headrace/cluster."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "headrace" / "cluster"


@dataclass(frozen=True)
class Layout:
    """The state directory of one cluster, and its ports by name."""

    root: Path
    ports: dict[str, int]

    @classmethod
    def new(cls, root: Path) -> Layout:
        """An empty state directory with a block of free ports."""
        layout = cls(root, _free_ports())
        layout._make("pki", "volumes")
        return layout

    def _make(self, *more: str) -> None:
        for directory in ("logs", "run", "etc", "kubeconfig", "kubelet", "cni", *more):
            (self.root / directory).mkdir(parents=True)
        self.root.chmod(0o755)
        (self.root / "ports.json").write_text(json.dumps(self.ports))

    def new_node(self, name: str) -> Layout:
        """The directories of a further node, below those of the cluster, whose certificates it shares."""
        # from anywhere in the range: others that look for a port look at its beginning, at the same moment
        somewhere = random.randrange(FIRST_PORT, LAST_PORT, PORT_STEP)
        layout = Layout(
            self.root / "nodes" / name, {**self.ports, "kubelet": _free_ports(somewhere)["kubelet"]}
        )
        layout._make()
        (layout.root / "pki").symlink_to(self.root / "pki")
        return layout

    def nodes(self) -> list[Layout]:
        """Those of the further nodes that are there."""
        found = [Layout.load(path) for path in sorted((self.root / "nodes").glob("*"))]
        return [layout for layout in found if layout is not None]

    @classmethod
    def load(cls, root: Path) -> Layout | None:
        """The one that is there, if any."""
        try:
            return cls(root, json.loads((root / "ports.json").read_text()))
        except FileNotFoundError:
            return None

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.root / "kubeconfig" / "admin"

    @property
    def containerd(self) -> Path:
        """containerd's socket."""
        return self.root / "run" / "containerd.sock"

    @property
    def server(self) -> str:
        """The apiserver for programs on this machine."""
        return f"https://127.0.0.1:{self.ports['apiserver']}"

    def log(self, name: str) -> Path:
        return self.root / "logs" / f"{name}.log"

    def pki(self, name: str) -> Path:
        return self.root / "pki" / name

    def config(self, name: str) -> Path:
        return self.root / "etc" / name


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def _free_ports(begin: int = FIRST_PORT) -> dict[str, int]:
    for first in [*range(begin, LAST_PORT, PORT_STEP), *range(FIRST_PORT, begin, PORT_STEP)]:
        ports = {name: first + offset for offset, name in enumerate(PORT_NAMES)}
        if all(_free(port) for port in ports.values()):
            return ports
    raise ClusterError(f"no {len(PORT_NAMES)} free ports in a row between {FIRST_PORT} and {LAST_PORT}")
