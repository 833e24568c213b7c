"""What a launch is called where it runs, whoever starts it: the same launch has the same name, so it is there once.

It carries itself twice: as labels, which people select by, and exactly as TASK, which the engine reads.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from app.core.tasks import Task, split_ref

TASK = "headrace.dev/task"
"""The task, as Task.encode() gives it."""
SPEC = "headrace.dev/spec"
"""The digest of what runs, without the token: the same launch has the same."""
INSTANCE = "app.kubernetes.io/instance"
MANAGED = "app.kubernetes.io/managed-by"
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def launch_name(instance: str, task: Task) -> str:
    """hr-NODE-DIGEST, a DNS-1123 label of at most 52 characters: a pod's own suffix fits behind it.

    `instance` is the installation, its prefix in the store.
    """
    digest = blake2b(f"{instance}|{task.encode()}".encode(), digest_size=10).hexdigest()
    node = split_ref(task.ref)[0].replace("_", "-").strip("-")[:28].rstrip("-")
    return f"hr-{node}-{digest}"


def label(value: str) -> str:
    """The nearest label value: at most 63 of letters, digits, - _ . beginning and ending with a letter or digit."""
    if _LABEL.fullmatch(value):
        return value
    kept = "".join(char if char.isascii() and (char.isalnum() or char in "-_.") else "-" for char in value)
    return kept[:63].strip("-_.")


def labels(instance: str, workflow: str, type: str | None, task: Task) -> dict[str, str]:
    """The labels of a launch of a node type ("name@version"; None: the node names its image)."""
    return {
        "app.kubernetes.io/name": "headrace-node",
        "app.kubernetes.io/component": label((type or "image").partition("@")[0]),
        INSTANCE: label(instance),
        MANAGED: "headrace",
        "headrace.dev/node": label(split_ref(task.ref)[0]),
        "headrace.dev/workflow": label(workflow),
        **own_labels(task),
    }


def own_labels(task: Task) -> dict[str, str]:
    """Of the labels of a launch those that no other launch of its node has."""
    found = {
        "headrace.dev/run": label(task.run),
        "headrace.dev/attempt": str(task.attempt),
        "headrace.dev/launch": str(task.launch),
    }
    item = split_ref(task.ref)[1]
    if item is not None:
        found["headrace.dev/item"] = str(item)
    return found
