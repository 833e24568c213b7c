"""From a launch to the Job that runs it. Pure: the same launch is the same Job, whoever builds it.

A Job carries its launch twice: as labels, which people select by, and exactly as the annotation TASK, which the engine reads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, cast

import orjson
from kubernetes_asyncio import client as k8s

from app.core.attempts import FINALIZE_GRACE_MS
from app.core.graph import NodeDef
from app.core.podspec import PodSpec, Resources
from app.core.tasks import Task
from workers.executors import naming
from workers.executors.naming import SPEC, TASK

CONTAINER = "node"
OUTPUT = "/dev/termination-log"
"""Where a program without the protocol leaves its metadata; the kubelet keeps 4,096 bytes of it."""
OUTPUT_LIMIT = 4096
TMP = "/tmp"  # noqa: S108  (of the container, an emptyDir of its own)
DEADLINE_SLACK_S = 60
"""The cluster ends a pod so long after the engine should have: it acts only where no worker does."""
GRACE_S = 30
"""Seconds between SIGTERM and SIGKILL of a pod that must stop."""


@dataclass(slots=True, frozen=True)
class Pattern:
    """What all launches of one node have in common."""

    instance: str
    """The installation: its prefix in the store."""
    namespace: str
    workflow: str
    version: int
    node: NodeDef
    image: str
    entrypoint: tuple[str, ...]
    """The command line inside the image; empty: the image's own."""
    resources: Resources
    pod: PodSpec


def labels(pattern: Pattern, task: Task) -> dict[str, str]:
    own = naming.labels(pattern.instance, pattern.workflow, pattern.node.type, task)
    return {**pattern.pod.labels, **own}


def job(pattern: Pattern, task: Task, environment: Mapping[str, str]) -> k8s.V1Job:
    """The whole Job."""
    found = labels(pattern, task)
    annotations = {**pattern.pod.annotations, TASK: task.encode()}
    pod = k8s.V1PodTemplateSpec(
        metadata=k8s.V1ObjectMeta(labels=found, annotations=annotations), spec=_pod(pattern, environment)
    )
    spec = k8s.V1JobSpec(
        parallelism=1,
        completions=1,
        backoff_limit=0,
        pod_replacement_policy="Failed",
        pod_failure_policy=k8s.V1PodFailurePolicy(
            rules=[
                k8s.V1PodFailurePolicyRule(
                    action="Ignore",
                    on_pod_conditions=[
                        k8s.V1PodFailurePolicyOnPodConditionsPattern(type="DisruptionTarget", status="True")
                    ],
                )
            ]
        ),
        template=pod,
    )
    metadata = k8s.V1ObjectMeta(
        name=naming.launch_name(pattern.instance, task),
        namespace=pattern.namespace,
        labels={**found, SPEC: spec_digest(pattern)},
        annotations=annotations,
    )
    return k8s.V1Job(api_version="batch/v1", kind="Job", metadata=metadata, spec=spec)


def _deadline(node: NodeDef) -> int:
    """Seconds of one pod, from when a machine has it: a Job's own deadline would count its wait for room in the cluster."""
    return (
        math.ceil((node.timeouts.start_ms + node.timeouts.run_ms + FINALIZE_GRACE_MS) / 1000)
        + DEADLINE_SLACK_S
    )


def _pod(pattern: Pattern, environment: Mapping[str, str]) -> k8s.V1PodSpec:
    pod = pattern.pod
    return k8s.V1PodSpec(
        restart_policy="Never",
        active_deadline_seconds=_deadline(pattern.node),
        automount_service_account_token=False,
        enable_service_links=False,
        termination_grace_period_seconds=GRACE_S,
        security_context=restricted_pod(pod.run_as_user, pod.fs_group),
        containers=[_container(pattern, environment)],
        volumes=[
            k8s.V1Volume(name="tmp", empty_dir=k8s.V1EmptyDirVolumeSource()),
            *(_volume(volume) for volume in pod.volumes),
        ],
        node_selector=pod.node_selector or None,
        tolerations=[
            k8s.V1Toleration(
                key=each.key or None, operator=each.operator, value=each.value or None, effect=each.effect or None,
                toleration_seconds=each.toleration_seconds,
            )
            for each in pod.tolerations
        ] or None,
        image_pull_secrets=pull_secrets(pod),
        priority_class_name=pod.priority_class,
        runtime_class_name=pod.runtime_class,
    )  # fmt: skip


def _container(pattern: Pattern, environment: Mapping[str, str]) -> k8s.V1Container:
    pod, resources = pattern.pod, pattern.resources
    return k8s.V1Container(
        name=CONTAINER,
        image=pattern.image,
        image_pull_policy=pod.image_pull_policy,
        command=list(pattern.entrypoint) or None,
        env=[
            *(k8s.V1EnvVar(name=name, value=value) for name, value in variables(environment).items()),
            *(_secret(name, each.secret, each.key) for name, each in pod.secrets.items()),
        ],
        resources=k8s.V1ResourceRequirements(
            requests=resources.requests or None, limits=resources.limits or None
        ),
        security_context=restricted(),
        termination_message_path=OUTPUT,
        termination_message_policy="File",
        volume_mounts=[
            k8s.V1VolumeMount(name="tmp", mount_path=TMP),
            *(
                k8s.V1VolumeMount(
                    name=each.name, mount_path=each.mount_path, read_only=each.read_only or None
                )
                for each in pod.volumes
            ),
        ],
    )


