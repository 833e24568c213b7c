"""From a launch to the container that runs it. Pure: the same launch is the same container, whoever makes it.

It is as restricted as a pod: no capability, no new privilege, a root filesystem that cannot be written, nobody's user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from app.core.graph import NodeDef
from app.core.podspec import PodSpec, Resources, quantity
from app.core.tasks import Task
from app.errors import NotFound
from workers.executors import naming
from workers.executors.naming import SPEC, TASK

KEPT = "/headrace"
"""A volume of the container's own, which is there after its end."""
OUTPUT_DIRECTORY = "output"
OUTPUT = f"{KEPT}/{OUTPUT_DIRECTORY}/metadata.json"
"""Where a program without the protocol leaves its metadata."""
TMP = "/tmp"  # noqa: S108  (of the container, in memory)
PROCESSES = 4096
"""What a container may have at a time: a program that forks for ever takes nobody along."""


@dataclass(slots=True, frozen=True)
class Site:
    """What the operator's settings say of all containers."""

    instance: str
    """The installation: its prefix in the store."""
    network: str
    """Its name; empty: the engine's own choice."""
    user: str
    """UID or UID:GID of those whose node type names none."""
    volumes: tuple[str, ...]
    """Directories of the engine's machine, as the engine takes them: SOURCE:TARGET:ro or :rw."""
    api_url: str
    """Where they reach the API; empty: where everybody does."""


@dataclass(slots=True, frozen=True)
class Pattern:
    """What all launches of one node have in common."""

    site: Site
    workflow: str
    version: int
    node: NodeDef
    image: str
    entrypoint: tuple[str, ...]
    """The command line inside the image; empty: the image's own."""
    resources: Resources
    pod: PodSpec
    """Of its node type; what only a cluster can give is refused."""


def volumes(text: str) -> tuple[str, ...]:
    """From the setting: PATH, PATH:ro or SOURCE:TARGET[:ro], comma separated; one path is the same on both sides."""
    found: list[str] = []
    for each in (piece.strip() for piece in text.split(",")):
        if each:
            mode = "ro" if each.endswith(":ro") else "rw"
            source, _, target = each.removesuffix(":ro").removesuffix(":rw").partition(":")
            found.append(f"{source}:{target or source}:{mode}")
    return tuple(found)


def check(pattern: Pattern) -> None:
    """Raises NotFound where a node type needs what only a cluster has: no other attempt would end otherwise."""
    pod = pattern.pod
    needs = [f"the secret {each.secret}" for each in pod.secrets.values()]
    needs += [f"the volume {each.name} of a config map or a secret" for each in pod.volumes
              if each.config_map or each.secret]  # fmt: skip
    needs += [f"the runtime class {pod.runtime_class}"] if pod.runtime_class else []
    needs += [name for name in pattern.resources.limits if name not in ("cpu", "memory", "ephemeral-storage")]
    if needs:
        raise NotFound(f"a container engine cannot give what this node type needs: {', '.join(needs)}")


def spec_digest(pattern: Pattern) -> str:
    """16 hexadecimal digits of what runs: everything but the launch's own variables."""
    told = {
        "image": pattern.image, "entrypoint": pattern.entrypoint, "resources": pattern.resources.model_dump(),
        "pod": pattern.pod.model_dump(), "type": pattern.node.type, "workflow": [pattern.workflow, pattern.version],
    }  # fmt: skip
    return blake2b(orjson.dumps(told, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()


def body(pattern: Pattern, task: Task, environment: Mapping[str, str]) -> dict[str, Any]:
    """The container of a launch as the engine takes it."""
    pod, site = pattern.pod, pattern.site
    own = naming.labels(site.instance, pattern.workflow, pattern.node.type, task)
    return {
        "Image": pattern.image,
        "User": str(pod.run_as_user) if pod.run_as_user is not None else site.user,
        "Env": [f"{name}={value}" for name, value in variables(environment, site.api_url).items()],
        "Labels": {**pod.labels, **own, TASK: task.encode(), SPEC: spec_digest(pattern)},
        "Volumes": {KEPT: {}},
        "HostConfig": _host(pattern),
        **({"Entrypoint": list(pattern.entrypoint), "Cmd": []} if pattern.entrypoint else {}),
    }


def variables(environment: Mapping[str, str], api_url: str) -> dict[str, str]:
    """The environment of a launch, and what every container of ours gets beside it."""
    found = {**environment, "HEADRACE_OUTPUT": OUTPUT, "PYTHONUNBUFFERED": "1", "HOME": TMP}
    return found | ({"HEADRACE_API_URL": api_url} if api_url else {})


def _host(pattern: Pattern) -> dict[str, Any]:
    pod, site = pattern.pod, pattern.site
    claims = [f"{each.claim}:{each.mount_path}:{'ro' if each.read_only else 'rw'}" for each in pod.volumes
              if each.claim]  # fmt: skip
    scratch = {
        each.mount_path: _scratch(int(quantity(each.empty_dir))) for each in pod.volumes if each.empty_dir
    }
    return {
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Privileged": False,
        "PidsLimit": PROCESSES,
        "Tmpfs": {TMP: _scratch(None), **scratch},
        "Binds": [*site.volumes, *claims],
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {"Type": "json-file"},
        **({"NetworkMode": site.network} if site.network else {}),
        **({"GroupAdd": [str(pod.fs_group)]} if pod.fs_group is not None else {}),
        **_limits(pattern.resources),
    }


def _scratch(size: int | None) -> str:
    told = "rw,exec,nosuid,nodev,mode=1777"
    return told if size is None else f"{told},size={size}"


def _limits(resources: Resources) -> dict[str, int]:
    """Memory without swap beside it, processor time; what is asked for counts when the machine has too little."""
    found: dict[str, int] = {}
    if memory := resources.limits.get("memory"):
        found["Memory"] = found["MemorySwap"] = int(quantity(memory))
    if cpu := resources.limits.get("cpu"):
        found["NanoCpus"] = int(quantity(cpu) * 10**9)
    if memory := resources.requests.get("memory"):
        found["MemoryReservation"] = int(quantity(memory))
    if cpu := resources.requests.get("cpu"):
        found["CpuShares"] = max(int(quantity(cpu) * 1024), 2)
    return found
