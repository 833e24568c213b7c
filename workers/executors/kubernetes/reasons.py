"""What a Job and its pods say of a launch: it runs, it waits and why, or it ended. Pure; JSON as the API server gives it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from app.core.signals import MACHINE_LOST, Signal, exit_of
from app.core.tasks import Task
from workers.executors.kubernetes.manifest import CONTAINER, OUTPUT_LIMIT

Object = Mapping[str, Any]

UNKNOWN_ENDS = frozenset({(255, "Unknown"), (137, "ContainerStatusUnknown")})
"""What a machine says of a container that it found no more, as after it was started anew: no exit code of the program's own."""

UNREACHABLE = "MachineUnreachable"
"""The cluster hears nothing of the machine of a pod that runs."""
OVERDUE = "MachineLost"
"""A pod that should be gone is not confirmed to be, as its machine says nothing."""
MACHINE = frozenset({UNREACHABLE, OVERDUE})
"""What is said of a launch whose machine is silent."""
OVERDUE_MS = 10_000
"""How long after its grace a pod may take to go: a machine that has much to do is not lost."""


@dataclass(slots=True, frozen=True)
class Waiting:
    """Why a launch does not run yet: ImagePullBackOff, Unschedulable, ... and the cluster's own words."""

    reason: str
    message: str = ""


def _conditions(thing: Object) -> dict[str, Any]:
    """The conditions that are there, true or not, by type."""
    return {each.get("type"): each for each in (thing.get("status") or {}).get("conditions") or []}


def _true(thing: Object, kind: str) -> Any:
    found = _conditions(thing).get(kind)
    return found if found and found.get("status") == "True" else None


def _state(pod: Object) -> Mapping[str, Any]:
    """The state of our container: one of waiting, running, terminated; empty before the kubelet says anything."""
    for each in (pod.get("status") or {}).get("containerStatuses") or []:
        if each.get("name") == CONTAINER:
            return each.get("state") or {}
    return {}


def started(pod: Object) -> bool:
    """Whether the container of a pod runs, or ran."""
    state = _state(pod)
    return "running" in state or "terminated" in state


def over(pod: Object) -> bool:
    """Whether a pod has ended."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def job_over(job: Object) -> bool:
    """Whether a Job has ended."""
    return _true(job, "Complete") is not None or _true(job, "Failed") is not None


def _succeeded_phase(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") == "Succeeded"


def waiting(pod: Object) -> Waiting | None:
    """Why a pod does not run yet; None where it does, or where nothing is unusual."""
    if started(pod):
        return None
    scheduled = _conditions(pod).get("PodScheduled") or {}
    if scheduled.get("status") == "False":
        return Waiting(str(scheduled.get("reason") or "Unschedulable"), _short(scheduled.get("message")))
    held = _state(pod).get("waiting") or {}
    reason = str(held.get("reason") or "").replace("ErrImagePull", "ImagePullBackOff")
    if reason in ("", "ContainerCreating", "PodInitializing"):
        return None
    return Waiting(reason, _short(held.get("message")))


def disrupted(pod: Object) -> bool:
    """Whether the cluster took a pod away: evicted, preempted, drained, its machine lost."""
    return _true(pod, "DisruptionTarget") is not None


def leaving(pod: Object) -> bool:
    """Whether a pod must go and has not ended."""
    return not over(pod) and bool((pod.get("metadata") or {}).get("deletionTimestamp"))


def unreachable(pod: Object) -> Waiting | None:
    """What to say of a pod that runs, for all that is known, on a machine that the cluster does not hear of any more.

    The cluster says so by taking the condition Ready away without a reason; a kubelet always gives one.
    """
    ready = _conditions(pod).get("Ready") or {}
    if over(pod) or "running" not in _state(pod) or ready.get("status") != "False" or ready.get("reason"):
        return None
    return Waiting(
        UNREACHABLE, f"the cluster hears nothing of the machine '{_machine(pod)}', where the pod runs"
    )


def overdue(pod: Object, now: int) -> Waiting | None:
    """What to say of a pod that should be gone at `now` (ms) and is not confirmed to be."""
    until = _ms(pod, "deletionTimestamp")  # its grace is in it
    if not leaving(pod) or until is None or now < until + OVERDUE_MS:
        return None
    by = str(pod["metadata"]["deletionTimestamp"])
    text = (
        f"the pod should have left the machine '{_machine(pod)}' by {by}, and nothing confirms that it has: "
    )
    return Waiting(OVERDUE, f"{text}its slots stay taken")


def _machine(pod: Object) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")


def hindrance(pods: Iterable[Object], refusal: str, now: int = 0) -> Waiting | None:
    """Why a launch that is not over does not run; None where its container runs, or where nothing is unusual.

    `refusal` is what the cluster last said instead of making a pod, empty for nothing; `now` (ms) is needed where a pod is
    leaving.
    """
    every = _oldest_first(pods)
    alive = [pod for pod in every if not over(pod) and not leaving(pod)]
    if alive:
        found = waiting(alive[-1]) or unreachable(alive[-1])
        if found is not None or started(alive[-1]):
            return found
    elif every and (late := overdue(every[-1], now)) is not None:
        return late
    elif refusal and not any(started(pod) and not over(pod) for pod in every):
        return refused(refusal)
    taken = [pod for pod in every if disrupted(pod)]
    if taken:
        told = _true(taken[-1], "DisruptionTarget")
        text = f"the pod was taken away ({told.get('reason') or 'Disrupted'}) and another one is made"
        return Waiting("Disrupted", text)
    return None


def refused(message: str) -> Waiting:
    """Why the cluster makes no pod, or no Job: there is no room in the namespace, or what it must not run."""
    return Waiting("QuotaExceeded" if "exceeded quota" in message else "FailedCreate", _short(message))


def _oldest_first(pods: Iterable[Object]) -> list[Object]:
    return sorted(pods, key=lambda pod: str((pod.get("metadata") or {}).get("creationTimestamp") or ""))


def created_ms(thing: Object) -> int | None:
    """ms since the epoch, by the cluster's clock, of a whole second; None where it is not told."""
    return _ms(thing, "creationTimestamp")


