"""Headrace installed in a cluster of ours from k8s/overlays/dev, with the images of this checkout."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager

from tests.cluster.cluster import Cluster
from tests.cluster.headrace_images import archives
from tests.cluster.kubectl import Kubectl
from tests.cluster.machine import REPOSITORY

DEV = REPOSITORY / "k8s" / "overlays" / "dev"
NAMESPACE, JOBS_NAMESPACE = "headrace", "headrace-jobs"
KEY = "hr_dev00000_only-for-development-0000000000"
"""The admin key of the dev overlay."""
PORT = 8765
REDIS = "statefulset/headrace-redis"
DEPLOYMENTS = ("deployment/headrace-api", "deployment/headrace-worker", "deployment/headrace-listener")
CATALOG = "job/demo-catalog"
PATIENCE = "--timeout=150s"


class Installation:
    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def ready(self) -> None:
        """Wait until every part is what its manifest says. Raises ClusterError."""
        for part in (REDIS, *DEPLOYMENTS):
            self._kubectl("rollout", "status", f"--namespace={NAMESPACE}", part, PATIENCE)

    def roll_out(self, version: str, *parts: str) -> None:
        """Have pods of another version take the place of those that run, if these are not of it."""
        mark = {"spec": {"template": {"metadata": {"annotations": {"headrace.dev/version": version}}}}}
        for part in parts:
            self._kubectl("patch", f"--namespace={NAMESPACE}", part, "--type=merge", "-p", json.dumps(mark))

    def address(self) -> str:
        """host:port of the API's service, for this machine, which reaches the services of a cluster of ours."""
        service = self._kubectl.get("service", "headrace-api", f"--namespace={NAMESPACE}")
        return f"{service['spec']['clusterIP']}:{PORT}"

    @contextmanager
    def forwarded(self) -> Generator[str]:
        """The URL of the API on this machine's loopback interface."""
        with self._kubectl.forwarded(NAMESPACE, "service/headrace-api", PORT) as address:
            yield f"http://{address}"

    def remove(self) -> None:
        self._kubectl("delete", "namespace", NAMESPACE, JOBS_NAMESPACE, "--ignore-not-found", PATIENCE)
        whole = ("validatingadmissionpolicybindings", "validatingadmissionpolicies")
        self._kubectl("delete", ",".join(whole), "-l", "app.kubernetes.io/part-of=headrace")


def install(cluster: Cluster) -> Installation:
    """Make it, or bring it up to this checkout; returns when all of it is ready. Raises ClusterError."""
    images = archives()
    for path in images.values():
        cluster.load_image(path)
    made = Installation(cluster.kubectl)
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(DEV))
    made.roll_out(images["headrace"].stem, *DEPLOYMENTS)
    made.ready()
    cluster.kubectl("wait", f"--namespace={JOBS_NAMESPACE}", CATALOG, "--for=condition=Complete", PATIENCE)
    return made
