"""The node protocol: start, checkpoints, records, heartbeat, fail (DESIGN 7). Opened by node tokens only."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import ASGIApp

from app.api.context import Api
from app.api.http import JSON_TYPE, Call, Reply, json_reply
from app.api.paging import page
from app.api.protocol import (
    CheckpointRequest,
    FailRequest,
    HeartbeatRequest,
    RecordsRequest,
    StartRequest,
    step_reports,
)
from app.api.schemas import read
from app.core.graph import Graph, NodeDef
from app.core.json_values import decode_json
from app.core.tokens import TokenClaims
from app.errors import NotFound, StepConflict
from app.store.nodes import NodeCall, Started

_GO_ON = Reply(200, b'{"cancel":false}', [JSON_TYPE])
_STOP = Reply(200, b'{"cancel":true}', [JSON_TYPE])
HEARTBEATS_PER_TIMEOUT = 4
_SHORTEST, _LONGEST = 0.2, 15.0
"""Seconds between heartbeats that are asked for."""


def _call(claims: TokenClaims) -> NodeCall:
    return NodeCall(claims.run, claims.ref, claims.attempt)


async def definition(api: Api, claims: TokenClaims) -> tuple[Graph, NodeDef]:
    graph = await api.store.graphs.get(claims.workflow, claims.version)
    index = graph.index.get(claims.ref.partition(":")[0])
    if index is None:
        raise NotFound("There is no such node.")
    return graph, graph.nodes[index]


async def start(call: Call, api: Api) -> ASGIApp:
    """POST .../start: the attempt goes to this instance."""
    request = read(StartRequest, decode_json(await call.body()))
    claims: TokenClaims = call.principal
    graph, node = await definition(api, claims)
    upstream = [graph.nodes[edge.node].name for edge in node.needs]
    heartbeat_ms, run_ms = node.timeouts.heartbeat_ms, node.timeouts.run_ms
    started = await api.store.nodes.start(
        _call(claims), request.instance, min(heartbeat_ms, run_ms), upstream
    )
    body = _start_body(claims, node, started, heartbeat_ms)
    if started.redo is not None:
        found = await api.store.ledger.told(started.redo, claims.ref)
        body["redo"] = found and {**found, "href": f"{_base(claims)}/redo"}
    return json_reply(body)


def _base(claims: TokenClaims) -> str:
    name, _, index = claims.ref.partition(":")
    return f"/api/v1/runs/{claims.run}/nodes/{name}{f'/items/{index}' if index else ''}"


async def list_redo(call: Call, api: Api) -> ASGIApp:
    """GET .../redo: the ledger of the earlier run."""
    claims: TokenClaims = call.principal
    earlier = await api.store.ledger.redone(claims.run, claims.ref)
    if earlier is None:
        raise NotFound("This node run does its whole stream.")
    limit, cursor = page(call)
    items, after = await api.store.ledger.page(
        earlier, claims.ref, limit, int((cursor or "0").partition(".")[0])
    )
    return json_reply({"items": items, "next_cursor": after})


def _start_body(claims: TokenClaims, node: NodeDef, started: Started, heartbeat_ms: int) -> dict[str, Any]:
    index = claims.ref.partition(":")[2]
    inputs = f"{_base(claims)}/inputs"
    body: dict[str, Any] = {
        "epoch": started.epoch,
        "attempt": started.attempt,
        "config": started.config if started.config is not None else node.config.render({}),
        "inputs": started.told(lambda upstream: f"{inputs}/{upstream}"),
        "checkpoint": {
            "step": started.step,
            "seq": started.seq,
            "data": started.data,
            "metadata": started.metadata,
        },
        "tolerate": node.tolerate,
        "heartbeat": min(max(heartbeat_ms / 1000 / HEARTBEATS_PER_TIMEOUT, _SHORTEST), _LONGEST),
        "type": node.type,
        "redo": None,
    }
    return body | {"item": started.item, "index": int(index)} if index else body


async def get_input(call: Call, api: Api) -> ASGIApp:
    """GET .../inputs/{upstream}: the metadata of one upstream node."""
    claims: TokenClaims = call.principal
    graph, node = await definition(api, claims)
    name = call.params["upstream"]
    if name not in {graph.nodes[edge.node].name for edge in node.needs}:
        raise NotFound("There is no such upstream node.")
    upstream = await api.store.runs.node(claims.run, name)
    return json_reply(upstream.get("metadata"))


async def checkpoint(call: Call, api: Api) -> ASGIApp:
    """POST .../checkpoints."""
    request = read(CheckpointRequest, decode_json(await call.body()))
    claims: TokenClaims = call.principal
    try:
        cancel = await api.store.nodes.checkpoint(_call(claims), request.epoch, step_reports(request.steps))
    except StepConflict as error:
        if error.extra.get("differs"):
            await _audit_conflict(call, api, claims)
        raise
    return _STOP if cancel else _GO_ON


async def _audit_conflict(call: Call, api: Api, claims: TokenClaims) -> None:
    """A step recorded twice with different content means that two programs believe they are this attempt."""
    write = api.store.audit.write(
        key=f"node:{claims.run}",
        action="POST checkpoints",
        target=call.scope["path"],
        workflow=claims.workflow,
        outcome="conflict",
    )
    await asyncio.gather(write, return_exceptions=True)


async def records(call: Call, api: Api) -> ASGIApp:
    """POST .../records: failed records for the ledger."""
    request = read(RecordsRequest, decode_json(await call.body()))
    claims: TokenClaims = call.principal
    failed = [record.model_dump(exclude_none=True) for record in request.failed]
    count = await api.store.nodes.records(_call(claims), request.epoch, failed, request.from_)
    return json_reply({"count": count})


async def heartbeat(call: Call, api: Api) -> ASGIApp:
    """POST .../heartbeat."""
    request = read(HeartbeatRequest, decode_json(await call.body()))
    return _STOP if await api.store.nodes.heartbeat(_call(call.principal), request.epoch) else _GO_ON


async def fail(call: Call, api: Api) -> ASGIApp:
    """POST .../fail: the attempt failed by its own word."""
    request = read(FailRequest, decode_json(await call.body()))
    await api.store.nodes.fail(
        _call(call.principal), request.epoch, request.type, request.message, request.retryable
    )
    return json_reply({})
