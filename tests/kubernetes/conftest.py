"""A real cluster for the session, a namespace for each test.

It is the cluster of HEADRACE_TEST_KUBECONFIG; else the one that `make cluster` left running; else one started here and
stopped at the end. A foreign cluster needs HEADRACE_TEST_HOST, the address of this machine for its pods, and the images
below HEADRACE_TEST_IMAGES (default `localhost`): busybox:1, headrace:dev, nodes:dev.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.build import build
from tests.cluster.cluster import Cluster, ensure, stop
from tests.cluster.headrace_images import archives
from tests.cluster.kubectl import Kubectl
from tests.cluster.layout import HOST, KUBECONFIG_VARIABLE, Layout, default_root

STARTING = 40 * 60
"""Seconds that building and starting a cluster may take on a new machine."""


@dataclass(frozen=True)
class TestCluster:
    """What a test needs to know of the cluster."""

    __test__ = False

    kubeconfig: Path
    kubectl: Kubectl
    host: str
    """This machine's address for its pods; servers that pods call listen there (or on 0.0.0.0)."""
    images: str
    """What the names of images begin with."""
    own: Cluster | None
    """The cluster as this program runs it, whose parts can be stopped and started; None for a foreign one."""

    def image(self, name: str) -> str:
        """busybox:1, headrace:dev or nodes:dev, as pods name it."""
        return f"{self.images}/{name}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test waits for the cluster."""
    here = Path(__file__).parent
    first = next((item for item in items if here in item.path.parents), None)
    if first is not None:
        first.add_marker(pytest.mark.timeout(STARTING))


@pytest.fixture(scope="session")
def cluster() -> Iterator[TestCluster]:
    named = os.environ.get(KUBECONFIG_VARIABLE, "")
    root = default_root()
    layout = Layout.load(root)
    if named and (layout is None or layout.kubeconfig != Path(named)):
        binary = shutil.which("kubectl") or build()["kubectl"]
        host = os.environ.get("HEADRACE_TEST_HOST", HOST)
        images = os.environ.get("HEADRACE_TEST_IMAGES", "localhost")
        yield TestCluster(Path(named), Kubectl(binary, Path(named)), host, images, None)
        return
    own, started = ensure(root)
    yield TestCluster(own.kubeconfig, own.kubectl, HOST, "localhost", own)
    if started:
        stop(root)


@pytest.fixture(scope="session")
def images(cluster: TestCluster) -> Callable[[str], str]:
    """Headrace's images of this checkout, in the cluster; called with headrace:dev or nodes:dev it gives the name."""
    if cluster.own is not None:
        for path in archives().values():
            cluster.own.load_image(path)
    return cluster.image


@pytest.fixture
def namespace(cluster: TestCluster) -> Iterator[str]:
    """A namespace of the test's own, where pods must be as restricted as in production."""
    name = f"t-{secrets.token_hex(5)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.kubectl.apply(
        [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}]
    )
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=30s")
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