def _ms(thing: Object, name: str) -> int | None:
    try:
        told = datetime.fromisoformat(str((thing.get("metadata") or {})[name]))
    except (KeyError, ValueError):
        return None
    return round(told.timestamp() * 1000)


def slim(thing: Object) -> dict[str, Any]:
    """What this module reads of a Job or pod: the rest of thousands is not worth its memory."""
    metadata, status = thing.get("metadata") or {}, thing.get("status") or {}
    kept = ("name", "uid", "annotations", "creationTimestamp", "deletionTimestamp")
    told = ("phase", "reason", "message", "conditions", "containerStatuses", "completionTime")
    spec = {name: (thing.get("spec") or {}).get(name) for name in ("ttlSecondsAfterFinished", "nodeName")}
    return {
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "status": {name: status[name] for name in told if name in status},
        "spec": spec,
    }


def ended(task: Task, job: Object, pods: Iterable[Object]) -> Signal | None:
    """The end of a launch; None while it may go on.

    A pod that was disrupted is no end while its Job goes on: Kubernetes makes another one; nor is one that a newer one follows.
    """
    failed = _true(job, "Failed")
    for pod in reversed(_oldest_first(pods)):
        if started(pod) and not over(pod) and not failed:
            return None
        if over(pod) and (failed or not disrupted(pod) or _succeeded_phase(pod)):
            return pod_end(task, pod)
    if failed:
        return _job_end(task, str(failed.get("reason") or ""), _short(failed.get("message")))
    if _true(job, "Complete"):
        return exit_of(task, code=0)
    return None


def gone(task: Task) -> Signal:
    """The end of a launch whose Job was deleted."""
    return exit_of(task, type="lost", message="the Job of this launch was deleted", infra=True)


def released(task: Task, seconds: float) -> Signal:
    """The end of a launch whose pod was not confirmed to be gone for as long as the operator waits."""
    text = f"its machine is lost: that the pod is gone was not confirmed within {seconds:g} s after it should have been"
    return exit_of(task, type=MACHINE_LOST, message=text, infra=True)


def of_lost_machine(end: Signal) -> Signal:
    """The end of a launch of whose machine nothing was heard before."""
    return replace(end, type=MACHINE_LOST) if end.infra else end


def pod_end(task: Task, pod: Object) -> Signal:
    """The end of a launch whose pod is over (phase Succeeded or Failed)."""
    status: Any = pod.get("status") or {}
    last = _state(pod).get("terminated") or {}
    code, reason = last.get("exitCode"), str(last.get("reason") or status.get("reason") or "")
    if code == 0:
        return _succeeded(task, str(last.get("message") or ""))
    taken = _true(pod, "DisruptionTarget")
    deleted = (pod.get("metadata") or {}).get("deletionTimestamp")
    if status.get("reason") == "DeadlineExceeded":
        return exit_of(task, code=code, type="timeout", message="the pod ran into its deadline")
    if (code, reason) in UNKNOWN_ENDS:
        text = f"the machine was started anew or lost the container, and nobody knows how it ended ({reason})"
        return exit_of(task, code=code, type="lost", message=text, infra=True)
    if taken or deleted or code is None:
        cause = taken.get("reason") if taken else reason
        text = f"the pod was taken away ({cause or 'Deleted'})"
        told = _short((taken or status).get("message"))
        return exit_of(task, code=code, type="lost", message=f"{text}: {told}" if told else text, infra=True)
    if reason == "OOMKilled":
        return exit_of(
            task, code=code, type="OOMKilled", message="the container used more memory than its limit"
        )
    named = "" if reason in ("", "Error") else reason
    return exit_of(task, code=code, type=named, message=_short(last.get("message")) if named else "")


def _succeeded(task: Task, message: str) -> Signal:
    """An exit with 0 and what the program left as its metadata."""
    if not message.strip():
        return exit_of(task, code=0)
    try:
        orjson.loads(message)
    except ValueError:
        cut = len(message.encode()) >= OUTPUT_LIMIT
        text = f"longer than {OUTPUT_LIMIT} bytes" if cut else "no JSON"
        return exit_of(task, code=0, type="bad_output", message=f"the metadata is {text}")
    return exit_of(task, code=0, output=message)


def _job_end(task: Task, reason: str, message: str) -> Signal:
    if reason == "DeadlineExceeded":
        return exit_of(task, type="timeout", message="the Job ran into its deadline")
    return exit_of(task, type="lost", message=f"the Job failed ({reason}): {message}", infra=True)


def _short(text: object) -> str:
    return str(text or "")[:500]
