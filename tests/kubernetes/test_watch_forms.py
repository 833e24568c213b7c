"""A watch in Kubernetes' binary form says the same as in JSON, of all that is read of it (DESIGN 8)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from workers.executors.kubernetes.client import EVENTS, JOBS, JSON, PODS, Cluster
from workers.executors.kubernetes.protobuf import MEDIA_TYPE
from workers.executors.kubernetes.watch import events

READ = {
    "metadata": ("name", "uid", "resourceVersion", "annotations", "creationTimestamp", "deletionTimestamp"),
    "spec": ("ttlSecondsAfterFinished", "nodeName"),
    "status": ("phase", "reason", "message", "completionTime"),
    "involvedObject": ("kind", "name", "uid"),
}
CONDITION = ("type", "status", "reason", "message", "lastTransitionTime")
STATE = {
    "waiting": ("reason", "message"),
    "running": ("startedAt",),
    "terminated": ("exitCode", "reason", "message", "finishedAt"),
}


def picked(thing: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """What is there and says something: both forms may leave out what is empty."""
    return {name: thing[name] for name in names if thing.get(name) not in (None, "")}


def read_of(thing: dict[str, Any]) -> dict[str, Any]:
    """What a worker reads of an object."""
    found: dict[str, Any] = {part: picked(thing.get(part) or {}, names) for part, names in READ.items()}
    owners = thing["metadata"].get("ownerReferences") or []
    status = thing.get("status") or {}
    found["owners"] = [picked(each, ("kind", "name", "uid")) for each in owners]
    found["conditions"] = [picked(each, CONDITION) for each in status.get("conditions") or []]
    found["containers"] = [
        (each["name"], {kind: picked(told, STATE[kind]) for kind, told in (each.get("state") or {}).items()})
        for each in status.get("containerStatuses") or []
    ]
    found["message"] = thing.get("message") or ""
    return found


async def seen(cluster: Cluster, group: str, kind: str, accept: str, count: int) -> dict[str, Any]:
    """What a watch from the beginning says of the first objects, by their names, and in which form."""
    params = {"watch": "1", "resourceVersion": "0", "timeoutSeconds": "20"}
    found: dict[str, Any] = {}
    async with (
        asyncio.timeout(20),
        cluster.stream(cluster.url(group, kind), params, silence=20, accept=accept) as answer,
    ):
        assert answer.content_type == accept
        async for change, thing in events(answer):
            assert change == "ADDED"
            found[thing["metadata"]["uid"]] = read_of(thing)
            if len(found) == count:
                return found
    raise AssertionError("too few")


def job(name: str, image: str, script: str) -> dict[str, Any]:
    restricted = {
        "runAsUser": 65532, "runAsNonRoot": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    container = {
        "name": "node",
        "image": image,
        "command": ["/bin/sh", "-c", script],
        "securityContext": restricted,
    }
    template = {
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container]}
    }
    metadata = {"name": name, "annotations": {"headrace.dev/task": f"r1|{name}|1|0"}}
    spec = {"backoffLimit": 0, "ttlSecondsAfterFinished": 3600, "template": template}
    return {"apiVersion": JOBS, "kind": "Job", "metadata": metadata, "spec": spec}


async def test_jobs_pods_and_events_read_the_same_in_both_forms(site):
    busybox = site.cluster.image("busybox:1")
    jobs = [
        job("good", busybox, "printf '{\"n\": 1}' > /dev/termination-log"),
        job("bad", busybox, "printf 'a\\377\\376b' > /dev/termination-log; exit 3"),
        job("long", busybox, "sleep 1000"),
        job("nowhere", "localhost:1/none:1", "true"),
    ]
    await site.kubectl(
        "apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": jobs})
    )

    async def items(kind: str) -> list[dict[str, Any]]:
        return json.loads(await site.kubectl("get", kind, "-o", "json"))["items"]

    async def settled() -> bool:
        pods = [(each.get("status") or {}).get("containerStatuses") or [] for each in await items("pods")]
        states = sorted(next(iter(each["state"])) for pod in pods for each in pod)
        over = [each for each in await items("jobs") if (each.get("status") or {}).get("conditions")]
        return states == ["running", "terminated", "terminated", "waiting"] and len(over) == 2

    await site.until(settled, "every program is where it goes")
    cluster = await Cluster.open(site.settings)
    try:
        for group, kind in ((JOBS, "jobs"), (PODS, "pods"), (EVENTS, "events")):

            async def compared(group: str = group, kind: str = kind) -> int:
                count = len(await items(kind))
                binary, plain = [await seen(cluster, group, kind, form, count) for form in (MEDIA_TYPE, JSON)]
                same = [uid for uid in plain if version(plain, uid) == version(binary, uid)]
                assert {uid: binary[uid] for uid in same} == {uid: plain[uid] for uid in same}
                return len(same) >= len(
                    jobs
                )  # an image that is asked for again makes a new version in between

            await site.until(compared, f"both forms tell of the same {kind}")
    finally:
        await cluster.close()


def version(found: dict[str, Any], uid: str) -> str | None:
    return found.get(uid, {"metadata": {}})["metadata"].get("resourceVersion")
