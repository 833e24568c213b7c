"""Child runs: what a queued one still lacks when it starts, its version and its params."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from app.core.schemas import apply_params
from app.errors import InvalidInput, NotFound
from app.store.store import Store
from app.store.triggers import QueuedTrigger


class Refused(Exception):
    """A child run cannot be started: the type of the error of the node that waits for it, and why."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


async def prepared(store: Store, trigger: QueuedTrigger) -> QueuedTrigger:
    """The trigger with the newest version, where it names none, and with its params. Raises Refused."""
    name = trigger.workflow
    head = await store.workflows.find(name)
    if head is None:
        raise Refused("child_missing", f"there is no workflow '{name}'")
    if head.archived is not None:
        raise Refused("child_archived", f"the workflow '{name}' is archived")
    version = trigger.version or head.version
    try:
        interface = await store.workflows.interface(name, version)
        params = apply_params(interface.params, await _params(store, trigger.record["up"]))
    except NotFound:
        raise Refused("child_missing", f"the workflow '{name}' has no version {version}") from None
    except InvalidInput as error:
        raise Refused("child_params", await _complaint(store, trigger, error)) from None
    return replace(trigger, version=version, record={**trigger.record, "p": params})


async def _params(store: Store, up: dict[str, Any]) -> Any:
    """What the waiting node run has rendered, or what its document says without any expression. Raises Refused."""
    rendered = await store.runs.rendered(up["r"], up["n"])
    if rendered is not None:
        return orjson.loads(rendered)
    child = (await store.graphs.get(up["w"], up["v"])).node_of(up["n"]).child
    if child is None or not child.params.static:
        raise Refused("child_start", "the node run that waits for it is not there any more")
    return child.params.value


async def _complaint(store: Store, trigger: QueuedTrigger, error: InvalidInput) -> str:
    up = trigger.record["up"]
    node = (await store.graphs.get(up["w"], up["v"])).node_of(up["n"])
    place = f"nodes/{node.name}/{node.child.place if node.child else 'config'}"
    details = "; ".join(
        f"{place}{each.pointer.removeprefix('/params')}: {each.detail}" for each in error.places[:8]
    )
    return f"the params do not fit the workflow '{trigger.workflow}': {details}"
