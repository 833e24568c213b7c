"""From a schedule to the CronJob that posts its ticks. Pure: the same schedule is the same object, whoever builds it.

The CronJob decides nothing: its pod tells the API that a tick is there, and the store knows whether it has fired already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from importlib import resources
from typing import Any, cast

from kubernetes_asyncio import client as k8s

from app.core.podspec import PodSpec
from app.core.schedules import Schedule
from workers.executors.kubernetes.manifest import pull_secrets, restricted, restricted_pod, wire
from workers.executors.naming import INSTANCE, MANAGED, label

KIND = "cronjobs"
TICK = "headrace-tick"
SCRIPT = resources.files("workers.executors.kubernetes").joinpath("tick.py").read_text("utf-8")
TRIES = 3
DEADLINE_S = 300
KEPT_S = 600
"""How long the Job of a tick stays after its end."""
TICK_URL, TICK_JOB = "HEADRACE_TICK_URL", "HEADRACE_TICK_JOB"


@dataclass(slots=True, frozen=True)
class Ticks:
    """What all CronJobs of an installation have in common."""

    instance: str
    """Its prefix in the store."""
    namespace: str
    image: str
    """Any image with Python."""
    pod: PodSpec


def name_of(instance: str, workflow: str, schedule: str) -> str:
    """At most 52 characters: a Job's name has 11 more."""
    digest = blake2b(f"{instance}|{workflow}|{schedule}".encode(), digest_size=6).hexdigest()
    return f"tick-{workflow[:17].rstrip('-')}-{schedule[:14].rstrip('-')}-{digest}"


def selector(instance: str) -> dict[str, str]:
    """The labels that find every CronJob of an installation, and nothing else."""
    return {"app.kubernetes.io/name": TICK, INSTANCE: label(instance), MANAGED: "headrace"}


def cronjob(ticks: Ticks, workflow: str, schedule: Schedule, url: str, *, paused: bool) -> dict[str, Any]:
    """The whole object as the API server takes it. `url` is where its pod posts, a token for this schedule in it."""
    whose = {"headrace.dev/workflow": label(workflow), "headrace.dev/schedule": label(schedule.name)}
    spec = k8s.V1CronJobSpec(
        schedule=schedule.timetable.cron,
        time_zone=schedule.time_zone,
        concurrency_policy="Forbid",
        starting_deadline_seconds=schedule.catch_up_ms // 1000,
        suspend=paused,
        successful_jobs_history_limit=1,
        failed_jobs_history_limit=1,
        job_template=k8s.V1JobTemplateSpec(
            metadata=k8s.V1ObjectMeta(labels={"app.kubernetes.io/name": TICK, **whose}),
            spec=k8s.V1JobSpec(
                backoff_limit=TRIES,
                active_deadline_seconds=DEADLINE_S,
                ttl_seconds_after_finished=KEPT_S,
                template=k8s.V1PodTemplateSpec(
                    metadata=k8s.V1ObjectMeta(labels={"app.kubernetes.io/name": TICK, **whose}),
                    spec=_pod(ticks, url),
                ),
            ),
        ),
    )
    metadata = k8s.V1ObjectMeta(
        name=name_of(ticks.instance, workflow, schedule.name),
        namespace=ticks.namespace,
        labels={**selector(ticks.instance), **whose},
    )
    return wire(k8s.V1CronJob(api_version="batch/v1", kind="CronJob", metadata=metadata, spec=spec))


def _pod(ticks: Ticks, url: str) -> k8s.V1PodSpec:
    job = k8s.V1ObjectFieldSelector(
        api_version="v1", field_path="metadata.labels['batch.kubernetes.io/job-name']"
    )
    container = k8s.V1Container(
        name="tick",
        image=ticks.image,
        image_pull_policy=ticks.pod.image_pull_policy,
        command=["python3", "-c", SCRIPT],
        env=[
            k8s.V1EnvVar(name=TICK_URL, value=url),
            k8s.V1EnvVar(name=TICK_JOB, value_from=k8s.V1EnvVarSource(field_ref=job)),
        ],
        resources=k8s.V1ResourceRequirements(
            requests={"cpu": "10m", "memory": "32Mi"}, limits={"memory": "64Mi"}
        ),
        security_context=restricted(),
    )
    return k8s.V1PodSpec(
        restart_policy="Never",
        automount_service_account_token=False,
        enable_service_links=False,
        security_context=restricted_pod(ticks.pod.run_as_user),
        containers=[container],
        node_selector=ticks.pod.node_selector or None,
        image_pull_secrets=pull_secrets(ticks.pod),
        priority_class_name=ticks.pod.priority_class,
    )  # fmt: skip


def covers(actual: Any, desired: Any) -> bool:
    """Whether an object of the API server says all that ours says; it may say more (defaults, status)."""
    if isinstance(desired, Mapping):
        wanted = cast("Mapping[str, Any]", desired)
        return isinstance(actual, Mapping) and all(covers(actual.get(name), wanted[name]) for name in wanted)
    if isinstance(desired, list):
        items = cast("list[Any]", desired)
        return isinstance(actual, list) and len(actual) == len(items) and all(map(covers, actual, items))
    return actual == desired
