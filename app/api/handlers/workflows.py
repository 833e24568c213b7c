"""Workflows: publishing, reading, comparing, archiving, and what the editor saves beside them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

import orjson
from starlette.types import ASGIApp

from app.api.access import Principal
from app.api.bodies import decode_yaml
from app.api.context import Api
from app.api.difference import difference
from app.api.handlers.hooks import shown
from app.api.http import JSON_TYPE, Call, Header, Reply, empty_reply, json_reply
from app.api.paging import listed, page, sliced
from app.api.schemas import NAME
from app.core.json_values import decode_document
from app.core.placement import check_placement
from app.core.round import iso
from app.core.secrets import check_secrets
from app.core.spec import parse_workflow
from app.core.validate import check
from app.core.validate_pools import too_large
from app.errors import Forbidden, InvalidInput, MalformedInput, NotFound, Place, PreconditionFailed
from app.store.workflows import Head, etag_of

R = TypeVar("R")
_IN_THREAD = 64 << 10
"""Bytes of a body past which it is read and checked in a thread, so that the loop goes on."""
_YAML = {"application/yaml", "application/x-yaml", "text/yaml"}
_NAME = re.compile(NAME)
_COMPARE = re.compile(r"(\d{1,9})\.\.\.(\d{1,9})")


def head_json(head: Head) -> dict[str, Any]:
    """A head as it is shown: ISO times."""
    record = asdict(head) | {"created": iso(head.created), "updated": iso(head.updated)}
    record["archived"] = iso(head.archived) if head.archived is not None else None
    record["paused"] = iso(head.paused) if head.paused is not None else None
    return record


def _etag(value: str) -> Header:
    return (b"etag", f'"{value}"'.encode())


async def put_workflow(call: Call, api: Api) -> ASGIApp:
    """PUT /workflows/{workflow}: publish a version; with ?dry_run=true only check it."""
    name = call.params["workflow"]
    document = await _checked(call, api, name)
    pools = await _pools(api, document)
    principal: Principal = call.principal
    _inside_prefix(principal, document)
    if call.flag("dry_run"):
        return json_reply({"name": name, "valid": True, "etag": etag_of(document), "document": document})
    await api.store.pools.declare(pools)
    done = await api.store.workflows.publish(name, document, by=principal.id, if_match=_if_match(call))
    api.published.forget(name)
    api.listeners.forget()
    made = await api.store.hooks.declare(name, _webhooks(document))
    hooks = [shown(call, hook, with_secret=True) for hook in made]
    body = {"name": name, "version": done.version, "etag": done.etag, "hooks": hooks}
    place = (b"location", f"/api/v1/workflows/{name}".encode())
    return json_reply(body, 201 if done.created else 200, _etag(done.etag), place)


def _inside_prefix(principal: Principal, document: dict[str, Any]) -> None:
    """A key may start, and learn of the ends of, runs of its own workflows only; be it by a document. Raises Forbidden."""
    children = (node["workflow"] for node in document["nodes"].values() if "workflow" in node)
    names = [child if isinstance(child, str) else child["name"] for child in children]
    names += [trigger["run"]["workflow"] for trigger in document.get("triggers") or () if "run" in trigger]
    outside = next((name for name in names if not principal.may_touch(name)), None)
    if outside is not None:
        raise Forbidden(f"The workflow '{outside}', which the document names, is outside the key's prefix.")


async def _pools(api: Api, document: dict[str, Any]) -> list[str]:
    """The pools that a workflow lists. Raises InvalidInput where it asks for more than one of them has."""
    known = (
        await api.store.pools.slots() if any("pools" in node for node in document["nodes"].values()) else {}
    )
    wrong, names = too_large(document, lambda pool: known.get(pool, api.settings.pool_slots))
    if wrong:
        raise InvalidInput("the workflow is not valid", wrong)
    return names


async def _checked(call: Call, api: Api, name: str) -> dict[str, Any]:
    """The body as a canonical document with its node types pinned. Raises InvalidInput with every place."""
    raw = await call.body()
    content_type = (call.header(b"content-type") or "").partition(";")[0].strip().lower()
    yaml = content_type in _YAML
    decode = decode_yaml if yaml else _json
    workflow = await _heavy(_IN_THREAD if yaml else len(raw), lambda: parse_workflow(decode(raw)))
    if workflow.name != name:
        raise InvalidInput(
            places=[Place("/name", f"the name in the document must be the one in the path, {name}")]
        )
    await api.catalogued.bring_in()
    node_types = await api.store.node_types.catalog()

    def judge() -> dict[str, Any]:
        checked = check(workflow, node_types)
        check_placement(checked, api.placement)
        if api.secret_rules is not None:
            check_secrets(checked, api.secret_rules)
        return checked.canonical()

    return await _heavy(len(raw), judge)


def _json(raw: bytes) -> Any:
    """A JSON document. Raises MalformedInput, that says how YAML is sent, or InvalidInput."""
    try:
        return decode_document(raw)
    except MalformedInput as error:
        if raw.lstrip()[:1] in (b"{", b"[", b'"', b""):
            raise
        hint = "YAML is sent with the content type application/yaml."
        raise MalformedInput(f"{error.message} {hint}") from None


async def _heavy(size: int, work: Callable[[], R]) -> R:
    return await asyncio.to_thread(work) if size >= _IN_THREAD else work()


def _if_match(call: Call) -> str:
    match, none = call.header(b"if-match"), call.header(b"if-none-match")
    if none is not None:
        if none.strip() != "*" or match is not None:
            raise PreconditionFailed("Only If-None-Match: * is understood here.")
        return "-"
    if match is None:
        return ""
    value = match.strip().removeprefix("W/").strip('"')
    if not value:
        raise PreconditionFailed("The If-Match header is empty.")
    return value if value != "-" else "?"


def _webhooks(document: dict[str, Any]) -> list[tuple[str, str]]:
    triggers: list[dict[str, Any]] = document.get("triggers") or []
    webhooks = [trigger["webhook"] for trigger in triggers if trigger.get("webhook")]
    return [(webhook["name"], webhook.get("signature", "standard")) for webhook in webhooks]


async def list_workflows(call: Call, api: Api) -> ASGIApp:
    """GET /workflows."""
    principal: Principal = call.principal
    limit, after = page(call, cursors=_NAME)
    heads, cursor = await api.store.workflows.list(
        prefix=principal.prefix, archived=call.flag("archived"), limit=limit, cursor=after or ""
    )
    return listed([head_json(head) for head in heads], cursor)


async def get_workflow(call: Call, api: Api) -> ASGIApp:
    """GET /workflows/{workflow}: the head, the current document, and when its schedules fire next."""
    head = await api.store.workflows.head(call.params["workflow"])
    schedules = await api.store.schedules.coming(head.name, await api.store.workers.now())
    return await _version_reply(api, head, head.version, {"schedules": schedules})


async def _version_reply(
    api: Api, head: Head, version: int, more: Mapping[str, Any] | None = None
) -> ASGIApp:
    etag = (await api.store.workflows.interface(head.name, version)).etag
    document = await api.store.workflows.document_bytes(head.name, version)
    body = head_json(head) | {"version": version, "etag": etag, "document": orjson.Fragment(document)}
    body |= more or {}
    return json_reply(body, 200, _etag(etag))


async def list_versions(call: Call, api: Api) -> ASGIApp:
    """GET /workflows/{workflow}/versions, the newest first."""
    infos = await api.store.workflows.versions(call.params["workflow"])
    return sliced(call, [asdict(i) | {"created": iso(i.created)} for i in infos])


async def get_version(call: Call, api: Api) -> ASGIApp:
    """GET /workflows/{workflow}/versions/{n}, or {a}...{b} for what differs between two."""
    name, which = call.params["workflow"], call.params["version"]
    compared = _COMPARE.fullmatch(which)
    if compared:
        old, new = [await api.store.workflows.document(name, int(number)) for number in compared.groups()]
        changes = await asyncio.to_thread(difference, old, new)
        return json_reply({"from": int(compared[1]), "to": int(compared[2]), "changes": changes})
    if not (which.isascii() and which.isdigit() and len(which) < 10):
        raise NotFound("A version is a number, or two with ... between them.")
    head = await api.store.workflows.head(name)
    return await _version_reply(api, head, int(which))


async def archive_workflow(call: Call, api: Api) -> ASGIApp:
    """DELETE /workflows/{workflow}: out of use; versions and runs stay."""
    await api.store.workflows.archive(call.params["workflow"])
    api.published.forget(call.params["workflow"])
    api.listeners.forget()
    return empty_reply()


async def get_draft(call: Call, api: Api) -> ASGIApp:
    """GET /workflows/{workflow}/draft."""
    return _stored(await api.store.workflows.draft(call.params["workflow"]))


async def put_draft(call: Call, api: Api) -> ASGIApp:
    """PUT /workflows/{workflow}/draft: any object, valid or not."""
    draft = await call.object()
    await api.store.workflows.save_draft(call.params["workflow"], orjson.dumps(draft))
    return json_reply({"etag": etag_of(draft)}, 200, _etag(etag_of(draft)))


async def get_layout(call: Call, api: Api) -> ASGIApp:
    """GET /workflows/{workflow}/layout."""
    return _stored(await api.store.workflows.layout(call.params["workflow"]))


async def put_layout(call: Call, api: Api) -> ASGIApp:
    """PUT /workflows/{workflow}/layout: positions on the canvas."""
    layout = await call.object()
    await api.store.workflows.save_layout(call.params["workflow"], orjson.dumps(layout))
    return json_reply({"etag": etag_of(layout)}, 200, _etag(etag_of(layout)))


def _stored(raw: bytes) -> ASGIApp:
    return Reply(200, raw, [JSON_TYPE, _etag(etag_of(orjson.loads(raw)))])
