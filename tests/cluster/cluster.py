"""One cluster from nothing to Ready, and back to nothing."""

from __future__ import annotations

import contextlib
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.cluster import components, further, images, machine, network, objects, pki, processes
from tests.cluster.build import KWOK, TOOLS, Binaries, build
from tests.cluster.console import say
from tests.cluster.errors import ClusterError
from tests.cluster.kubectl import Kubectl
from tests.cluster.layout import MARKER, NODE, Layout
from tests.cluster.leftovers import clear

ESSENTIAL = ("etcd", "apiserver", "controllers", "scheduler", "containerd", "kubelet")
STOP_ORDER = ("kwok", "kubelet", "proxy", "dns", "scheduler", "controllers", "apiserver", "etcd")


class Cluster:
    """A running cluster."""

    def __init__(self, layout: Layout, binaries: Binaries) -> None:
        self.layout = layout
        self.binaries = binaries
        self.kubectl = Kubectl(binaries["kubectl"], layout.kubeconfig)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.layout.kubeconfig

    def load_image(self, path: Path) -> None:
        """Import a docker archive NAME-DIGEST.tar, unless it is what NAME is already; its pods say imagePullPolicy Never."""
        loaded = self.layout.root / "run" / f"{path.stem.rpartition('-')[0] or path.suffix}.loaded"
        if not loaded.exists() or loaded.read_text() != path.name:
            images.load_file(self.layout, self.binaries, path)
            loaded.write_text(path.name)

    def renew_volumes(self) -> None:
        """Empty the volumes whose claims are gone, and offer them again."""
        for volume in self.kubectl.get("persistentvolumes")["items"]:
            if volume["status"]["phase"] == "Released":
                name = volume["metadata"]["name"]
                self.kubectl("delete", "persistentvolume", name)
                _empty(self.layout.root / "volumes" / name)
        self.kubectl.apply(objects.volumes(self.layout.root / "volumes"))

    def simulate_nodes(self, count: int) -> None:
        """Add `count` nodes whose pods are simulated, named kwok-0 and so on."""
        binaries = build((KWOK,))
        if not _alive(self.layout, "kwok"):
            processes.start(self.layout, "kwok", components.kwok(self.layout, binaries))
        names = [f"kwok-{number}" for number in range(count)]
        self.kubectl.apply([objects.simulated_node(name) for name in names])
        self.kubectl("wait", "--for=condition=Ready", "--timeout=60s", *(f"node/{name}" for name in names))


def running(root: Path) -> Cluster | None:
    """The cluster of that state directory, if all its essential parts live."""
    layout = Layout.load(root)
    if layout is None or not all(_alive(layout, name) for name in ESSENTIAL):
        return None
    return Cluster(layout, build())


def ensure(root: Path) -> tuple[Cluster, bool]:
    """The running cluster of that directory, or a new one; and whether it was started now. Raises ClusterError."""
    found = running(root)
    if found is not None:
        found.renew_volumes()
        return found, False
    return start(root), True


def start(root: Path) -> Cluster:
    """Build what must be built, start everything, wait until the node is Ready. Raises ClusterError."""
    machine.demand_root()
    machine.demand(machine.RUNTIME_PACKAGES)
    _demand_alone(root)
    binaries = build(TOOLS)
    stop(root)
    say(f"starting in {root}")
    began = time.monotonic()
    layout = Layout.new(root)
    MARKER.write_text(f"{root}\n")
    cluster = Cluster(layout, binaries)
    try:
        pki.make(layout)
        network.prepare(layout)
        _control_plane(cluster)
        _node(cluster)
        _additions(cluster)
    except ClusterError:
        _stop_processes(layout, binaries)
        raise
    say(f"ready in {time.monotonic() - began:.1f} s")
    return cluster


def stop(root: Path) -> None:
    """End every process of the cluster of that directory, in order, and take away what it left. No cluster: nothing."""
    layout = Layout.load(root)
    if layout is None:
        return
    say(f"stopping what runs in {root}")
    binaries = build()
    _stop_processes(layout, binaries)
    clear(layout, binaries)
    network.restore(layout)
    shutil.rmtree(root)
    if MARKER.exists() and MARKER.read_text().strip() == str(root):
        MARKER.unlink()


