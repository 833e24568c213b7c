"""What the quotas of the Jobs' namespace leave room for: we admit fewer ourselves (rule 16).

What is over waits in our own queue, which knows priorities and shares, and holds nothing there; a Job that waits for a quota
holds the slots of its pools.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from app.core.podspec import quantity
from workers.executors.kubernetes.client import Cluster

COUNTED = ("pods", "count/pods", "count/jobs.batch")
"""Of what a quota counts: that of which each node run has one."""


class Limit(NamedTuple):
    """What one quota says of one thing."""

    quota: str
    resource: str
    most: int


def limits(quotas: Iterable[Mapping[str, Any]]) -> list[Limit]:
    """Of ResourceQuotas as the API server gives them; those that hold for some pods only are left out."""
    found: list[Limit] = []
    for each in quotas:
        spec = each.get("spec") or {}
        if spec.get("scopes") or spec.get("scopeSelector"):
            continue
        hard: Mapping[str, Any] = spec.get("hard") or {}
        name = str(each["metadata"]["name"])
        found += [Limit(name, kind, int(quantity(str(hard[kind])))) for kind in COUNTED if kind in hard]
    return found


async def limits_of(cluster: Cluster) -> list[Limit]:
    """Those of our namespace. Raises ClusterError."""
    return limits((await cluster.call("GET", cluster.url("v1", "resourcequotas"))).get("items") or [])
