"""The manifests of k8s/: an apiserver takes every overlay, and the dev overlay is an installation that works."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.cluster.errors import ClusterError

K8S = Path(__file__).resolve().parents[2] / "k8s"
NAMESPACES = ("headrace", "headrace-jobs")
KEY = "hr_dev00000_only-for-development-0000000000"
DOCUMENT = {
    "name": "fired",
    "params": {"type": "object", "properties": {"from": {"type": "string"}}},
    "nodes": {"pause": {"wait": {"duration": "1s"}}},
    "output": {"from": "${{ params.from }}"},
    "triggers": [
        {"webhook": {"name": "arrived", "signature": "none", "params": {"from": "${{ event.body.from }}"}}}
    ],
}


@pytest.fixture(scope="module")
def installed(cluster, images: Callable[[str], str]) -> Iterator[None]:
    """The dev overlay, all of it ready."""
    if cluster.own is None:
        pytest.fail("the dev overlay's images are named localhost/...: this test needs a cluster of ours")
    images("headrace:dev")
    cluster.kubectl("apply", "--server-side", "-k", str(K8S / "overlays" / "dev"))
    for what in (
        "statefulset/headrace-redis",
        "deployment/headrace-api",
        "deployment/headrace-worker",
        "deployment/headrace-listener",
    ):
        cluster.kubectl("rollout", "status", "--namespace=headrace", what, "--timeout=100s")
    yield
    cluster.kubectl("delete", "namespace", *NAMESPACES, "--timeout=60s")


@pytest.fixture
def server(cluster, installed: None) -> Iterator[httpx.Client]:
    """A client of the installed API with the bootstrap key."""
    with (
        cluster.kubectl.forwarded("headrace", "service/headrace-api", 8765) as address,
        httpx.Client(base_url=f"http://{address}", headers={"Authorization": f"Bearer {KEY}"}) as client,
    ):
        yield client


def rendered(cluster, overlay: str) -> list[dict[str, Any]]:
    """What kustomize makes of an overlay."""
    text = cluster.kubectl("kustomize", str(K8S / "overlays" / overlay))
    return list(yaml.safe_load_all(text))


def ended(client: httpx.Client, run: str, patience: float = 30.0) -> dict[str, Any]:
    """The run, once it has ended."""
    deadline = time.monotonic() + patience
    while True:
        found = client.get(f"/api/v1/runs/{run}").json()
        if found.get("status") in ("succeeded", "failed", "cancelled") or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


@pytest.mark.parametrize("overlay", ["dev", "production", "production-keda"])
def test_an_apiserver_takes_the_overlay(cluster, installed: None, overlay: str) -> None:
    ours = [each for each in rendered(cluster, overlay) if each["apiVersion"] != "keda.sh/v1alpha1"]
    for each in ours:
        if each["kind"] == "StatefulSet":
            continue  # parts of one that exists cannot change; the dev overlay's was created for real
        given = json.dumps(each)
        cluster.kubectl(
            "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", given=given
        )


def test_keda_takes_the_place_of_the_workers_autoscaler(cluster) -> None:
    plain, keda = (
        {(each["kind"], each["metadata"]["name"]) for each in rendered(cluster, name)}
        for name in ("production", "production-keda")
    )
    assert plain - keda == {("HorizontalPodAutoscaler", "headrace-worker")}
    assert keda - plain == {("ScaledObject", "headrace-worker")}


def test_a_webhook_fired_at_the_installation_becomes_a_run_that_ends(server: httpx.Client) -> None:
    published = server.put("/api/v1/workflows/fired", json=DOCUMENT)
    assert published.status_code in (200, 201), published.text
    hook = published.json()["hooks"][0]["url"]
    fired = server.post(httpx.URL(hook).path, json={"from": "a pod"})
    assert fired.status_code == 202, fired.text
    run = ended(server, fired.json()["receipts"][0]["run"])
    assert (run["status"], run["output"]) == ("succeeded", {"from": "a pod"})


@pytest.mark.parametrize("part", ["headrace-redis", "headrace-api", "headrace-worker", "headrace-listener"])
def test_what_was_accepted_outlives_the_death_of_a_part(cluster, server: httpx.Client, part: str) -> None:
    server.put("/api/v1/workflows/fired", json=DOCUMENT)
    accepted = [
        server.post("/api/v1/workflows/fired/runs", json={"params": {"from": str(number)}}).json()["run"]
        for number in range(20)
    ]
    cluster.kubectl(
        "delete",
        "pod",
        "--namespace=headrace",
        "-l",
        f"app.kubernetes.io/name={part}",
        "--force",
        "--grace-period=0",
    )
    kind = "statefulset" if part == "headrace-redis" else "deployment"
    cluster.kubectl("rollout", "status", "--namespace=headrace", f"{kind}/{part}", "--timeout=60s")
    cluster.kubectl("rollout", "status", "--namespace=headrace", "deployment/headrace-api", "--timeout=60s")
    with (
        cluster.kubectl.forwarded("headrace", "service/headrace-api", 8765) as address,
        httpx.Client(base_url=f"http://{address}", headers={"Authorization": f"Bearer {KEY}"}) as client,
    ):
        assert {ended(client, run)["status"] for run in accepted} == {"succeeded"}


USED = {
    "jobs.batch": "create get list watch patch delete",
    "pods": "list watch",
    "pods/log": "get",
    "events": "list watch",
    "leases.coordination.k8s.io": "create get update",
}


@pytest.mark.parametrize(("resource", "verbs"), USED.items())
def test_a_worker_may_do_what_it_does_in_the_namespace_of_the_jobs(
    cluster, installed: None, resource: str, verbs: str
) -> None:
    assert all(may(cluster, verb, resource, "headrace-jobs") for verb in verbs.split())


@pytest.mark.parametrize(
    ("verb", "resource", "namespace"),
    [
        ("get", "secrets", "headrace-jobs"),
        ("create", "pods", "headrace-jobs"),
        ("delete", "pods", "headrace-jobs"),
        ("create", "pods/exec", "headrace-jobs"),
        ("get", "secrets", "headrace"),
        ("create", "jobs.batch", "headrace"),
        ("list", "jobs.batch", "default"),
        ("list", "nodes", "default"),
    ],
)
def test_a_worker_may_do_nothing_else(
    cluster, installed: None, verb: str, resource: str, namespace: str
) -> None:
    assert not may(cluster, verb, resource, namespace)


def may(cluster, verb: str, resource: str, namespace: str) -> bool:
    """Whether the workers' service account may."""
    who = "--as=system:serviceaccount:headrace:headrace-worker"
    try:
        return (
            cluster.kubectl("auth", "can-i", verb, resource, who, f"--namespace={namespace}").strip() == "yes"
        )
    except ClusterError:
        return False
