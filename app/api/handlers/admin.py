"""Node types, pools, keys, sessions and the audit."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError
from starlette.types import ASGIApp

from app.api.access import COOKIE, SESSION_SECONDS, Principal
from app.api.context import Api
from app.api.edge import same_origin
from app.api.http import Call, Header, empty_reply, json_reply
from app.api.moments import parse_since
from app.api.paging import sliced
from app.api.schemas import KeyRequest, NodeTypeRequest, SessionRequest, places, read
from app.core.nodetypes import NodeType, parse_ref
from app.core.round import iso
from app.core.schemas import check_schema
from app.errors import Forbidden, InvalidInput, NotFound, Place, Unauthorized

_ENTRY = re.compile(r"[0-9]{1,15}-[0-9]{1,15}")
"""The id of an entry of the audit."""


def _shown(node_type: NodeType) -> dict[str, Any]:
    return node_type.model_dump(mode="json", exclude={"command"})


async def list_node_types(call: Call, api: Api) -> ASGIApp:
    """GET /node-types: the newest version of each."""
    await api.catalogued.bring_in()
    found = await api.store.node_types.newest()
    return sliced(call, [_shown(each) for each in found])


async def get_node_type(call: Call, api: Api) -> ASGIApp:
    """GET /node-types/{name}, or {name}@{version}."""
    ref = parse_ref(call.params["name"])
    if ref is None:
        raise NotFound(f"There is no node type {call.params['name']}.")
    await api.catalogued.bring_in()
    return json_reply(_shown(await api.store.node_types.get(*ref)))


async def list_node_type_versions(call: Call, api: Api) -> ASGIApp:
    """GET /node-types/{name}/versions, the newest first."""
    await api.catalogued.bring_in()
    found = await api.store.node_types.versions(call.params["name"])
    return sliced(call, [_shown(each) for each in found])


async def put_node_type(call: Call, api: Api) -> ASGIApp:
    """PUT /node-types/{name}: a type that runs an image; a process command comes only from files on the
    server."""
    body = await call.object()
    if "command" in body:
        detail = "a process command comes only from manifest files on the server; give an image"
        raise InvalidInput(places=[Place("/command", detail)])
    principal: Principal = call.principal
    if principal.prefix:
        raise Forbidden("Node types are shared with workflows outside the key's prefix.")
    request = read(NodeTypeRequest, body)
    wrong = [
        *check_schema(request.config_schema, "/config_schema"),
        *check_schema(request.metadata_schema, "/metadata_schema"),
    ]
    if wrong:
        raise InvalidInput(places=wrong)
    try:
        fields = {"name": call.params["name"], "command": None, **request.model_dump(exclude_unset=True)}
        node_type, created = await api.store.node_types.put(fields)
    except ValidationError as error:
        raise InvalidInput(places=places(error)) from None
    place = (b"location", f"/api/v1/node-types/{node_type.name}".encode())
    return json_reply(_shown(node_type), 201 if created else 200, place)


async def list_keys(call: Call, api: Api) -> ASGIApp:
    """GET /keys. A key with a prefix sees, makes and revokes only keys inside it."""
    principal: Principal = call.principal
    found = await api.store.api_keys.list()
    items = [key.public() for key in found if principal.may_touch(key.prefix)]
    return sliced(call, items)


async def create_key(call: Call, api: Api) -> ASGIApp:
    """POST /keys: the key is shown this once."""
    request = read(KeyRequest, await call.object())
    principal: Principal = call.principal
    if not principal.may_touch(request.prefix):
        raise Forbidden("The new key's prefix is outside this key's prefix.")
    key, text = await api.store.api_keys.create(request.scopes, request.prefix, request.name)
    api.access.forget()
    place = (b"location", f"/api/v1/keys/{key.id}".encode())
    return json_reply(key.public() | {"key": text}, 201, place)


async def delete_key(call: Call, api: Api) -> ASGIApp:
    """DELETE /keys/{key}: it stops working, here at once and elsewhere within 5 s."""
    principal: Principal = call.principal
    key = await api.store.api_keys.get(call.params["key"])
    if key is not None and not principal.may_touch(key.prefix):
        raise Forbidden("That key is outside this key's prefix.")
    await api.store.api_keys.delete(call.params["key"])
    api.access.forget()
    return empty_reply()


async def create_session(call: Call, api: Api) -> ASGIApp:
    """POST /session {key}: the cookie of the UI."""
    if b"origin" in call.headers and not same_origin(call.headers):
        raise Forbidden("Sign in from a page of this server.")
    request = read(SessionRequest, await call.object())
    key = await api.access.verify_key(request.key)
    if key is None:
        raise Unauthorized("This is not a valid API key.")
    return json_reply(key.public(), 200, _cookie(call, api.access.session(key), SESSION_SECONDS))


async def delete_session(call: Call, api: Api) -> ASGIApp:
    """DELETE /session: forget the cookie."""
    return empty_reply(_cookie(call, "", 0))


def _cookie(call: Call, value: str, seconds: int) -> Header:
    secure = "; Secure" if call.scope.get("scheme") == "https" else ""
    text = f"{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    return (b"set-cookie", text.encode("latin-1"))


async def read_audit(call: Call, api: Api) -> ASGIApp:
    """GET /audit?key=&since=, the newest first. A key with a prefix sees what concerns its workflows, and its own."""
    principal: Principal = call.principal
    page = await api.store.audit.read(
        key=call.query.get("key", ""),
        since_ms=parse_since(call.query.get("since")) or 0,
        limit=call.number("limit", 100, 1, 1000),
        cursor=_cursor(call),
        prefix=principal.prefix,
        reader=principal.id,
    )
    return json_reply({**page, "items": [item | {"at": iso(item["at"])} for item in page["items"]]})


def _cursor(call: Call) -> str:
    cursor = call.query.get("cursor", "")
    if cursor and not _ENTRY.fullmatch(cursor):
        raise InvalidInput(places=[Place("/cursor", "this is not a cursor of this list")])
    return cursor


async def whoami(call: Call, api: Api) -> ASGIApp:
    """GET /session: who the caller is, for the UI."""
    principal = asdict(call.principal)
    return json_reply(principal | {"scopes": sorted(principal["scopes"])})
