"""Pools: their slots, who holds them, who waits."""

from __future__ import annotations

import re

from starlette.types import ASGIApp

from app.api.access import Principal
from app.api.context import Api
from app.api.http import Call, json_reply
from app.api.paging import sliced
from app.api.schemas import PoolRequest, read
from app.core.pools import POOL_PATTERN, WORKFLOW
from app.errors import Forbidden, InvalidInput, NotFound, Place

_NAME = re.compile(POOL_PATTERN)


async def list_pools(call: Call, api: Api) -> ASGIApp:
    """GET /pools: slots and who holds them; a key with a prefix sees no holder outside it."""
    principal: Principal = call.principal
    return sliced(call, await api.store.pools.list(principal.prefix))


async def get_pool(call: Call, api: Api) -> ASGIApp:
    """GET /pools/{pool}."""
    principal: Principal = call.principal
    name = call.params["pool"]
    _visible(principal, name)
    return json_reply(await api.store.pools.get(name, principal.prefix))


async def put_pool(call: Call, api: Api) -> ASGIApp:
    """PUT /pools/{pool} {slots}: from now on. What holds more than that is left to end by itself."""
    principal: Principal = call.principal
    name = call.params["pool"]
    request = read(PoolRequest, await call.object())
    if not _NAME.fullmatch(name):
        detail = "a pool is called global, type:NAME, workflow:NAME, or like a pool in a workflow: pricing-db"
        raise InvalidInput(places=[Place("/name", detail)])
    if principal.prefix and not name.startswith(WORKFLOW + principal.prefix):
        raise Forbidden("This pool is shared with workflows outside the key's prefix.")
    created = await api.store.pools.put(name, request.slots)
    place = (b"location", f"/api/v1/pools/{name}".encode())
    return json_reply(await api.store.pools.get(name, principal.prefix), 201 if created else 200, place)


def _visible(principal: Principal, name: str) -> None:
    if name.startswith(WORKFLOW) and not principal.may_touch(name.removeprefix(WORKFLOW)):
        raise NotFound(f"There is no pool '{name}'.")
