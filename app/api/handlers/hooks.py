"""The hooks of a workflow: their URLs and, once, their secrets."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

from starlette.types import ASGIApp

from app.api.context import Api
from app.api.http import Call, empty_reply, json_reply
from app.api.paging import sliced
from app.api.schemas import HookRequest, read
from app.api.signatures import usable_secret
from app.core.expressions import find_expressions
from app.core.round import iso
from app.errors import ExpressionError, InvalidInput, Place
from app.store.hooks import Hook


def shown(call: Call, hook: Hook, *, with_secret: bool = False) -> dict[str, Any]:
    """A hook as it is shown; its secret only when it has just been made."""
    host = call.header(b"host") or "localhost"
    record: dict[str, Any] = {
        "id": hook.name,
        "name": hook.name,
        "url": f"{call.scope.get('scheme', 'http')}://{host}/hooks/{hook.token}",
        "signature": hook.signature,
        "declared": hook.declared,
        "params": hook.params,
        "created": iso(hook.created),
    }
    return record | {"secret": hook.secret} if with_secret else record


async def list_hooks(call: Call, api: Api) -> ASGIApp:
    """GET /workflows/{workflow}/hooks."""
    workflow = call.params["workflow"]
    head = await api.store.workflows.head(workflow)
    published = await api.published.version(workflow, head.version)
    items: list[dict[str, Any]] = []
    for hook in await api.store.hooks.list(workflow):
        webhook = published.webhooks.get(hook.name) if hook.declared else None
        items.append(shown(call, replace(hook, signature=webhook.signature) if webhook else hook))
    return sliced(call, items)


async def create_hook(call: Call, api: Api) -> ASGIApp:
    """POST /workflows/{workflow}/hooks."""
    request = read(HookRequest, await call.object())
    workflow = call.params["workflow"]
    await api.store.workflows.head(workflow)
    _check_template(request.params)
    if request.secret is not None and not usable_secret(request.signature, request.secret):
        raise InvalidInput(places=[Place("/secret", "whsec_ and base64 are expected with this signature")])
    hook = await api.store.hooks.add(
        workflow,
        request.name or f"hook-{secrets.token_hex(4)}",
        signature=request.signature,
        params=request.params,
        secret=request.secret,
    )
    place = (b"location", f"/api/v1/workflows/{workflow}/hooks".encode())
    return json_reply(shown(call, hook, with_secret=True), 201, place)


def _check_template(params: dict[str, Any] | None) -> None:
    """Refuse expressions that could never be evaluated, or that read what a hook does not have."""
    wrong: list[Place] = []
    for at, found in find_expressions(params, "/params"):
        try:
            if isinstance(found, ExpressionError):
                raise found
            found.compile()
        except ExpressionError as error:
            wrong.append(Place(at, error.message))
            continue
        if not found.roots <= {"event"}:
            wrong.append(Place(at, "only event can be read here"))
    if wrong:
        raise InvalidInput(places=wrong)


async def delete_hook(call: Call, api: Api) -> ASGIApp:
    """DELETE /workflows/{workflow}/hooks/{hook}."""
    await api.store.hooks.remove(call.params["workflow"], call.params["hook"])
    api.hooks.forget()
    return empty_reply()
