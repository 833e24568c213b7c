"""A further node: a kubelet and a containerd of their own on this machine, whose kubelet can be stopped as if all were lost.

Only pods that ask for it come to it (label and taint MACHINE), so what happens to it harms no other test.
"""

from __future__ import annotations

import secrets
import shutil
import signal
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import components, images, leftovers, machine, network, objects, pki, processes
from tests.cluster.build import Binaries
from tests.cluster.components import MACHINE
from tests.cluster.errors import ClusterError
from tests.cluster.kubectl import Kubectl
from tests.cluster.layout import Layout

PARTS = ("kubelet", "containerd")


class FurtherNode:
    """One that runs."""

    def __init__(self, name: str, layout: Layout) -> None:
        self.name = name
        self._layout = layout

    @property
    def selector(self) -> dict[str, str]:
        """The nodeSelector of the pods that it is for."""
        return {MACHINE: self.name}

    def lose(self) -> None:
        """Its kubelet does and says nothing any more. What runs in its pods goes on, as behind a cut cable."""
        self._signal(signal.SIGSTOP)

    def find(self) -> None:
        """Its kubelet goes on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        kubelet = processes.recorded(self._layout, "kubelet")
        if kubelet is None or not kubelet.alive():
            raise ClusterError(f"the kubelet of {self.name} does not run")
        kubelet.signal(number)


@contextmanager
def further_node(
    cluster: Layout, binaries: Binaries, kubectl: Kubectl, archives: Iterable[Path]
) -> Generator[FurtherNode]:
    """Start one that has these images, and busybox; it is gone afterwards. Raises ClusterError."""
    name = f"further-{secrets.token_hex(3)}"
    layout = cluster.new_node(name)
    try:
        pki.make_for_node(layout, name)
        network.configure(cluster, layout)
        _start(layout, binaries, kubectl, name)
        for archive in archives:
            images.load_file(layout, binaries, archive)
        yield FurtherNode(name, layout)
    finally:
        stop(layout, binaries)
        kubectl("delete", "node", name, "--ignore-not-found")
        leftovers.unmount(layout.root)
        shutil.rmtree(layout.root)


def _start(layout: Layout, binaries: Binaries, kubectl: Kubectl, name: str) -> None:
    path = f"{binaries.directory('containerd-shim-runc-v2')}:{machine.search_path()}"
    runtime = processes.start(layout, "containerd", components.containerd(layout, binaries), {"PATH": path})
    processes.wait(layout, runtime, layout.containerd.exists)
    images.load(layout, binaries, images.pause_archive(binaries, components.PAUSE_IMAGE))
    images.load(layout, binaries, images.busybox_archive())
    kubelet = processes.start(layout, "kubelet", components.kubelet(layout, binaries, name))
    processes.wait(layout, kubelet, lambda: kubectl.succeeds("get", "node", name))
    objects.admit_node(kubectl, name)


def stop(layout: Layout, binaries: Binaries) -> None:
    """End its processes and every container of it."""
    kubelet, runtime = (processes.recorded(layout, name) for name in PARTS)
    if kubelet is not None:
        kubelet.stop()
    if runtime is not None and runtime.alive():
        images.kill_tasks(layout, binaries)
        runtime.stop()
