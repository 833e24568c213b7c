"""The ways in: POST runs, POST hooks, POST events.

All end in one script of the store, and answer when it is durable.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.types import ASGIApp

from app.api.access import Principal
from app.api.context import Api
from app.api.http import JSON_TYPE, Call, Reply, json_reply
from app.api.schemas import RunRequest, read
from app.api.signatures import SECRET_HEADERS, delivery_key, verified
from app.core.cloudevents import header_attributes, read_events
from app.core.expressions import Template
from app.core.firing import why_dead
from app.core.json_values import decode_json
from app.errors import Conflict, ExpressionError, InvalidInput, NotFound, Place, Unauthorized
from app.published import Published, Webhook
from app.store.hooks import Hook
from app.store.triggers import Accepted, Trigger

_VISIBLE = re.compile(r"[\x21-\x7e]{1,255}")
_BAD_HOOK = "The hook does not exist, or the signature is not valid."


async def start_run(call: Call, api: Api) -> ASGIApp:
    """POST /workflows/{workflow}/runs."""
    raw = await call.body()
    request = read(RunRequest, decode_json(raw) if raw else {})
    key = idempotency_key(call.header(b"idempotency-key"))
    principal: Principal = call.principal
    name = call.params["workflow"]
    scope, digest = (f"{name}:{principal.id}", sha256(raw).hexdigest()) if key else (None, None)
    try:
        published = await api.published.usable(name, request.version)
        params = published.params(request.params)
    except (InvalidInput, Conflict):
        # the workflow may have changed since it was accepted: a repeat still gets the first answer
        first = (
            await api.store.triggers.first("api", scope, key, digest) if key and scope and digest else None
        )
        if first is None:
            raise
        return told(first)
    trigger = Trigger(
        workflow=published.name,
        version=published.version,
        source="api",
        params=params,
        labels=request.labels,
        priority=request.priority,
        scope=scope,
        key=key,
        digest=digest,
    )
    return told(await api.store.triggers.accept(trigger))


def told(accepted: Accepted) -> Reply:
    """202: the trigger is durable."""
    body = {"run": accepted.run, "receipt": accepted.receipt}
    place = f"/api/v1/runs/{accepted.run}" if accepted.run else f"/api/v1/triggers/{accepted.receipt}"
    return Reply(202, orjson.dumps(body), [JSON_TYPE, (b"location", place.encode())])


def idempotency_key(value: str | None) -> str | None:
    if value is not None and not _VISIBLE.fullmatch(value):
        detail = "1 to 255 visible ASCII characters are expected"
        raise InvalidInput("The Idempotency-Key is not valid.", [Place("", detail)])
    return value


async def receive_hook(call: Call, api: Api) -> ASGIApp:
    """POST /hooks/{token}. An unknown hook and a bad signature look the same."""
    raw = await call.body()
    hook = await api.hooks.find(call.params["token"])
    published, webhook = await _target(api, hook)
    secret = hook.secret if hook else "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    if not verified(webhook.signature, secret, raw, call.headers) or hook is None or published is None:
        raise Unauthorized(_BAD_HOOK)
    key = idempotency_key(delivery_key(webhook.signature, call.headers))
    event = {
        "body": decode_json(raw) if raw else None,
        "headers": _plain_headers(call),
        "query": _query(call),
    }
    params, dead = _params(published, webhook, event)
    trigger = Trigger(
        workflow=published.name,
        version=published.version,
        source=f"hook:{hook.name}",
        params=params,
        event=event,
        scope=f"hook:{hook.workflow}:{hook.name}" if key else None,
        key=key,
        digest=sha256(raw).hexdigest() if key else None,
        dead=dead,
    )
    accepted = await api.store.triggers.accept(trigger)
    receipt = {"receipt": accepted.receipt, "workflow": published.name, "run": accepted.run}
    return Reply(202, orjson.dumps({"receipts": [receipt]}), [JSON_TYPE])


async def receive_events(call: Call, api: Api) -> ASGIApp:
    """POST /events: CloudEvents, one or a batch. A repeat of an event gets the first one's receipts."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in call.headers.items()}
    events = read_events(call.header(b"content-type"), header_attributes(headers), await call.body())
    principal: Principal = call.principal
    receipts: list[dict[str, Any]] = []
    filtered: list[dict[str, Any]] = []
    for taken in await api.intake.take(events, principal.prefix):
        shown = {"workflow": taken.workflow, "trigger": taken.trigger, "event": taken.event}
        if taken.receipt is None:
            filtered.append(shown)
        else:
            receipts.append({"receipt": taken.receipt, "run": taken.run, "state": taken.state, **shown})
    return json_reply({"receipts": receipts, "filtered": filtered}, 202)


async def _target(api: Api, hook: Hook | None) -> tuple[Published | None, Webhook]:
    """The version and webhook a hook stands for; no version where the hook is unknown or out of use."""
    nothing = None, Webhook("standard", None)
    if hook is None:
        return nothing
    try:
        published = await api.published.current(hook.workflow)
    except (NotFound, Conflict):
        return nothing
    if not hook.declared:
        return published, Webhook(hook.signature, Template(hook.params) if hook.params is not None else None)
    webhook = published.webhooks.get(hook.name)
    return (published, webhook) if webhook is not None else nothing


def _params(
    published: Published, webhook: Webhook, event: dict[str, Any]
) -> tuple[dict[str, Any], str | None]:
    """The run's params, or none and why the trigger is dead."""
    try:
        given = event["body"] if webhook.params is None else webhook.params.render({"event": event})
        return published.params({} if given is None else given), None
    except (ExpressionError, InvalidInput) as error:
        return {}, why_dead(error)


def _plain_headers(call: Call) -> dict[str, str]:
    pairs = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in call.headers.items())
    return {name: value for name, value in pairs if name not in SECRET_HEADERS}


def _query(call: Call) -> dict[str, str]:
    return dict(parse_qsl(call.scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True))
