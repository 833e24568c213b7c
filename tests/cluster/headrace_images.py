"""Headrace's own images (k8s/images/Containerfile) on a base made of Debian packages: no registry, no daemon."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.cluster import machine
from tests.cluster.build import alone
from tests.cluster.console import say
from tests.cluster.errors import ClusterError
from tests.cluster.layout import cache_root
from tests.cluster.machine import REPOSITORY, program
from tests.cluster.trying import fetch

TARGETS = ("headrace", "nodes", "valkey")
"""Stages of the Containerfile that are images."""
SUITE = "bookworm"
BASE_PACKAGES = ("python3-minimal", "libpython3-stdlib", "python3-venv", "ca-certificates")
SOURCES = ("app", "workers", "sdk", "nodes", "k8s/images", "pyproject.toml", "README.md", ".dockerignore")
"""What decides an image's content."""
SHARED_WITH_BUILD = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")
"""The machine's certificates and package index, where it has its own."""
BASE_TAG = "localhost/headrace-base:1"


def tag(target: str) -> str:
    """The name under which pods ask for an image."""
    return f"localhost/{target}:dev"


def archives() -> dict[str, Path]:
    """A docker archive of each target, of the checkout as it is; built when its content has changed."""
    digest = _digest(_files())
    paths = {target: cache_root() / "images" / f"{target}-{digest}.tar" for target in TARGETS}
    with alone():
        lacking = [target for target, path in paths.items() if not path.exists()]
        if lacking:
            machine.demand_root()
            machine.demand(machine.IMAGE_PACKAGES)
            _base()
            for target in lacking:
                _build(target, paths[target])
            _forget_older(paths)
    return paths


def base_archive() -> Path:
    """A docker archive of the base image: Python on Debian, for tests that need no more. Built once per list of packages."""
    with alone():
        machine.demand_root()
        machine.demand(machine.IMAGE_PACKAGES)
        _base()
        path = cache_root() / "images" / f"{_base_stamp()}.base"
        if not path.exists():
            unfinished = path.with_suffix(".unfinished")
            unfinished.unlink(missing_ok=True)
            _run([*_buildah(), "push", BASE_TAG, f"docker-archive:{unfinished}:{BASE_TAG}"])
            unfinished.replace(path)
    return path


def _base_stamp() -> str:
    return hashlib.sha256(" ".join((SUITE, *BASE_PACKAGES)).encode()).hexdigest()[:16]


def _digest(paths: Iterator[Path]) -> str:
    digest = hashlib.sha256(" ".join((SUITE, *BASE_PACKAGES)).encode())
    for path in paths:
        digest.update(path.relative_to(REPOSITORY).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _files() -> Iterator[Path]:
    for source in SOURCES:
        path = REPOSITORY / source
        below = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (each for each in below if each.is_file() and "__pycache__" not in each.parts)


def _forget_older(paths: dict[str, Path]) -> None:
    for path in (cache_root() / "images").glob("*.tar"):
        if path not in paths.values():
            path.unlink()


def _base() -> None:
    """The base image, once per list of packages."""
    marker = cache_root() / "images" / f"base-{_base_stamp()}"
    if marker.exists():
        return
    say(f"making a base image of {', '.join(BASE_PACKAGES)}")
    marker.parent.mkdir(parents=True, exist_ok=True)
    rootfs = marker.with_suffix(".rootfs")
    packages = "--include=" + ",".join(BASE_PACKAGES)
    fetch(
        [
            program("mmdebstrap"),
            "--mode=root",
            "--variant=minbase",
            "--format=tar",
            packages,
            SUITE,
            str(rootfs),
        ],
        "making the base image",
        environment=_environment(),
    )
    with (marker.parent / "Containerfile").open("w") as file:
        file.write(f"FROM scratch\nADD {rootfs.name} /\n")
    _run([*_buildah(), "bud", "--isolation=chroot", "-f", file.name, "-t", BASE_TAG, str(marker.parent)])
    rootfs.unlink()
    marker.touch()


def _build(target: str, archive: Path) -> None:
    say(f"building the image {tag(target)}")
    began = time.monotonic()
    shared = [f"--volume={path}:{path}:ro" for path in SHARED_WITH_BUILD if Path(path).exists()]
    index = [
        f"--build-arg={name}={os.environ[name]}"
        for name in ("PIP_INDEX_URL", "PIP_CERT")
        if name in os.environ
    ]
    containerfile = REPOSITORY / "k8s" / "images" / "Containerfile"
    fetch(
        [
            *(*_buildah(), "bud", "--isolation=chroot", "--layers", "--pull-never"),
            *(*shared, *index, f"--build-arg=BASE={BASE_TAG}", f"--target={target}"),
            *("-f", str(containerfile), "-t", tag(target), str(REPOSITORY)),
        ],
        f"building the image {tag(target)}",
        environment=_environment(),
    )
    unfinished = archive.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    _run([*_buildah(), "push", tag(target), f"docker-archive:{unfinished}:{tag(target)}"])
    unfinished.replace(archive)
    say(f"built {tag(target)} in {time.monotonic() - began:.0f} s")


def _buildah() -> list[str]:
    storage = cache_root() / "buildah"
    return [program("buildah"), f"--root={storage}", f"--runroot={storage}-run", "--storage-driver=overlay"]


def _environment() -> dict[str, str]:
    return {"PATH": machine.search_path()}


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(
        command, env={**os.environ, **_environment()}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ClusterError(f"{' '.join(command[:6])} ... failed:\n{(done.stdout + done.stderr)[-4000:]}")
