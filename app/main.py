"""The composition root of the API: settings in, an ASGI application out.

uvicorn --factory app.main:create_app
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence

import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from app import logsetup
from app.api.context import Api
from app.api.edge import BodyLimit, Edge, allowed_hosts
from app.api.openapi import document
from app.api.pages import Pages
from app.api.routes import ROUTES
from app.api.table import API, Table
from app.api.timings import Timings
from app.core.placement import Placement
from app.joblogs import check_shared
from app.nodetypes_files import Catalogued, NodeTypeFiles
from app.settings import Settings
from app.store.store import Store

log = structlog.get_logger("headrace.api")

MAX_BODY = 1 << 20
MAX_WORKFLOW_BODY = 16 << 20


def create_app(settings: Settings | None = None, *, extra_routes: Sequence[BaseRoute] = ()) -> Starlette:
    """The API. The store is opened when the application starts and closed when it ends.

    `extra_routes` are served behind the same middlewares; for benchmarks. Raises UsageError for settings that make no sense.
    """
    chosen = settings or Settings()
    logsetup.configure(chosen)
    check_shared(chosen)
    timings = Timings()
    table = Table(ROUTES, Pages())

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        files = NodeTypeFiles.load(chosen)
        placement = Placement.parse(chosen.executors, chosen.image_allow, files.placed(chosen.nodes_image))
        store = await Store.open(chosen)
        try:
            catalogued = Catalogued(files, store.node_types.install)
            await _prepare(store, chosen, catalogued)
            table.serve(Api.over(store, chosen, timings, document(ROUTES), placement, catalogued))
            yield
        finally:
            await store.close()

    hosts = allowed_hosts(chosen.api_url, chosen.host, extra=chosen.allowed_hosts)
    return Starlette(
        routes=[*extra_routes, table],
        lifespan=lifespan,
        middleware=[
            Middleware(Edge, hosts=hosts, timings=timings),
            Middleware(
                BodyLimit, default=MAX_BODY, large=MAX_WORKFLOW_BODY, large_prefix=f"{API}/workflows/"
            ),
        ],
    )


async def _prepare(store: Store, settings: Settings, catalogued: Catalogued) -> None:
    """What must be there before it can serve: the bootstrap key, the node types of the manifests."""
    key = settings.bootstrap_key.get_secret_value()
    if key:
        await store.api_keys.install(key)
    await catalogued.bring_in()
    health = await store.health()
    if not health["durable"]:
        log.warning(
            "the store is not durable: what is answered with 202 may be lost", findings=health["findings"]
        )
