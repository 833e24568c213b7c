"""The command: `python -m tests.cluster start | stop | status | build | images | demo | nodes | run`."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.cluster import demo
from tests.cluster.build import TOOLS, build
from tests.cluster.cluster import Cluster, ensure, running, stop
from tests.cluster.errors import ClusterError
from tests.cluster.headrace_images import archives, base_archive
from tests.cluster.layout import KUBECONFIG_VARIABLE, ROOT_VARIABLE, default_root


def main() -> int:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return _do(arguments)
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster", description="A real Kubernetes on this machine."
    )
    parser.add_argument(
        "--state", type=Path, default=default_root(), help="state directory (default: %(default)s)"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("start", help="start it, or find it running, and print its KUBECONFIG")
    commands.add_parser("stop", help="end it and remove its state")
    commands.add_parser("status", help="print the KUBECONFIG of the running cluster; exit 1 when none runs")
    commands.add_parser("build", help="build what a cluster and its images are made of, into the cache")
    commands.add_parser("images", help="build Headrace's images and import them into the running cluster")
    commands.add_parser(
        "demo", help="start it, install Headrace from k8s/overlays/dev, and run the demo there"
    )
    nodes = commands.add_parser("nodes", help="add simulated nodes")
    nodes.add_argument("count", type=int)
    run = commands.add_parser(
        "run",
        help="run a command with a cluster that has the images, which is stopped afterwards if it was started for it",
    )
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- command")
    return parser.parse_args()


def _do(arguments: argparse.Namespace) -> int:
    root: Path = arguments.state.resolve()
    match arguments.command:
        case "start":
            print(ensure(root)[0].kubeconfig)
        case "stop":
            stop(root)
        case "build":
            build(TOOLS)
            archives()
            base_archive()
        case "status":
            print(_demand(root).kubeconfig)
        case "images":
            _load_images(_demand(root))
        case "demo":
            demo.show(ensure(root)[0])
        case "nodes":
            _demand(root).simulate_nodes(arguments.count)
        case _:
            return _run(root, [part for part in arguments.argv if part != "--"])
    return 0


def _load_images(cluster: Cluster) -> None:
    for archive in (*archives().values(), base_archive()):
        cluster.load_image(archive)


def _demand(root: Path) -> Cluster:
    found = running(root)
    if found is None:
        raise ClusterError(f"no cluster runs in {root}")
    return found


def _run(root: Path, command: list[str]) -> int:
    """The command's exit code. With HEADRACE_TEST_KUBECONFIG set no cluster of ours is started."""
    if os.environ.get(KUBECONFIG_VARIABLE):
        return subprocess.run(command, check=False).returncode
    cluster, started = ensure(root)
    try:
        _load_images(cluster)
        environment = {**os.environ, KUBECONFIG_VARIABLE: str(cluster.kubeconfig), ROOT_VARIABLE: str(root)}
        return subprocess.run(command, env=environment, check=False).returncode
    finally:
        if started:
            stop(root)


if __name__ == "__main__":
    sys.exit(main())
