"""A real cluster for the session, a namespace for each test.

It is the cluster of HEADRACE_TEST_KUBECONFIG; else the one that `make cluster` left running; else one started here and
stopped at the end. A foreign cluster needs HEADRACE_TEST_HOST, the address of this machine for its pods, and the images
below HEADRACE_TEST_IMAGES (default `localhost`): busybox:1, headrace-base:1 (any with Python), headrace:dev, nodes:dev.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from pydantic import SecretStr

from app.embedded import free_port
from app.settings import Settings
from app.store.store import Store
from tests.cluster.build import build
from tests.cluster.cluster import Cluster, ensure, running, stop
from tests.cluster.headrace_images import archives, base_archive
from tests.cluster.installation import JOBS_NAMESPACE, Installation, install
from tests.cluster.kubectl import Kubectl
from tests.cluster.layout import HOST, KUBECONFIG_VARIABLE, Layout, default_root
from tests.cluster.machine import REPOSITORY

if TYPE_CHECKING:
    from tests.kubernetes.site import Site

STARTING = 40 * 60
"""Seconds that building and starting a cluster may take on a new machine."""
SHARED = ("installation", "machine")
"""Fixtures that cost much and serve many tests."""
SETTING_UP = 5 * 60
"""Seconds that a test may take which may be the first to need them."""


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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The first test waits for the cluster. Tests that share what there can be only one of run in one process."""
    here = Path(__file__).parent
    ours = [item for item in items if here in item.path.parents]
    for item in ours[:1]:
        item.add_marker(pytest.mark.timeout(STARTING))
    for item in ours:
        shared = next((name for name in SHARED if name in getattr(item, "fixturenames", ())), None)
        if shared is not None and item is not ours[0]:
            item.add_marker(pytest.mark.timeout(SETTING_UP))
        if shared is not None and config.pluginmanager.hasplugin("xdist"):
            item.add_marker(pytest.mark.xdist_group(shared))


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
    found = (
        running(root) if named else None
    )  # `tests.cluster run` has made it ready for all processes of the tests
    own, started = (found, False) if found is not None else ensure(root)
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


@pytest.fixture(scope="session")
def python_image(cluster: TestCluster) -> str:
    """An image with Python, in the cluster."""
    if cluster.own is not None:
        cluster.own.load_image(base_archive())
    return cluster.image("headrace-base:1")


@pytest.fixture(scope="session")
def installation(cluster: TestCluster) -> Iterator[Installation]:
    """The dev overlay with this checkout's images, all of it ready; it is gone after the last test."""
    if cluster.own is None:
        pytest.fail("the dev overlay's images are named localhost/...: this test needs a cluster of ours")
    made = install(cluster.own)
    yield made
    made.remove()


@pytest.fixture
async def site(
    cluster: TestCluster, namespace: str, store: Store, settings: Settings, tmp_path: Path
) -> AsyncIterator[Site]:
    """An installation on the cluster, without any worker; its Jobs are in the test's namespace."""
    from tests.kubernetes.site import site_of

    ours = settings.model_copy(
        update={
            "executors": "kubernetes",
            "image_allow": cluster.image("*"),
            "kubeconfig": str(cluster.kubeconfig),
            "kubernetes_namespace": namespace,
            "kubernetes_pod": '{"run_as_user": 65532, "image_pull_policy": "Never"}',
            "lease": 2.0,
            "api_url": f"http://{cluster.host}:{free_port()}",
            "bootstrap_key": SecretStr("hr_root_0123456789abcdef0123"),
            "allowed_hosts": cluster.host,
            "data_uri": f"file:{tmp_path}/data",
        }
    )
    async with site_of(store, ours, cluster, namespace) as made:
        yield made


@pytest.fixture
def namespace(cluster: TestCluster) -> Iterator[str]:
    """A namespace of the test's own, with the labels of the namespace of the Jobs in production."""
    name = f"t-{secrets.token_hex(5)}"
    shipped = yaml.safe_load_all((REPOSITORY / "k8s" / "base" / "namespaces.yaml").read_text("utf-8"))
    labels = next(
        each["metadata"]["labels"] for each in shipped if each["metadata"]["name"] == JOBS_NAMESPACE
    )
    cluster.kubectl.apply(
        [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}]
    )
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=30s")
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
