"""The cluster that the other tests stand on is a real one: it runs containers, kills them, and names services."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.errors import ClusterError
from tests.cluster.kubectl import Kubectl

SAFE: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
USER = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}


class Jobs:
    """Jobs of one namespace, admitted by Pod Security `restricted`."""

    def __init__(self, kubectl: Kubectl, namespace: str) -> None:
        self._kubectl = kubectl
        self._in = f"--namespace={namespace}"

    def run(self, image: str, *command: str, end: str = "Complete", **container: Any) -> str:
        """Run one to that end; its log."""
        whole = {
            "name": "main",
            "image": image,
            "imagePullPolicy": "Never",
            "securityContext": SAFE,
            **container,
        }
        pod = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": USER,
            "containers": [{**whole, "command": list(command)}],
        }
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "work"},
            "spec": {"backoffLimit": 0, "template": {"spec": pod}},
        }
        self._kubectl("create", self._in, "-f", "-", given=json.dumps(job))
        self._kubectl("wait", self._in, "job/work", f"--for=condition={end}", "--timeout=60s")
        return self._kubectl("logs", self._in, "job/work")

    def terminated(self) -> dict[str, Any]:
        """How the container of the pod ended: exit code and reason."""
        pod = self._kubectl.get("pods", self._in, "-l", "job-name=work")["items"][0]
        return pod["status"]["containerStatuses"][0]["state"]["terminated"]


@pytest.fixture
def jobs(cluster, namespace: str) -> Jobs:
    return Jobs(cluster.kubectl, namespace)


def test_a_job_runs_a_real_container_to_its_end(cluster, jobs: Jobs) -> None:
    assert jobs.run(cluster.image("busybox:1"), "sh", "-c", "id -u") == "65532\n"


def test_services_are_found_by_name(cluster, jobs: Jobs) -> None:
    told = jobs.run(cluster.image("busybox:1"), "nslookup", "kubernetes.default.svc.cluster.local")
    assert "Address: 10." in told


def test_a_container_past_its_memory_is_killed_by_the_kernel(cluster, jobs: Jobs) -> None:
    limit = {"limits": {"memory": "32Mi"}}
    jobs.run(cluster.image("busybox:1"), "tail", "/dev/zero", end="Failed", resources=limit)
    assert (jobs.terminated()["exitCode"], jobs.terminated()["reason"]) == (137, "OOMKilled")


def test_a_privileged_container_is_refused_at_admission(cluster, namespace: str) -> None:
    container = {"name": "main", "image": cluster.image("busybox:1"), "securityContext": {"privileged": True}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "privileged"},
        "spec": {"containers": [container]},
    }
    with pytest.raises(ClusterError, match="violates PodSecurity"):
        cluster.kubectl("create", f"--namespace={namespace}", "-f", "-", given=json.dumps(pod))


def test_the_stock_nodes_run_in_their_image(images: Callable[[str], str], jobs: Jobs) -> None:
    listed = jobs.run(images("nodes:dev"), "python", "-c", "import headrace_nodes, headrace; print('here')")
    assert listed == "here\n"


def test_the_engine_runs_in_its_image(images: Callable[[str], str], jobs: Jobs) -> None:
    assert "0." in jobs.run(images("headrace:dev"), "headrace", "version")
