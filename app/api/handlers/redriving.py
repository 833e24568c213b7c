"""POST /triggers/{receipt}/redrive: a dead trigger is tried again, once what killed it was mended."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp

from app.api.context import Api
from app.api.handlers.runs import visible_trigger
from app.api.http import Call, json_reply
from app.api.schemas import RedriveRequest, read
from app.core.expressions import Template
from app.core.firing import why_dead
from app.errors import Conflict, ExpressionError, InvalidInput, Place
from app.published import Published
from app.store.deadletters import Dead

KINDS = {"hook": "webhook", "event": "event", "schedule": "schedule", "run": "run"}
"""The field of a document's trigger, by the kind of a source."""
WHOLE = {"hook": "body", "event": "data"}
"""The member of the event that is the params, where a trigger has none of its own."""


async def redrive_trigger(call: Call, api: Api) -> ASGIApp:
    """202 with the receipt, which is queued again: its params are made anew, by the newest version or the one that is asked
    for. Raises NotFound; Conflict for one that is not dead; InvalidInput where it would be dead again."""
    receipt = await visible_trigger(call, api)
    request = read(RedriveRequest, await call.object())
    dead = await api.store.dead_letters.get(receipt["id"])
    if dead.refers and request.version is not None:
        raise InvalidInput(
            places=[Place("/version", "a retry or fork stays with the version it was made for")]
        )
    version = int(dead.record["v"]) if dead.refers else request.version
    published = await api.published.usable(dead.workflow, version)
    try:
        params = published.params(await _given(api, published, dead))
    except ExpressionError as error:
        raise InvalidInput(f"It would be dead again: {why_dead(error)}") from None
    run = await api.store.dead_letters.redrive(dead, published.version, params)
    place = (b"location", f"/api/v1/runs/{run}".encode())
    return json_reply(await api.store.triggers.get(dead.receipt), 202, place)


async def _given(api: Api, published: Published, dead: Dead) -> Any:
    """What the params are made of now. Raises Conflict where its trigger is gone, ExpressionError."""
    kind, _, name = dead.source.partition(":")
    event = dead.record.get("ev")
    if kind not in KINDS or dead.refers:
        return dead.record.get("p", {})
    template = await _template(api, published, kind, name)
    if template is not None:
        return Template(template).render({"event": event})
    whole = event.get(WHOLE[kind]) if kind in WHOLE and isinstance(event, dict) else None
    return {} if whole is None else whole


async def _template(api: Api, published: Published, kind: str, name: str) -> Any:
    """The `params` of the trigger that it came by. Raises Conflict where this version has none of that name."""
    interface = await api.store.workflows.interface(published.name, published.version)
    for trigger in interface.triggers:
        declared = trigger.get(KINDS[kind])
        if declared is not None and declared["name"] == name:
            return declared.get("params")
    if kind == "hook":
        for hook in await api.store.hooks.list(published.name):
            if hook.name == name and not hook.declared:
                return hook.params
    raise Conflict(f"Version {published.version} of {published.name} has no {KINDS[kind]} '{name}'.")
