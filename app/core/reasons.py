"""Reasons, and what they are made of: what is recorded of a run and of its node runs, and facts about the installation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from app.core.round import iso
from app.core.states import NodeStatus, RunStatus


class Code(StrEnum):
    """What a reason is; docs/reference/why.md has a sentence for each."""

    TRIGGER_QUEUED = "trigger_queued"
    NOT_DECIDED = "not_decided"
    PAUSED = "paused"
    WORKFLOW_PAUSED = "workflow_paused"
    CONCURRENCY = "concurrency"
    DEPENDENCY = "dependency"
    NODE = "node"
    POOL = "pool"
    TURN = "turn"
    NO_WORKER = "no_worker"
    NOT_DURABLE = "not_durable"
    EXECUTOR = "executor"
    STARTING = "starting"
    RUNNING = "running"
    FINALIZING = "finalizing"
    STOPPING = "stopping"
    ITEMS = "items"
    MAX_PARALLEL = "max_parallel"
    BACK_OFF = "back_off"
    WAIT = "wait"
    APPROVAL = "approval"
    CHILD = "child"
    SERVICE = "service"
    CIRCUIT = "circuit"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    BLOCKED = "blocked"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


WHY_FIELDS = (
    "s",
    "a",
    "l",
    "w",
    "p",
    "h",
    "y",
    "b",
    "g",
    "r",
    "z",
    "u",
    "t",
    "tm",
    "x",
    "n",
    "o",
    "ok",
    "bad",
    "er",
    "dw",
    "ch",
    "am",
    "cf",
)
"""The fields of a node run that reasons are made of, in the order of Record.parse."""
MOST_NAMED = 20
"""Upstream nodes, or node runs of a run, that reasons name; the rest is counted."""


@dataclass(slots=True, frozen=True)
class Reason:
    code: Code
    detail: str
    since: int = 0
    """ms since the epoch, 0 where it is not known."""
    more: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Further members, by code."""

    def shown(self) -> dict[str, Any]:
        """{code, detail, since, ...}"""
        return {"code": str(self.code), "detail": self.detail, "since": iso(self.since) if self.since else None,
                **self.more}  # fmt: skip


@dataclass(slots=True, frozen=True)
class Record:
    """What is recorded of a node run. Times are ms since the epoch, 0 where they have not come."""

    status: NodeStatus = NodeStatus.PENDING
    attempt: int = 0
    launch: int = 0
    won: int = 0
    step: int = 0
    heartbeat: int = 0
    ready: int = 0
    starting: int = 0
    launched: int = 0
    running: int = 0
    ended: int = 0
    until: int = 0
    stop: str = ""
    stop_at: int = 0
    error: Mapping[str, Any] | None = None
    count: int = 0
    cursor: int = 0
    ok: int = 0
    bad: int = 0
    executor: Mapping[str, Any] | None = None
    """{code, detail, since, a, l}: why its executor cannot run it."""
    circuit: str = ""
    """The host whose circuit is open."""
    child: str = ""
    """The child run that it waits for."""
    message: str = ""
    """What an approval asks."""
    cached: Mapping[str, Any] | None = None
    """{run, node, at}: where its metadata came from."""

    @classmethod
    def parse(cls, values: Sequence[bytes | None]) -> Record:
        """Of the values of WHY_FIELDS."""
        s, a, l, w, p, h, y, b, g, r, z, u, t, tm, x, n, o, ok, bad, er, dw, ch, am, cf = values  # noqa: E741
        if s is None:
            return cls()
        return cls(
            NodeStatus(s.decode()), int(a or 0), int(l or 0), int(w or 0), int(p or 0), int(h or 0), int(y or 0),
            int(b or 0), int(g or 0), int(r or 0), int(z or 0), int(u or 0), (t or b"").decode(), int(tm or 0),
            orjson.loads(x) if x else None, int(n or 0), int(o or 0), int(ok or 0), int(bad or 0),
            orjson.loads(er) if er else None, (dw or b"").decode(), (ch or b"").decode(), (am or b"").decode(),
            orjson.loads(cf) if cf else None,
        )  # fmt: skip


@dataclass(slots=True, frozen=True)
class Held:
    """A queued run that waits for a place of its concurrency key, or for its paused workflow."""

    since: int
    key: str = ""
    most: int = 0
    """Runs of the key at a time; 0: it has no key."""
    running: Sequence[str] = ()
    """Who has a place, the longest first; the first few."""
    ahead: int = 0
    workflow_paused: int = 0
    """Since when; 0: it is not."""


@dataclass(slots=True, frozen=True)
class RunRecord:
    id: str
    status: RunStatus
    created: int = 0
    started: int = 0
    ended: int = 0
    paused: int = 0
    error: Mapping[str, Any] | None = None
    taken: bool = True
    """Its trigger was taken from the queue."""
    held: Held | None = None


@dataclass(slots=True, frozen=True)
class Facts:
    """What the installation is like now."""

    now: int
    workers: int = 1
    """Live ones."""
    findings: Sequence[str] = ()
    """Why Redis is not durable."""
    triggers: int = 0
    """Triggers that are queued."""
    place: Mapping[str, Any] | None = None
    """Of the ready node run `placed` in the queue: {ahead, lacks: [{pool, slots, used, holders, reserved?}]}."""
    placed: str = ""
