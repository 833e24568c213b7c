"""What the workers do in the Jobs' namespace, verb by verb: k8s/base/access.yaml grants exactly this; doctor asks for it."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from workers.executors.kubernetes.client import Cluster

REVIEW = "authorization.k8s.io/v1"


class Right(NamedTuple):
    group: str
    """Empty for the core group."""
    resource: str
    """With its subresource: pods/log."""
    verb: str
    missing: str
    """What does not work without it."""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{'.' + self.group if self.group else ''}"


RIGHTS = (
    Right("batch", "jobs", "create", "no node can be started"),
    Right("batch", "jobs", "get", "a Job that is there already cannot be adopted"),
    Right("batch", "jobs", "list", "nothing is heard of Jobs that end or vanish"),
    Right("batch", "jobs", "watch", "nothing is heard of Jobs that end or vanish"),
    Right("batch", "jobs", "patch", "finished Jobs never go: their TTL cannot be set"),
    Right("batch", "jobs", "delete", "a cancelled or timed out node goes on"),
    Right("batch", "cronjobs", "list", "schedules do not follow their workflows"),
    Right("batch", "cronjobs", "create", "schedules do not follow their workflows"),
    Right("batch", "cronjobs", "patch", "schedules do not follow their workflows"),
    Right("batch", "cronjobs", "delete", "schedules that are gone still fire"),
    Right("", "pods", "list", "exit codes, and why a pod does not run, are not known"),
    Right("", "pods", "watch", "exit codes, and why a pod does not run, are not known"),
    Right("", "pods/log", "get", "logs cannot be archived, so finished Jobs stay"),
    Right("", "events", "list", "a full quota is not told as the reason"),
    Right("", "events", "watch", "a full quota is not told as the reason"),
    Right(
        "",
        "resourcequotas",
        "list",
        "doctor cannot tell whether more is admitted than the namespace has room for",
    ),
    Right("coordination.k8s.io", "leases", "create", "no worker can watch the cluster"),
    Right("coordination.k8s.io", "leases", "get", "no worker can watch the cluster"),
    Right("coordination.k8s.io", "leases", "update", "no worker can watch the cluster"),
)


async def denied(cluster: Cluster) -> list[Right]:
    """The rights that we do not have, as the API server says. Raises ClusterError."""
    allowed = await asyncio.gather(*(_may(cluster, right) for right in RIGHTS))
    return [right for right, may in zip(RIGHTS, allowed, strict=True) if not may]


async def _may(cluster: Cluster, right: Right) -> bool:
    resource, _, sub = right.resource.partition("/")
    attributes = {"namespace": cluster.namespace, "verb": right.verb, "group": right.group, "resource": resource,
                  "subresource": sub}  # fmt: skip
    body = {
        "apiVersion": REVIEW,
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await cluster.call("POST", cluster.global_url(REVIEW, "selfsubjectaccessreviews"), body)
    return bool((answer.get("status") or {}).get("allowed"))