def restricted_pod(user: int | None, group: int | None = None) -> k8s.V1PodSecurityContext:
    """What Pod Security `restricted` asks of a pod."""
    return k8s.V1PodSecurityContext(
        run_as_non_root=True,
        run_as_user=user,
        fs_group=group,
        seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
    )


def restricted() -> k8s.V1SecurityContext:
    """What Pod Security `restricted` asks of a container, and a root file system that stays as it is."""
    return k8s.V1SecurityContext(
        allow_privilege_escalation=False,
        read_only_root_filesystem=True,
        capabilities=k8s.V1Capabilities(drop=["ALL"]),
    )


def pull_secrets(pod: PodSpec) -> list[k8s.V1LocalObjectReference] | None:
    return [k8s.V1LocalObjectReference(name=name) for name in pod.image_pull_secrets] or None


def variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a launch, and what every container of ours gets beside it."""
    return {**environment, "HEADRACE_OUTPUT": OUTPUT, "PYTHONUNBUFFERED": "1", "HOME": TMP}


def _secret(name: str, secret: str, key: str) -> k8s.V1EnvVar:
    reference = k8s.V1SecretKeySelector(name=secret, key=key)
    return k8s.V1EnvVar(name=name, value_from=k8s.V1EnvVarSource(secret_key_ref=reference))


def _volume(volume: Any) -> k8s.V1Volume:
    if volume.claim is not None:
        source = k8s.V1PersistentVolumeClaimVolumeSource(
            claim_name=volume.claim, read_only=volume.read_only or None
        )
        return k8s.V1Volume(name=volume.name, persistent_volume_claim=source)
    if volume.config_map is not None:
        return k8s.V1Volume(name=volume.name, config_map=k8s.V1ConfigMapVolumeSource(name=volume.config_map))
    if volume.secret is not None:
        return k8s.V1Volume(name=volume.name, secret=k8s.V1SecretVolumeSource(secret_name=volume.secret))
    return k8s.V1Volume(name=volume.name, empty_dir=k8s.V1EmptyDirVolumeSource(size_limit=volume.empty_dir))


def spec_digest(pattern: Pattern) -> str:
    """16 hexadecimal digits of what runs: everything but the launch's own variables."""
    told = {
        "image": pattern.image, "entrypoint": pattern.entrypoint, "deadline": _deadline(pattern.node),
        "resources": pattern.resources.model_dump(), "pod": pattern.pod.model_dump(), "type": pattern.node.type,
        "workflow": [pattern.workflow, pattern.version],
    }  # fmt: skip
    return blake2b(orjson.dumps(told, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()


def wire(model: Any) -> Any:
    """The JSON of a typed object, as the API server takes it."""
    return _pruned(model.to_dict(serialize=True))


def _pruned(value: Any) -> Any:
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {name: _pruned(each) for name, each in members.items() if each is not None}
    if isinstance(value, list):
        return [_pruned(each) for each in cast("list[Any]", value)]
    return value


_OWN = ("name", "job_labels", "labels", "annotations", "variables")
"""What each launch fills into its Job."""
_PLACE = re.compile(rb'"\\u0000(%s)"' % "|".join(_OWN).encode())
"""Where it goes: no text of a Job can hold this character."""


class Stencil:
    """The JSON of a node's Jobs, made from the typed object once; each launch only fills in what is its own."""

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern
        self.digest = spec_digest(pattern)
        nobody = Task("", pattern.node.name, 0, 0)
        self._labels = labels(pattern, nobody)
        self._annotations = dict(pattern.pod.annotations)
        whole: dict[str, Any] = wire(job(pattern, nobody, {}))
        template = whole["spec"]["template"]
        container = template["spec"]["containers"][0]
        self._secrets = [each for each in container["env"] if "valueFrom" in each]
        whole["metadata"] |= {"name": "\0name", "labels": "\0job_labels", "annotations": "\0annotations"}
        template["metadata"] = {"labels": "\0labels", "annotations": "\0annotations"}
        container["env"] = "\0variables"
        self._pieces = _PLACE.split(orjson.dumps(whole))

    def job(self, task: Task, environment: Mapping[str, str]) -> bytes:
        """The Job of a launch as the API server takes it: JSON."""
        found = {**self._labels, **naming.own_labels(task)}
        own = [{"name": name, "value": value} for name, value in variables(environment).items()]
        filled = {
            b"name": orjson.dumps(naming.launch_name(self.pattern.instance, task)),
            b"job_labels": orjson.dumps({**found, SPEC: self.digest}),
            b"labels": orjson.dumps(found),
            b"annotations": orjson.dumps({**self._annotations, TASK: task.encode()}),
            b"variables": orjson.dumps(own + self._secrets),
        }
        pieces = self._pieces
        return b"".join(filled[each] if number % 2 else each for number, each in enumerate(pieces))
