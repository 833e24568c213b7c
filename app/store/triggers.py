"""Triggers and their receipts: accepted durably before anything acts on them (M9, B1)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from app.core.concurrency import NO_LIMIT, Limit, rank
from app.core.round import iso
from app.core.signals import Signal, SignalKind, encode
from app.core.states import RunStatus
from app.core.tally import Tally
from app.core.view import DEFAULT_PRIORITY
from app.errors import Backpressure, IdempotencyConflict, NotFound
from app.store.client import Batcher, Script, scan_place
from app.store.ids import new_trigger_ids
from app.store.keys import GROUP, Keys

ACCEPT = Script("accept")
START_RUN = Script("start_run")
BURY = Script("bury_trigger")
REFUSE_CHILD = Script("refuse_child")

DEDUPE_MS = 24 * 3600 * 1000
ANY_DEPTH = 1 << 53
MOST_REFUSED = 10_000
KEPT_BYTES = 16 << 10
RECEIPT_MS = 30 * 24 * 3600 * 1000
ENTRY_VERSION = b"1"
"""Version of a trigger's entry."""
ENTRY_TAKES_OVER = b"2"
"""That of one whose run keeps node runs of an earlier one: a release that does not know it gives it back."""
ENTRY_FROM_RUN = b"3"
"""That of a child run's trigger, and of the end of a run that run triggers wait for."""
ENTRY_VERSIONS = frozenset({ENTRY_VERSION, ENTRY_TAKES_OVER, ENTRY_FROM_RUN})
"""Those that this release reads."""

_BEGIN = encode(Signal(SignalKind.BEGIN))
_CANCEL = encode(Signal(SignalKind.CANCEL))


class Mark(NamedTuple):
    """How far a source has come: what is at or before its mark is accepted once and never again."""

    key: str
    field: str
    at: int


@dataclass(slots=True, frozen=True)
class Trigger:
    """What fires one run of one workflow."""

    workflow: str
    version: int
    source: str
    """Where it came from: api, hook:NAME, ..."""
    params: Mapping[str, Any]
    labels: Mapping[str, str] = field(default_factory=dict)
    priority: int = DEFAULT_PRIORITY
    event: Any = None
    scope: str | None = None
    """With `key`: the sender's idempotency key holds within this scope for 24 h; where `via` says that it was no sender but the
    end of a run, as long as the receipt."""
    key: str | None = None
    digest: str | None = None
    """SHA-256 of the body (hex); the same key with another one is a conflict."""
    origin: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What its run comes from: the members of `up`."""
    dead: str | None = None
    """Why it cannot become a run: it is accepted with a receipt that says so."""
    filtered: str | None = None
    """Why it is not wanted: accepted with a receipt that says so."""
    mark: Mark | None = None
    """In place of `key`: where the source's mark moves to."""
    rejected: str | None = None
    """Why it must not become a run: as `dead`, but a rule says so and nobody can mend it."""
    via: Sequence[str] = ()
    """The workflows on the way to it, where another run fired it; such a trigger does not count against the backlog."""

    @property
    def refused(self) -> tuple[str, str | None]:
        """The state of its receipt, and why it does not become a run; None where it does."""
        if self.dead is not None:
            return "dead", self.dead
        if self.rejected is not None:
            return "rejected", self.rejected
        return ("queued", None) if self.filtered is None else ("filtered", self.filtered)


@dataclass(slots=True)
class Accepted:
    receipt: str
    run: str | None
    state: str
    """queued, filtered or dead."""
    repeated: bool
    """The key was used before: receipt and run are the first ones. A mark that was passed has no receipt."""


@dataclass(slots=True, frozen=True)
class QueuedTrigger:
    """A trigger as a worker reads it back."""

    entry: str
    receipt: str
    run: str
    workflow: str
    version: int
    payload: bytes
    record: dict[str, Any]

    @property
    def is_child(self) -> bool:
        """Whether a node run waits for its run."""
        return "r" in self.record.get("up", {})


class Placed(StrEnum):
    """What became of a trigger."""

    STARTED = "started"
    WAITS = "waits"
    """Its run waits for a place of its concurrency key, or for its workflow, which is paused."""
    REJECTED = "rejected"
    KNOWN = "known"
    """It was a run, rejected or buried before."""


