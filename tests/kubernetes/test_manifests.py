"""The manifests of k8s/: an apiserver takes every overlay, each part is made to be replaced, and no right is too much."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.errors import ClusterError
from tests.cluster.installation import Installation

K8S = Path(__file__).resolve().parents[2] / "k8s"


def rendered(cluster, overlay: str) -> list[dict[str, Any]]:
    """What kustomize makes of an overlay."""
    text = cluster.kubectl("kustomize", str(K8S / "overlays" / overlay))
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize("overlay", ["dev", "production", "production-keda"])
def test_an_apiserver_takes_the_overlay(cluster, installation: Installation, overlay: str) -> None:
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


@pytest.mark.parametrize("part", ["headrace-api", "headrace-worker", "headrace-listener"])
def test_each_part_is_spread_scaled_and_never_all_gone(cluster, part: str) -> None:
    all_of = {
        (each["kind"], each["metadata"]["name"]): each["spec"]
        for each in rendered(cluster, "production")
        if each["kind"] in ("Deployment", "PodDisruptionBudget", "HorizontalPodAutoscaler")
    }
    deployment = all_of["Deployment", part]
    pod = deployment["template"]["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert [each["topologyKey"] for each in pod["topologySpreadConstraints"]] == [
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    ]
    assert all_of["PodDisruptionBudget", part]["maxUnavailable"] == 1
    assert all_of["HorizontalPodAutoscaler", part]["minReplicas"] == 2


@pytest.mark.parametrize("overlay", ["dev", "production", "production-keda"])
def test_the_logs_of_jobs_go_where_workers_write_and_the_api_reads(cluster, overlay: str) -> None:
    found = rendered(cluster, overlay)
    (where,) = (
        each["data"]["HEADRACE_LOG_URI"]
        for each in found
        if each["kind"] == "ConfigMap" and "HEADRACE_LOG_URI" in each["data"]
    )
    for part, read_only in (("worker", False), ("api", True)):
        (pod,) = (
            each["spec"]["template"]["spec"]
            for each in found
            if (each["kind"], each["metadata"]["name"]) == ("Deployment", f"headrace-{part}")
        )
        (mount,) = (each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "logs")
        assert where == f"file:{mount['mountPath']}"
        assert mount.get("readOnly", False) is read_only
        assert {"name": "logs", "persistentVolumeClaim": {"claimName": "headrace-logs"}} in pod["volumes"]


def test_the_cluster_allows_the_images_that_the_api_allows(cluster) -> None:
    dev = {
        (each["kind"], each["metadata"]["name"].rpartition("-")[0]): each for each in rendered(cluster, "dev")
    }
    allowed = dev["ConfigMap", "headrace"]["data"]["HEADRACE_IMAGE_ALLOW"]
    jobs = dev["Namespace", "headrace"]["metadata"]
    assert (jobs["name"], jobs["annotations"]["headrace.dev/images"]) == ("headrace-jobs", allowed)


USED = {
    "jobs.batch": "create get list watch patch delete",
    "pods": "list watch",
    "pods/log": "get",
    "events": "list watch",
    "leases.coordination.k8s.io": "create get update",
}


@pytest.mark.parametrize(("resource", "verbs"), USED.items())
def test_a_worker_may_do_what_it_does_in_the_namespace_of_the_jobs(
    cluster, installation: Installation, resource: str, verbs: str
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
    cluster, installation: Installation, verb: str, resource: str, namespace: str
) -> None:
    assert not may(cluster, verb, resource, namespace)


def may(cluster, verb: str, resource: str, namespace: str) -> bool:
    """Whether the workers' service account may."""
    kind, _, part = resource.partition("/")  # kubectl takes pods/log for a pod of the name log
    asked = [verb, kind, f"--subresource={part}", f"--namespace={namespace}"]
    try:
        who = "--as=system:serviceaccount:headrace:headrace-worker"
        return cluster.kubectl("auth", "can-i", *asked, who).strip() == "yes"
    except ClusterError:
        return False
