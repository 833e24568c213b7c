"""One suite for all executors. HEADRACE_CONFORMANCE lists those that it runs for, comma separated; `process` needs nothing.

make test runs it for process, make test-containers for container, make test-cluster for kubernetes.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.embedded import EmbeddedValkey
from tests.conformance.desk import Desk
from tests.conformance.installation import Installation, Site
from tests.conformance.places import Containers, Jobs, Place, Processes
from tests.kubernetes.conftest import STARTING, cluster, python_image

__all__ = ["cluster", "python_image"]

VARIABLE = "HEADRACE_CONFORMANCE"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "place" in metafunc.fixturenames:
        names = [name.strip() for name in os.environ.get(VARIABLE, "process").split(",")]
        metafunc.parametrize("place", names, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The first test waits for a cluster or an engine. Where they are spread over processes, one has all of a place."""
    here = Path(__file__).parent
    ours = [item for item in items if here in item.path.parents]
    if ours and os.environ.get(VARIABLE):
        ours[0].add_marker(pytest.mark.timeout(STARTING))
    for item in ours if config.pluginmanager.hasplugin("xdist") else ():
        item.add_marker(pytest.mark.xdist_group("conformance"))


@pytest.fixture(scope="session")
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """The executor that the suite runs for."""
    if request.param == "container":
        yield Containers(request.getfixturevalue("container_engine"))
    elif request.param == "kubernetes":
        found, namespace = request.getfixturevalue("cluster"), f"t-{secrets.token_hex(5)}"
        request.getfixturevalue("python_image")
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        found.kubectl.apply(
            [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}]
        )
        found.kubectl("wait", "--for=create", "serviceaccount/default", "-n", namespace, "--timeout=30s")
        yield Jobs(found, namespace)
        found.kubectl("delete", "namespace", namespace, "--wait=false")
    else:
        yield Processes()


@pytest.fixture(scope="session")
def desk() -> Iterator[Desk]:
    with Desk().open() as opened:
        yield opened


@pytest.fixture(scope="session")
def installation(
    place: Place, desk: Desk, valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """An API and the suite's node types on one executor, shared by its tests."""
    made = Installation(place, desk, valkey, tmp_path_factory.mktemp("conformance"))
    made.wait_for_api()
    yield made
    made.close()
    asyncio.run(place.clear(made.settings))


@pytest.fixture
async def site(installation: Installation) -> AsyncIterator[Site]:
    """An installation without any worker; those that a test starts are gone afterwards, and what they left running."""
    async with Site(installation) as made:
        yield made
