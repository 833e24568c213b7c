"""The pods' network: a veth pair per pod, this machine as its gateway."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.cluster.layout import HOST, POD_NETWORK, Layout
from tests.cluster.machine import program

NAME = "headrace-test"
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
RESULTS = Path("/var/lib/cni/results")
"""Where the CNI library keeps what it did, for every network of the machine."""


def prepare(layout: Layout) -> None:
    """The gateway's address on loopback, forwarding between pods, the plugin's configuration."""
    if HOST not in _ip("-4", "-o", "address", "show", "dev", "lo"):
        _ip("address", "add", f"{HOST}/32", "dev", "lo")
    layout.config("ip_forward").write_text(FORWARDING.read_text())
    FORWARDING.write_text("1\n")
    configure(layout, layout)


def configure(cluster: Layout, node: Layout) -> None:
    """Pods of a node are in the cluster's network: one plugin gives all of them their addresses."""
    (node.root / "cni" / "10-pods.conflist").write_text(json.dumps(_network(cluster)))


def _network(layout: Layout) -> dict[str, object]:
    addresses = {
        "type": "host-local",
        "dataDir": str(layout.root / "run" / "addresses"),
        "ranges": [[{"subnet": POD_NETWORK, "gateway": HOST}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {
        "cniVersion": "1.0.0",
        "name": NAME,
        "plugins": [{"type": "ptp", "ipMasq": False, "ipam": addresses}],
    }


def restore(layout: Layout) -> None:
    """The machine's network as it was found."""
    if layout.config("ip_forward").exists():
        FORWARDING.write_text(layout.config("ip_forward").read_text())
    if HOST in _ip("-4", "-o", "address", "show", "dev", "lo"):
        _ip("address", "delete", f"{HOST}/32", "dev", "lo")
    for result in RESULTS.glob(f"{NAME}-*"):
        result.unlink(missing_ok=True)


def _ip(*arguments: str) -> str:
    return subprocess.run([program("ip"), *arguments], capture_output=True, text=True, check=True).stdout
