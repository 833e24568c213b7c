"""Images without a registry or a daemon: archives as `docker save` writes them, imported into containerd."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from tests.cluster.build import Binaries
from tests.cluster.errors import ClusterError
from tests.cluster.layout import Layout
from tests.cluster.machine import program

BUSYBOX_IMAGE = "localhost/busybox:1"
"""A shell and the usual tools: the image of tests that need any container at all."""
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class RootFilesystem:
    """A layer in the making."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._buffer, mode="w")

    def file(self, path: str, content: bytes, mode: int = 0o755) -> None:
        info = tarfile.TarInfo(path)
        info.size, info.mode = len(content), mode
        self._tar.addfile(info, io.BytesIO(content))

    def link(self, path: str, target: str) -> None:
        info = tarfile.TarInfo(path)
        info.type, info.linkname = tarfile.SYMTYPE, target
        self._tar.addfile(info)

    def directory(self, path: str, mode: int = 0o755) -> None:
        info = tarfile.TarInfo(path)
        info.type, info.mode = tarfile.DIRTYPE, mode
        self._tar.addfile(info)

    def layer(self) -> bytes:
        """The finished tar."""
        self._tar.close()
        return self._buffer.getvalue()


def archive(tag: str, layer: bytes, config: dict[str, Any]) -> bytes:
    """One image of one layer as a docker archive."""
    machine = platform.machine()
    image = json.dumps(
        {
            "architecture": ARCHITECTURES.get(machine, machine),
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    name = f"{hashlib.sha256(image).hexdigest()}.json"
    whole = RootFilesystem()
    whole.file(name, image, 0o644)
    whole.file("layer.tar", layer, 0o644)
    manifest = [{"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]}]
    whole.file("manifest.json", json.dumps(manifest).encode(), 0o644)
    return whole.layer()


def pause_archive(binaries: Binaries, tag: str) -> bytes:
    """The sandbox's image: one static program."""
    root = RootFilesystem()
    root.file("pause", Path(binaries["pause"]).read_bytes())
    return archive(tag, root.layer(), {"Entrypoint": ["/pause"], "User": "65535:65535"})


def busybox_archive(tag: str = BUSYBOX_IMAGE) -> bytes:
    """Debian's static busybox with a link for each of its tools."""
    busybox = program("busybox")
    root = RootFilesystem()
    for directory in ("bin", "etc", "root", "proc", "sys", "dev"):
        root.directory(directory)
    root.directory("tmp", 0o1777)
    root.file("bin/busybox", Path(busybox).read_bytes())
    tools = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for tool in tools:
        if tool != "busybox":
            root.link(f"bin/{tool}", "/bin/busybox")
    root.file("etc/passwd", b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n", 0o644)
    return archive(tag, root.layer(), {"Cmd": ["sh"], "Env": ["PATH=/bin"]})


def load(layout: Layout, binaries: Binaries, data: bytes) -> None:
    """Import an archive into the cluster's container runtime."""
    _import(layout, binaries, "-", data)


def load_file(layout: Layout, binaries: Binaries, path: Path) -> None:
    """Import an archive that lies on disk."""
    _import(layout, binaries, str(path), None)


def _import(layout: Layout, binaries: Binaries, source: str, data: bytes | None) -> None:
    command = [
        binaries["ctr"],
        "--address",
        str(layout.containerd),
        "-n",
        "k8s.io",
        "images",
        "import",
        "--local",
    ]
    done = subprocess.run([*command, source], input=data, capture_output=True, check=False)
    if done.returncode:
        raise ClusterError(f"an image could not be imported: {done.stderr.decode(errors='replace').strip()}")


def kill_tasks(layout: Layout, binaries: Binaries) -> None:
    """End every container, so that nothing of a pod outlives the runtime."""
    command = [binaries["ctr"], "--address", str(layout.containerd), "-n", "k8s.io"]
    listed = subprocess.run([*command, "tasks", "list", "-q"], capture_output=True, text=True, check=False)
    for task in listed.stdout.split():
        subprocess.run([*command, "tasks", "kill", "-s", "SIGKILL", task], capture_output=True, check=False)
    for task in listed.stdout.split():
        subprocess.run([*command, "tasks", "delete", "-f", task], capture_output=True, check=False)