class Triggers:
    def __init__(
        self,
        batcher: Batcher,
        keys: Keys,
        backlog: int,
        free: Callable[[str, str], Awaitable[None]] | None = None,
        tally: Tally | None = None,
    ) -> None:
        self._batcher = batcher
        self._keys = keys
        self._backlog = backlog
        self._free = free
        """Takes back the places of a workflow and the digest of its key whose runs are over."""
        self._tally = tally or Tally()

    async def accept(self, trigger: Trigger, ids: tuple[str, str] | None = None) -> Accepted:
        """Store it durably, and count it; returns when it is. `ids` are those of new_trigger_ids(), where the caller needs them
        before.

        Raises IdempotencyConflict, Backpressure, StoreUnavailable.
        """
        accepted = await self._accept(trigger, ids)
        self._tally.trigger(trigger.source, "duplicate" if accepted.repeated else accepted.state)
        return accepted

    def unwanted(self, source: str) -> None:
        """Count a trigger that a condition filtered and that has no receipt."""
        self._tally.trigger(source, "filtered")

    async def _accept(self, trigger: Trigger, ids: tuple[str, str] | None) -> Accepted:
        receipt, run = ids or new_trigger_ids()
        origin = {**trigger.origin, "via": trigger.via} if trigger.via else trigger.origin
        payload = orjson.dumps(
            {"w": trigger.workflow, "v": trigger.version, "r": run, "p": trigger.params, "l": trigger.labels,
             "y": trigger.priority, "src": trigger.source, "ev": trigger.event,
             **({"up": origin} if origin else {})}
        )  # fmt: skip
        keys = [self._keys.triggers, self._keys.receipt(receipt)]
        if trigger.key is not None:
            keys.append(self._keys.dedupe(trigger.scope or "", trigger.key))
        mark: tuple[str | int, ...] = ()
        if trigger.mark is not None:
            keys.append(trigger.mark.key)
            mark = trigger.mark.field, trigger.mark.at
        state, refused = trigger.refused
        depth, dedupe_ms = (ANY_DEPTH, RECEIPT_MS) if trigger.via else (self._backlog, DEDUPE_MS)
        reply = await self._batcher.script(
            ACCEPT, keys,
            (depth, payload, receipt, run if refused is None else "", trigger.workflow, trigger.source,
             trigger.digest or "-", dedupe_ms, RECEIPT_MS, state, refused or "", trigger.version,
             ENTRY_TAKES_OVER if "of" in trigger.origin else ENTRY_VERSION, *mark),
            receipt,
        )  # fmt: skip
        match reply[0]:
            case b"ok":
                return Accepted(receipt, run if refused is None else None, state, False)
            case b"repeat":
                return await self._repeated(reply[1].decode(), reply[2].decode())
            case b"passed":
                return Accepted("", None, "duplicate", True)
            case b"conflict":
                raise IdempotencyConflict
            case _:
                raise Backpressure(retry_after=5)

    async def first(self, source: str, scope: str, key: str, digest: str) -> Accepted | None:
        """What the first use of an idempotency key was answered, or None; then a trigger from `source` was a repeat, and
        counts as one. Raises IdempotencyConflict."""
        raw: bytes | None = await self._batcher.call("GET", self._keys.dedupe(scope, key))
        if raw is None:
            return None
        receipt, run, known = raw.decode().split(" ")
        if known != digest:
            raise IdempotencyConflict
        self._tally.trigger(source, "duplicate")
        return await self._repeated(receipt, run)

    async def _repeated(self, receipt: str, run: str) -> Accepted:
        """What the sender of a repeat gets: the first receipt and its run, which one that was dead has once it is redriven."""
        if not run:
            run = (await self._batcher.call("HGET", self._keys.receipt(receipt), "r") or b"").decode()
        return Accepted(receipt, run or None, "queued" if run else "dead", True)

    async def get(self, receipt: str) -> dict[str, Any]:
        """{id, state, source, workflow, run, reason, created}. Raises NotFound."""
        values = await self._batcher.call(
            "HMGET", self._keys.receipt(receipt), "s", "src", "w", "r", "x", "c"
        )
        found = _receipt(receipt, values)
        if found is None:
            raise NotFound(f"There is no trigger '{receipt}'.")
        return found

    async def list(
        self, state: str | None, limit: int, cursor: str | None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Receipts in no particular order; a page may hold fewer than `limit`. `cursor` is the last page's."""
        (position, given), found = scan_place(cursor), list[dict[str, Any]]()
        pattern = self._keys.receipt("*")
        for _ in range(20):
            reply = await self._batcher.call("SCAN", position, "MATCH", pattern, "COUNT", 500)
            ids = sorted(name.decode().rsplit(":", 1)[1] for name in reply[1])
            for at, record in enumerate(await self._records(ids[given:]), given + 1):
                if record is not None and (state is None or record["state"] == state):
                    found.append(record)
                if len(found) == limit and at < len(ids):
                    return found, f"{position}.{at}"
            position, given = reply[0].decode(), 0
            if position == "0" or len(found) == limit:
                break
        return found, None if position == "0" else position

    async def _records(self, receipts: Sequence[str]) -> Sequence[dict[str, Any] | None]:
        fields = ("s", "src", "w", "r", "x", "c")
        calls = [self._batcher.call("HMGET", self._keys.receipt(each), *fields) for each in receipts]
        return [_receipt(each, await call) for each, call in zip(receipts, calls, strict=True)]

    async def start_run(self, trigger: QueuedTrigger, nodes: int, limit: Limit | None = None) -> bool:
        """Make the run of a queued trigger, once; acknowledges the entry. True when it was not there before."""
        return await self.place_run(trigger, nodes, limit) is not Placed.KNOWN

    async def place_run(
        self, trigger: QueuedTrigger, nodes: int, limit: Limit | None, kept: int = 0, *, nested: bool = False
    ) -> Placed:
        """The same, and what became of it. So many of its nodes are `kept` of an earlier run, and there already.

        It is rejected only where the places were looked at and all are held by runs that go on: what an older worker
        lost would else reject for ever. A child run that is rejected is left in the queue: `refuse_child` then. One
        that is `nested` has a run above it that holds a place of its key: it is rejected where it would wait for one.
        """
        keys, run, digest = self._keys, trigger.run, limit.digest if limit else NO_LIMIT
        fields = _fields(trigger, nodes, kept, limit)
        event = orjson.dumps({"type": "run", "from": None, "to": RunStatus.QUEUED, "at": None})
        most = -1 if limit is None else limit.max if nested else limit.most
        names = [keys.triggers, keys.receipt(trigger.receipt), keys.run(run), keys.inbox(run), keys.active,
                 keys.events(run), keys.runs, keys.workflow_runs(trigger.workflow),
                 *self._place_of(trigger.workflow, digest)]  # fmt: skip

        async def place(refusal: str) -> Placed:
            args = [GROUP, trigger.entry, run, _BEGIN, event, _CANCEL, trigger.workflow, digest,
                    limit.max if limit else 0, most, rank(trigger.record.get("y", 3), 0), refusal,
                    len(fields) // 2, *fields]  # fmt: skip
            return Placed((await self._batcher.script(START_RUN, names, args, run)).decode())

        placed = await place("")
        if placed is Placed.REJECTED and limit is not None:
            if self._free is not None:
                await self._free(trigger.workflow, digest)
            placed = await place("" if trigger.is_child else limit.refusal)
        return placed

    def _place_of(self, workflow: str, digest: str) -> list[str]:
        keys = self._keys
        return [keys.workflow(workflow), keys.limited, keys.waiting_keys(workflow),
                keys.concurrency(workflow, digest), keys.concurrency_queue(workflow, digest)]  # fmt: skip

    async def refuse_child(
        self, trigger: QueuedTrigger, kind: str, reason: str, *, retryable: bool = False
    ) -> None:
        """A child run cannot be started: its receipt says why, and the node run that waits for it fails with `kind`."""
        keys, up = self._keys, trigger.record["up"]
        signal = Signal(
            SignalKind.CHILD, up["n"], attempt=up["a"], type=kind, message=reason, retryable=retryable
        )
        receipt, run, inbox = keys.receipt(trigger.receipt), keys.run(up["r"]), keys.inbox(up["r"])
        names = [keys.triggers, receipt, run, inbox, keys.active]
        args = [GROUP, trigger.entry, reason, up["r"], encode(signal)]
        await self._batcher.script(REFUSE_CHILD, names, args)

    async def bury(self, entry: str, receipt: str, payload: bytes, reason: str) -> None:
        """Make a trigger that cannot be started a dead letter."""
        keys = [self._keys.triggers, self._keys.dead, self._keys.receipt(receipt)]
        await self._batcher.script(BURY, keys, [GROUP, entry, receipt, payload, reason])

    async def keep_message(self, place: str, reason: str, body: bytes) -> None:
        """Keep a message of a listener that is no event, as one of the last MOST_REFUSED, its first KEPT_BYTES."""
        fields = ("id", place, "reason", reason, "d", body[:KEPT_BYTES])
        await self._batcher.call("XADD", self._keys.refused, "MAXLEN", "~", MOST_REFUSED, "*", *fields)


def _fields(trigger: QueuedTrigger, nodes: int, kept: int, limit: Limit | None) -> list[str | int | bytes]:
    """Those of the run that a trigger becomes."""
    record = trigger.record
    fields: list[str | int | bytes] = [
        "s", RunStatus.QUEUED, "w", trigger.workflow, "v", trigger.version, "p", orjson.dumps(record["p"]),
        "n", nodes, "d", kept, "f", 0, "k", 0, "t", trigger.receipt, "src", record["src"],
    ]  # fmt: skip
    if record.get("y", DEFAULT_PRIORITY) != DEFAULT_PRIORITY:
        fields += ["y", record["y"]]
    if record.get("l"):
        fields += ["l", orjson.dumps(record["l"])]
    if record.get("ev") is not None:
        fields += ["ev", orjson.dumps(record["ev"])]
    if record.get("up"):
        fields += ["up", orjson.dumps({k: v for k, v in record["up"].items() if k != "given"})]
    if limit is not None:
        fields += ["cl", limit.encode()]
    return fields


def read_trigger(entry: str, fields: Mapping[bytes, bytes]) -> QueuedTrigger:
    """Of an entry of ENTRY_VERSIONS. Raises ValueError for one that is damaged."""
    try:
        payload = fields[b"d"]
        record = orjson.loads(payload)
        return QueuedTrigger(
            entry, fields[b"t"].decode(), record["r"], record["w"], int(record["v"]), payload, record
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("the entry is not a trigger") from error


def _receipt(receipt: str, values: list[bytes | None]) -> dict[str, Any] | None:
    state, source, workflow, run, reason, created = (value.decode() if value else None for value in values)
    if state is None:
        return None
    return {"id": receipt, "state": state, "source": source, "workflow": workflow, "run": run or None,
            "reason": reason, "created": iso(int(created or 0))}  # fmt: skip
