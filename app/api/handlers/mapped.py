"""The metadata of a map's items, page by page: for the nodes after the map, and for whoever may read the run."""

from __future__ import annotations

from starlette.types import ASGIApp

from app.api.context import Api
from app.api.handlers.nodes import definition
from app.api.handlers.runs import ref_of, visible_run
from app.api.http import Call
from app.api.paging import listed, page
from app.core.tokens import TokenClaims
from app.errors import Forbidden


async def list_metadata(call: Call, api: Api) -> ASGIApp:
    """GET /runs/{run}/nodes/{node}/items/metadata."""
    node = ref_of(call)
    if isinstance(call.principal, TokenClaims):
        run = call.params["run"]
        await _check_reader(api, call.principal, run, node)
    else:
        run = (await visible_run(call, api))["id"]
    limit, cursor = page(call, 1000)
    return listed(*await api.store.map_items.metadata(run, node, limit, cursor))


async def _check_reader(api: Api, claims: TokenClaims, run: str, node: str) -> None:
    """A node reads the maps before it: of its own run, or those that its run took over from an earlier one."""
    graph, reader = await definition(api, claims)
    before = {edge.node for edge in reader.needs} | reader.reads
    known = node in graph.index and graph.index[node] in before
    if not known or (
        run != claims.run and not await api.store.map_items.refers(claims.run, node, (run, node))
    ):
        raise Forbidden("This token belongs to a node that does not come after this map.")
