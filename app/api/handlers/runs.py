"""Reading runs: the run, its nodes, items, failed records and attempts."""

from __future__ import annotations

import re
from typing import Any

from starlette.types import ASGIApp

from app.api.access import Principal
from app.api.context import Api
from app.api.http import Call, json_reply
from app.api.moments import parse_since
from app.api.paging import listed, page, sliced
from app.core.states import NodeStatus
from app.errors import Forbidden, InvalidInput, NotFound, Place

_RUN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PLACE = re.compile(r"[0-9]{1,20}(\.[0-9]{1,9})?")
_STATUSES = {str(status) for status in NodeStatus}
_NODE = re.compile(r"[a-z][a-z0-9_]{0,62}(:(0|[1-9][0-9]{0,8}))?")


async def visible_run(call: Call, api: Api) -> dict[str, Any]:
    """The run of the path. Raises NotFound, or Forbidden when its workflow is outside the key's prefix."""
    name = call.params["run"]
    if not _RUN.fullmatch(name):
        raise NotFound("There is no such run.")
    run = await api.store.runs.get(name)
    call.workflow = run["workflow"]
    principal: Principal = call.principal
    if not principal.may_touch(run["workflow"]):
        raise Forbidden("This run's workflow is outside the key's prefix.")
    return run


def ref_of(call: Call) -> str:
    """The node run of the path: "node" or "node:3"; a query member `item` means an item of it.

    Raises NotFound.
    """
    ref = call.params["node"]
    item = call.query.get("item")
    if item is not None and ":" not in ref:
        ref = f"{ref}:{item}"
    if not _NODE.fullmatch(ref):
        raise NotFound("There is no such node.")
    return ref


async def list_runs(call: Call, api: Api) -> ASGIApp:
    """GET /runs, the newest first. A key with a prefix sees its workflows' runs only."""
    principal: Principal = call.principal
    workflow = call.query.get("workflow") or None
    if workflow is not None and not principal.may_touch(workflow):
        raise Forbidden("This workflow is outside the key's prefix.")
    limit, cursor = page(call, cursors=_PLACE)
    items, after = await api.store.runs.list(
        workflow=workflow,
        status=_status(call),
        label=_label(call),
        since_ms=parse_since(call.query.get("since")),
        limit=limit,
        cursor=cursor,
    )
    return listed([run for run in items if principal.may_touch(run["workflow"])], after)


def _status(call: Call) -> str | None:
    status = call.query.get("status") or None
    if status not in {None, "queued", "running", "succeeded", "failed", "cancelled"}:
        raise InvalidInput(
            places=[Place("/status", "queued, running, succeeded, failed or cancelled is expected")]
        )
    return status


def _label(call: Call) -> str | None:
    label = call.query.get("label") or None
    if label is not None and len(label) > 320:
        raise InvalidInput(places=[Place("/label", "NAME or NAME=VALUE is expected")])
    return label


async def get_run(call: Call, api: Api) -> ASGIApp:
    """GET /runs/{run}."""
    return json_reply(await visible_run(call, api))


async def why_run(call: Call, api: Api) -> ASGIApp:
    """GET /runs/{run}/why: the reasons why it does not go on, the most decisive first; of an ended run why it ended so."""
    run = await visible_run(call, api)
    if "archived" in run:
        return listed(api.store.why.of_archived(run), None)
    principal: Principal = call.principal
    return listed(await api.store.why.run(run["id"], principal.prefix), None)


async def why_node(call: Call, api: Api) -> ASGIApp:
    """GET /runs/{run}/nodes/{node}/why."""
    run, ref = await visible_run(call, api), ref_of(call)
    principal: Principal = call.principal
    return listed(await api.store.why.node(run["id"], ref, principal.prefix), None)


async def list_nodes(call: Call, api: Api) -> ASGIApp:
    """GET /runs/{run}/nodes, those that are still pending too."""
    run = await visible_run(call, api)
    return listed(*await api.store.runs.nodes(run["id"], *page(call, 1000)))


async def get_node(call: Call, api: Api) -> ASGIApp:
    """GET /runs/{run}/nodes/{node}."""
    run = await visible_run(call, api)
    return json_reply(await api.store.runs.node(run["id"], ref_of(call)))


async def list_items(call: Call, api: Api) -> ASGIApp:
    """GET /runs/{run}/nodes/{node}/items?status=."""
    run = await visible_run(call, api)
    limit, cursor = page(call)
    status = call.query.get("status") or None
    if status is not None and status not in _STATUSES:
        raise InvalidInput(places=[Place("/status", f"one of {', '.join(sorted(_STATUSES))} is expected")])
    return listed(*await api.store.runs.items(run["id"], ref_of(call), status, limit, cursor))


async def list_records(call: Call, api: Api) -> ASGIApp:
    """GET /runs/{run}/nodes/{node}/records: the ledger of failed records."""
    run, ref = await visible_run(call, api), ref_of(call)
    await api.store.runs.node(run["id"], ref)
    return listed(*await api.store.runs.records(run["id"], ref, *page(call, cursors=_PLACE)))


async def list_attempts(call: Call, api: Api) -> ASGIApp:
    """GET /runs/{run}/nodes/{node}/attempts."""
    run = await visible_run(call, api)
    return sliced(call, await api.store.runs.attempts(run["id"], ref_of(call)))


async def list_triggers(call: Call, api: Api) -> ASGIApp:
    """GET /triggers?state=."""
    principal: Principal = call.principal
    state = call.query.get("state") or None
    if state not in {None, "queued", "started", "duplicate", "filtered", "rejected", "dead"}:
        raise InvalidInput(
            places=[Place("/state", "queued, started, duplicate, filtered, rejected or dead is expected")]
        )
    limit, cursor = page(call, cursors=_PLACE)
    items, after = await api.store.triggers.list(state, limit, cursor)
    return listed([receipt for receipt in items if principal.may_touch(receipt["workflow"] or "")], after)


async def visible_trigger(call: Call, api: Api) -> dict[str, Any]:
    """The receipt of the path. Raises NotFound, or Forbidden when its workflow is outside the key's prefix."""
    name = call.params["receipt"]
    if not _RUN.fullmatch(name):
        raise NotFound("There is no such trigger.")
    receipt = await api.store.triggers.get(name)
    call.workflow = receipt["workflow"]
    principal: Principal = call.principal
    if not principal.may_touch(receipt["workflow"] or ""):
        raise Forbidden("This trigger's workflow is outside the key's prefix.")
    return receipt


async def get_trigger(call: Call, api: Api) -> ASGIApp:
    """GET /triggers/{receipt}."""
    return json_reply(await visible_trigger(call, api))