def _demand_alone(root: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        other = Path(MARKER.read_text().strip())
        layout = Layout.load(other) if other != root else None
        if layout is not None and any(process.alive() for process in processes.all_recorded(layout)):
            raise ClusterError(f"another cluster runs in {other}, and a machine holds one; stop it first")


def _stop_processes(layout: Layout, binaries: Binaries) -> None:
    for node in layout.nodes():
        further.stop(node, binaries)
    for name in STOP_ORDER[:2]:
        _stop(layout, name)
    if _alive(layout, "containerd"):
        images.kill_tasks(layout, binaries)
    for name in ("containerd", *STOP_ORDER[2:]):
        _stop(layout, name)


def _alive(layout: Layout, name: str) -> bool:
    process = processes.recorded(layout, name)
    return process is not None and process.alive()


def _stop(layout: Layout, name: str) -> None:
    process = processes.recorded(layout, name)
    if process is not None:
        process.stop()


# starting -------------------------------------------------------------------------------------------------------


def _control_plane(cluster: Cluster) -> None:
    layout, binaries = cluster.layout, cluster.binaries
    etcd = processes.start(layout, "etcd", components.etcd(layout, binaries))
    runtime = processes.start(
        layout,
        "containerd",
        components.containerd(layout, binaries),
        {"PATH": f"{binaries.directory('containerd-shim-runc-v2')}:{machine.search_path()}"},
    )
    processes.wait(layout, etcd, _answers(f"http://127.0.0.1:{layout.ports['etcd']}/health"))
    apiserver = processes.start(layout, "apiserver", components.apiserver(layout, binaries))
    processes.wait(layout, apiserver, _answers(f"{layout.server}/readyz", layout))
    processes.start(layout, "controllers", components.controllers(layout, binaries))
    processes.start(layout, "scheduler", components.scheduler(layout, binaries))
    processes.start(layout, "proxy", components.proxy(layout, binaries))
    processes.wait(layout, runtime, layout.containerd.exists)
    images.load(layout, binaries, images.pause_archive(binaries, components.PAUSE_IMAGE))
    images.load(layout, binaries, images.busybox_archive())


def _node(cluster: Cluster) -> None:
    """The kubelet, told its addresses, until it is Ready."""
    layout = cluster.layout
    kubelet = processes.start(layout, "kubelet", components.kubelet(layout, cluster.binaries))
    processes.wait(layout, kubelet, lambda: cluster.kubectl.succeeds("get", "node", NODE))
    objects.admit_node(cluster.kubectl, NODE)


def _additions(cluster: Cluster) -> None:
    layout = cluster.layout
    for number in range(objects.VOLUMES):
        _empty(layout.root / "volumes" / objects.volume_name(number))
    cluster.kubectl.apply(objects.volumes(layout.root / "volumes"))
    cluster.kubectl.apply(objects.name_service(layout.ports["dns"]))
    dns = processes.start(layout, "dns", components.name_service(layout, cluster.binaries))
    processes.wait(layout, dns, _answers(f"http://127.0.0.1:{layout.ports['dns-ready']}/ready"))
    _wait_for(
        lambda: cluster.kubectl.succeeds("get", "serviceaccount", "default"), "the default service account"
    )


def _empty(directory: Path) -> None:
    """A directory without content, in which any pod's user may write: such volumes know no fsGroup."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    directory.chmod(0o777)


def _wait_for(condition: Callable[[], bool], what: str, patience: float = 60.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what} did not come in {patience:.0f} s")
        time.sleep(0.1)


def _answers(url: str, layout: Layout | None = None) -> Callable[[], bool]:
    """Whether a health URL answers 200; an apiserver's by the cluster's authority."""

    def ask() -> bool:
        context = ssl.create_default_context(cafile=str(layout.pki("ca.crt"))) if layout is not None else None
        try:
            with urllib.request.urlopen(url, timeout=5, context=context) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    return ask
