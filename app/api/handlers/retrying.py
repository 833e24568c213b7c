"""New runs made from ended ones: retry and fork, each with a preview of what runs and what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

from starlette.types import ASGIApp

from app.api.access import Principal
from app.api.context import Api
from app.api.handlers.runs import visible_run
from app.api.handlers.triggering import idempotency_key, told
from app.api.http import Call, json_reply
from app.api.paging import page
from app.api.protocol import bounded
from app.api.schemas import ForkRequest, RetryRequest, read
from app.core.expressions import Expression, find_expressions
from app.core.graph import Graph, Kind, NodeDef
from app.core.json_values import decode_json
from app.core.placement import check_placement
from app.core.retrying import Ask, Plan, Was
from app.core.secrets import check_secrets
from app.core.spec import parse_workflow
from app.core.states import RUN_TERMINAL
from app.core.validate import check
from app.errors import Conflict, InvalidInput, Place, RunNotFinished
from app.published import Published
from app.store.ids import new_trigger_ids
from app.store.takeover import Source
from app.store.triggers import Trigger

CONFIG_LIMIT = 64 << 10
"""Bytes of an edited config: it is read with the run whenever something of it is decided."""


async def retry_run(call: Call, api: Api) -> ASGIApp:
    """POST /runs/{run}/retry."""
    raw = await call.body()
    request = read(RetryRequest, decode_json(raw) if raw else {})
    return await _again(call, api, Ask(call.params["run"], "retry", request.from_), None)


async def fork_run(call: Call, api: Api) -> ASGIApp:
    """POST /runs/{run}/fork."""
    request = read(ForkRequest, decode_json(await call.body()))
    given = request.model_fields_set
    if "config" in given and "metadata" in given:
        detail = (
            "a node with given metadata does not run, so it has no use for a config; leave one of both out"
        )
        raise InvalidInput(places=[Place("/config", detail)])
    metadata = bounded(request.metadata, "/metadata") if "metadata" in given else None
    if request.config is not None:
        bounded(request.config, "/config", CONFIG_LIMIT)
    ask = Ask(call.params["run"], "fork", request.node, request.config, metadata)
    return await _again(call, api, ask, request.version)


async def _again(call: Call, api: Api, ask: Ask, version: int | None) -> ASGIApp:
    """The preview, or 202 once the trigger is durable. Raises NotFound, RunNotFinished, Conflict, InvalidInput."""
    dry = call.flag("dry_run")
    shown = await visible_run(call, api)
    key = None if dry else idempotency_key(call.header(b"idempotency-key"))
    principal: Principal = call.principal
    scope = f"{shown['workflow']}:{principal.id}" if key else None
    digest = sha256(call.scope["path"].encode() + b"\0" + await call.body()).hexdigest() if key else None
    first = await api.store.triggers.first(ask.by, scope, key, digest) if key and scope and digest else None
    if first is not None:
        return told(first)
    if shown["status"] not in RUN_TERMINAL:
        raise RunNotFinished(run=ask.of, run_status=shown["status"])
    source = await api.store.takeover.source(ask.of)
    published = await api.published.usable(source.workflow, version or source.version)
    graph = await api.store.graphs.get(published.name, published.version)
    planned = api.store.takeover.preview if dry else api.store.takeover.plan
    plan, was = await planned(source, graph, ask)
    await _check_edit(api, graph, ask)
    params = published.params(source.params)
    if dry:
        return _preview(call, graph, ask, plan, was)
    if plan.kept == len(graph.nodes) and ask.metadata is None:
        raise Conflict("Everything of this run ended well. To run it again ask for a node, or for all.")
    trigger = replace(_trigger(ask, source, published, params), scope=scope, key=key, digest=digest)
    ids = new_trigger_ids()
    if not await api.store.retention.pin(ask.of, ids[1]):
        raise Conflict(f"Run '{ask.of}' is being removed: its time to be kept is over.")
    return told(await api.store.triggers.accept(trigger, ids))


def _trigger(ask: Ask, source: Source, published: Published, params: dict[str, Any]) -> Trigger:
    via = {"via": source.via} if source.via else {}
    return Trigger(
        published.name, published.version, f"{ask.by}:{source.id}", params, labels=source.labels,
        priority=source.priority, event=source.event, origin={**ask.encode(), **via},
    )  # fmt: skip


def _preview(call: Call, graph: Graph, ask: Ask, plan: Plan, was: Mapping[str, Was]) -> ASGIApp:
    limit, cursor = page(call, 1000)
    start = int(cursor or 0)
    end = min(start + limit, len(graph.nodes))
    items = [_item(graph.nodes[position], plan, was) for position in range(start, end)]
    return json_reply(
        {
            "run": ask.of, "workflow": graph.workflow, "version": graph.version,
            "counts": {"run": len(graph.nodes) - plan.kept, "keep": plan.kept,
                       "failed_records": sum(plan.records.values())}, "items": items,
            "next_cursor": str(end) if end < len(graph.nodes) else None,
        }
    )  # fmt: skip


def _item(node: NodeDef, plan: Plan, was: Mapping[str, Was]) -> dict[str, Any]:
    """{name, action, status, why?, because?, items?, failed_records?}: the status is that of the ended run."""
    verdict, before = plan.verdicts[node.index], was.get(node.name)
    item: dict[str, Any] = {
        "name": node.name,
        "action": "keep" if verdict.again is None else "run",
        "status": str(before.status) if before is not None else None,
    }
    if verdict.again is not None:
        item["why"] = str(verdict.again)
    if verdict.because:
        item["because"] = verdict.because
    if node.name in plan.items and before is not None:
        item["items"] = {"count": before.count, "kept": before.ok - before.partly}
    if node.name in plan.records:
        item["failed_records"] = plan.records[node.name]
    return item


async def _check_edit(api: Api, graph: Graph, ask: Ask) -> None:
    """Raises InvalidInput where the node cannot be edited so."""
    if ask.config is None and ask.metadata is None:
        return
    node = graph.node(ask.at)
    if ask.metadata is not None and node.map is not None:
        raise InvalidInput(
            places=[Place("/metadata", "a map has no metadata but that of its items; fork a node")]
        )
    if ask.config is None:
        return
    if node.kind not in (Kind.TASK, Kind.SERVICE):
        raise InvalidInput(
            places=[Place("/config", f"{node.kind} nodes have no config that could be edited")]
        )
    known = {graph.nodes[index].name for index in (node.item_reads if node.map is not None else node.reads)}
    strange = [
        Place(
            f"/config{at}",
            f"the node does not read '{name}' in version {graph.version}; publish one that does",
        )
        for at, found in find_expressions(ask.config)
        if isinstance(found, Expression)
        for name in sorted(found.reads - known)
    ]
    if strange:
        raise InvalidInput(places=strange)
    document = await api.store.workflows.document(graph.workflow, graph.version)
    document["nodes"][ask.at]["config"] = ask.config
    catalog = await api.store.node_types.catalog()

    def judge() -> None:
        checked = check(parse_workflow(document), catalog)
        check_placement(checked, api.placement)
        if api.secret_rules is not None:
            check_secrets(checked, api.secret_rules)

    try:
        await asyncio.to_thread(judge)
    except InvalidInput as error:
        inside = f"/nodes/{ask.at}"
        places = [Place(place.pointer.removeprefix(inside), place.detail) for place in error.places]
        raise InvalidInput("The edited config is not valid.", places) from None
