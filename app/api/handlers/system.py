"""Probes, metrics, the OpenAPI document, its page, and the published schemas."""

from __future__ import annotations

import asyncio
import importlib.metadata

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.types import ASGIApp

from app.api import docs
from app.api.context import Api
from app.api.http import JSON_TYPE, Call, Reply, json_reply, text_reply
from app.core.nodetypes import NodeType
from app.core.pools import GLOBAL
from app.core.spec import workflow_schema
from app.errors import NotFound, Unavailable


async def livez(call: Call, api: Api) -> ASGIApp:
    """GET /livez: the process answers."""
    return text_reply("ok\n")


async def readyz(call: Call, api: Api) -> ASGIApp:
    """GET /readyz: 503 with the findings when Redis is away or would not keep what it acknowledges."""
    health = await api.store.health()
    return json_reply(health, 200 if health["reachable"] and health["durable"] else 503)


class _Snapshot(Collector):
    """Gauges that were gathered for one scrape."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        """The gauges."""
        return self._families


async def metrics(call: Call, api: Api) -> ASGIApp:
    """GET /metrics. Depths are asked for at each scrape, and what workers counted is taken over; the rest is told without Redis
    too."""
    registry = CollectorRegistry(auto_describe=False)
    api.tallied.add(api.store.tallies.own())
    for collector in (api.timings, _Snapshot(await _families(api)), api.tallied):
        registry.register(collector)
    body = await asyncio.to_thread(generate_latest, registry)
    return Reply(200, body, [(b"content-type", CONTENT_TYPE_LATEST.encode())])


async def _families(api: Api) -> list[Metric]:
    build = InfoMetricFamily("headrace_build", "The version that runs.", {"version": _version()})
    depth = GaugeMetricFamily("headrace_queue_depth", "Entries per queue.", labels=["queue"])
    slots = GaugeMetricFamily("headrace_pool_slots", "Slots of pools.", labels=["pool", "state"])
    try:
        for queue, entries in (await api.overview.depths()).items():
            depth.add_metric([queue], entries)
        used = await api.store.pools.used()
        for pool, total in (await api.store.pools.slots()).items():
            slots.add_metric([pool, "total"], total)
            slots.add_metric([pool, "used"], used.get(pool, 0))
        api.tallied.add(await api.store.tallies.take())
    except Unavailable:
        return [build]
    jobs = GaugeMetricFamily("headrace_jobs_active", "Node runs that hold a slot.", used.get(GLOBAL, 0))
    return [build, depth, slots, jobs]


def _version() -> str:
    return importlib.metadata.version("headrace")


async def openapi(call: Call, api: Api) -> ASGIApp:
    """GET /openapi.json."""
    return Reply(200, api.openapi, [JSON_TYPE])


async def docs_page(call: Call, api: Api) -> ASGIApp:
    """GET /docs: Swagger UI, offline."""
    return docs.page()


async def docs_asset(call: Call, api: Api) -> ASGIApp:
    """GET /docs/{asset}."""
    return docs.asset(call.params["asset"])


async def schema(call: Call, api: Api) -> ASGIApp:
    """GET /schemas/{name}: JSON Schema 2020-12."""
    match call.params["name"].removesuffix(".json"):
        case "workflow":
            found = workflow_schema()
        case "node-type":
            found = NodeType.model_json_schema()
        case _:
            raise NotFound("The schemas are workflow and node-type.")
    return json_reply(found)
