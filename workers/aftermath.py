"""After a run: its end becomes a trigger of every workflow that waits for it. Repeated, it changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import structlog

from app.core.aftermath import fired, loop
from app.core.expressions import Template
from app.core.schemas import apply_params
from app.errors import ExpressionError, InvalidInput, NotFound
from app.store.store import Store
from app.store.streams import Entry
from app.store.triggers import ENTRY_FROM_RUN, Trigger
from app.store.workflows import Interface

log = structlog.get_logger("headrace.aftermath")


def read_end(entry: Entry) -> tuple[dict[str, Any], list[str]] | None:
    """(event, the workflows on the way) of an entry that tells the end of a run; None for any other."""
    if entry.fields.get(b"v") != ENTRY_FROM_RUN:
        return None
    try:
        record = orjson.loads(entry.fields[b"d"])
        return (record["e"], record["via"]) if "e" in record else None
    except (KeyError, ValueError, TypeError):
        return None


async def fire(store: Store, event: Mapping[str, Any], via: list[str]) -> int:
    """Accept a trigger for each run trigger that waits for this end; how many there are.

    The source run is the idempotency key, so that doing it again changes nothing. Raises StoreUnavailable.
    """
    count = 0
    for name in await store.workflows.waiting_for(event["workflow"]):
        try:
            head = await store.workflows.head(name)
            interface = await store.workflows.interface(name, head.version)
        except NotFound:
            continue
        if head.archived is not None:
            continue
        for trigger in fired(interface.triggers, event):
            accepted = await store.triggers.accept(_trigger(interface, trigger, event, via))
            log.info("run trigger", source=event["run"], workflow=name, receipt=accepted.receipt)
            count += 1
    return count


def _trigger(
    interface: Interface, trigger: Mapping[str, Any], event: Mapping[str, Any], via: list[str]
) -> Trigger:
    params, dead, rejected = {}, None, loop(interface.name, via)
    if rejected is None:
        try:
            params = apply_params(
                interface.params, Template(trigger.get("params", {})).render({"event": event})
            )
        except ExpressionError as error:
            dead = error.message
        except InvalidInput as error:
            details = "; ".join(f"{place.pointer}: {place.detail}" for place in error.places[:8])
            dead = f"{error.message} {details}".strip()
    name = trigger["name"]
    return Trigger(
        interface.name, interface.version, f"run:{name}", params, event=event, scope=f"run:{interface.name}:{name}",
        key=event["run"], digest="-", dead=dead, rejected=rejected, via=via,
    )  # fmt: skip
