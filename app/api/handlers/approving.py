"""Approvals: a person lets a run go on, or not. Idempotent and audited."""

from __future__ import annotations

from starlette.types import ASGIApp

from app.api.access import Principal
from app.api.context import Api
from app.api.handlers.runs import ref_of, visible_run
from app.api.http import Call, json_reply
from app.api.schemas import DecisionRequest, read
from app.core.json_values import decode_json
from app.core.states import RUN_TERMINAL
from app.errors import Conflict
from app.store.approvals import same


async def _decide(call: Call, api: Api, *, approved: bool) -> ASGIApp:
    raw = await call.body()
    request = read(DecisionRequest, decode_json(raw) if raw else {})
    run, ref = await visible_run(call, api), ref_of(call)
    principal: Principal = call.principal
    node = await api.store.runs.node(run["id"], ref)
    if node["type"] != "approval":
        raise Conflict("This node is no approval.")
    if run["status"] in RUN_TERMINAL:
        first = (node.get("approval") or {}).get("decision")
        if first is None:
            raise Conflict(f"Its run is {run['status']}: no decision is waited for.", state=run["status"])
        decision = same(first, approved)
    else:
        decision = await api.store.approvals.decide(
            run["id"], ref, approved=approved, by=principal.id, comment=request.comment
        )
    return json_reply({"run": run["id"], "node": ref, "decision": decision}, 202)


async def approve_node(call: Call, api: Api) -> ASGIApp:
    """POST /runs/{run}/nodes/{node}/approve."""
    return await _decide(call, api, approved=True)


async def reject_node(call: Call, api: Api) -> ASGIApp:
    """POST /runs/{run}/nodes/{node}/reject."""
    return await _decide(call, api, approved=False)
