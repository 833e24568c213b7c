"""The store, composed: one connection pool, one coalescing pipeline, one object per noun."""

from __future__ import annotations

import secrets
from typing import Any, Self

from redis.exceptions import ResponseError

from app.core.tally import Tally
from app.objects import Objects
from app.settings import Settings
from app.store.admission import Admission
from app.store.api_keys import ApiKeys
from app.store.approvals import Approvals
from app.store.archive import ArchiveFiles
from app.store.archived import Archived
from app.store.audit import Audit
from app.store.calls import Calls
from app.store.circuits import Circuits
from app.store.client import Batcher, connect, translate
from app.store.concurrency import ConcurrencyKeys
from app.store.control import Control
from app.store.deadletters import DeadLetters
from app.store.engine import Engine
from app.store.events import Events
from app.store.graphs import Graphs
from app.store.hindrances import Hindrances
from app.store.history import History
from app.store.hooks import Hooks
from app.store.keys import GROUP, Keys
from app.store.ledger import Ledger
from app.store.mapitems import MapItems
from app.store.mending import Mending
from app.store.node_types import NodeTypes
from app.store.nodes import Nodes
from app.store.pools import Pools
from app.store.retention import Retention
from app.store.runs import Runs
from app.store.schedules import Schedules
from app.store.streams import SharedStream
from app.store.takeover import Takeover
from app.store.tallies import Tallies
from app.store.triggers import Triggers
from app.store.why import Why
from app.store.workers import Workers
from app.store.workflows import Workflows

DURABLE = {
    "appendonly": "yes",
    "appendfsync": "always",
    "maxmemory-policy": "noeviction",
    "no-appendfsync-on-rewrite": "no",
}
"""What a server must be set to for "accepted means on disk" to hold."""


class Store:
    """Everything that is kept. Open it with `await Store.open(settings)`, close it with `await store.close()`."""

    secret: bytes
    """Signs node tokens; made at the first start of an installation."""

    def __init__(self, settings: Settings) -> None:
        url = settings.redis_url.get_secret_value()
        self.raw = connect(url, settings.redis_timeout, raw=True)
        self.keys = Keys(settings.prefix)
        self.batcher = Batcher(url, settings.redis_timeout)
        lease_ms = round(settings.lease * 1000)
        self.graphs = Graphs(self.batcher, self.keys)
        self.control = Control(self.batcher, self.keys)
        self.concurrency = ConcurrencyKeys(self.batcher, self.keys)
        tally = Tally()
        self.tallies = Tallies(self.batcher, self.keys, tally)
        self.triggers = Triggers(
            self.batcher, self.keys, settings.trigger_backlog, self.concurrency.free, tally
        )
        self.dead_letters = DeadLetters(self.batcher, self.keys, settings.trigger_backlog)
        self.history = History(self.batcher, self.keys)
        self.archive = ArchiveFiles(Objects(settings.archive_uri)) if settings.archive_uri else None
        archived = Archived(self.archive) if self.archive is not None else None
        self.runs = Runs(self.batcher, self.keys, self.history, self.graphs.get, archived)
        self.ledger = Ledger(self.batcher, self.keys, self.history)
        self.retention = Retention(self.batcher, self.keys, self.history)
        self.approvals = Approvals(self.batcher, self.keys)
        self.map_items = MapItems(self.batcher, self.keys, self.history)
        self.nodes = Nodes(self.batcher, self.keys)
        self.events = Events(self.batcher, self.raw, self.keys, self.history, archived)
        pack_ms = round(settings.pack_after * 1000)
        self.admission = Admission(
            self.batcher, self.keys, self.graphs.get,
            global_slots=settings.global_slots, pool_slots=settings.pool_slots, lease_ms=lease_ms,
        )  # fmt: skip
        self.engine = Engine(
            self.batcher, self.keys, self.graphs.get, self.admission, pack_ms=pack_ms, tally=tally
        )
        self.pools = Pools(self.batcher, self.keys, self.admission, self.graphs.get)
        self.mending = Mending(self.batcher, self.keys, self.admission, self.graphs.get)
        self.calls = Calls(self.batcher, self.keys, lease_ms)
        self.circuits = Circuits(
            self.batcher, self.keys, settings.circuit_failures, round(settings.circuit_pause * 1000)
        )
        self.workers = Workers(self.batcher, self.keys, lease_ms)
        self.hindrances = Hindrances(self.batcher, self.keys)
        self.why = Why(
            self.batcher,
            self.keys,
            self.history,
            self.workers,
            self.graphs.get,
            self._findings,
            self.pools.place,
        )
        self.workflows = Workflows(self.batcher, self.keys)
        self.schedules = Schedules(self.batcher, self.keys, self.workflows, self.triggers)
        self.takeover = Takeover(
            self.batcher, self.keys, self.history, self.retention, self.workflows.document, self.graphs.get
        )
        self.node_types = NodeTypes(self.batcher, self.keys)
        self.hooks = Hooks(self.batcher, self.keys)
        self.api_keys = ApiKeys(self.batcher, self.keys)
        self.audit = Audit(self.batcher, self.keys)

    @classmethod
    async def open(cls, settings: Settings) -> Self:
        """Connect and make sure of the secret. Raises StoreUnavailable."""
        store = cls(settings)
        try:
            await store.batcher.call("SET", store.keys.secret, secrets.token_bytes(32), "NX")
            store.secret = await store.batcher.call("GET", store.keys.secret)
        except BaseException:
            await store.close()
            raise
        return store

    def stream(self, key: str, consumer: str, group: str = GROUP) -> SharedStream:
        mark = self.keys.reactivate if key == self.keys.active else None
        return SharedStream(self.raw, key, consumer, group, mark)

    async def health(self) -> dict[str, Any]:
        """{reachable, durable, findings: [text], pending_triggers}; never raises."""
        try:
            findings = await self._findings()
            depth = await self.batcher.call("XLEN", self.keys.triggers)
        except Exception as error:
            return {
                "reachable": False,
                "durable": False,
                "findings": [str(translate(error))],
                "pending_triggers": None,
            }
        return {"reachable": True, "durable": not findings, "findings": findings, "pending_triggers": depth}

    async def _findings(self) -> list[str]:
        """What is not durable about the server; CONFIG where it is open to us, else INFO."""
        found: dict[str, str] = {}
        for name in DURABLE:
            try:
                reply = await self.raw.execute_command("CONFIG", "GET", name)
            except ResponseError:
                return await self._findings_by_info()
            if reply:
                found[name] = reply[1].decode()
        return [f"{name} is {found[name]}, and must be {wish}" for name, wish in DURABLE.items()
                if name in found and found[name] != wish]  # fmt: skip

    async def _findings_by_info(self) -> list[str]:
        info: bytes = await self.batcher.call("INFO", "persistence")
        lines = dict(line.split(b":", 1) for line in info.split(b"\r\n") if b":" in line)
        findings = ["CONFIG is closed to this user: appendfsync could not be checked"]
        if lines.get(b"aof_enabled") != b"1":
            findings.append("appendonly is no, and must be yes")
        if lines.get(b"aof_last_write_status", b"ok") != b"ok":
            findings.append("the last write of the append-only file failed")
        return findings

    async def uptime(self) -> int:
        """Seconds since the server started."""
        info: bytes = await self.batcher.call("INFO", "server")
        return next(int(line[18:]) for line in info.split(b"\r\n") if line.startswith(b"uptime_in_seconds:"))

    async def close(self) -> None:
        await self.events.close()
        await self.batcher.close()
        await self.raw.aclose()
