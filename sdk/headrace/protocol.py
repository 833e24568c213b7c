"""What the runner asks of the engine: the node protocol as an interface. HTTP is one implementation, testing
another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

Json = Any
"""Any JSON value."""


class Checkpoint(NamedTuple):
    """The last checkpoint of the node run, whichever attempt wrote it."""

    step: str | None = None
    """The last step that ended: configure, execute, output or finalize; None at the very beginning."""
    seq: int | None = None
    data: Json = None
    """The last position inside execute."""
    metadata: Json = None


class Redoable(NamedTuple):
    """A node run of an earlier run that succeeded but for some of its records."""

    run: str
    data: Json
    """Its last position."""
    failed: int
    """How many records its ledger holds."""
    href: str
    """Where the ledger is read: in the order of the stream, a page at a time."""


@dataclass(slots=True, frozen=True)
class Start:
    """The engine's answer to `start`."""

    epoch: int
    attempt: int
    config: dict[str, Json]
    inputs: dict[str, Json]
    checkpoint: Checkpoint
    item: Json = None
    index: int | None = None
    tolerate: float = 0.0
    heartbeat: float = 20.0
    """Seconds between two signs of life."""
    ledger: bool = False
    """The engine keeps a ledger from which a later run can redo the failed records."""
    redo: Redoable | None = None
    """An earlier node run of which only the failed records are to be done again."""

    @classmethod
    def parse(cls, body: dict[str, Json]) -> Start:
        """Read the JSON body of the answer; unknown members are ignored."""
        checkpoint: dict[str, Json] = body.get("checkpoint") or {}
        redo: dict[str, Json] | None = body.get("redo")
        return cls(
            epoch=int(body["epoch"]),
            attempt=int(body["attempt"]),
            config=body.get("config") or {},
            inputs=body.get("inputs") or {},
            checkpoint=Checkpoint(
                checkpoint.get("step"),
                checkpoint.get("seq"),
                checkpoint.get("data"),
                checkpoint.get("metadata"),
            ),
            item=body.get("item"),
            index=body.get("index"),
            tolerate=float(body.get("tolerate") or 0.0),
            heartbeat=float(body.get("heartbeat") or 20.0),
            ledger="redo" in body,
            redo=Redoable(redo["run"], redo["data"], redo["count"], redo["href"]) if redo else None,
        )


class Engine(Protocol):
    """The calls of the node protocol. Each raises StaleEpoch, StepConflict or ProtocolError."""

    def start(self, instance: str) -> Start: ...

    def checkpoints(self, epoch: int, steps: list[dict[str, Json]]) -> bool:
        """Record steps and positions in order, all or none; True when the run is being cancelled."""
        ...

    def records(self, epoch: int, failed: list[dict[str, Json]], since: int | None = None) -> int:
        """Add failed records to the ledger, at most 1,000 a call, idempotent by index. With `since` those from
        this index on are taken out first: an earlier process of the node run left them."""
        ...

    def heartbeat(self, epoch: int) -> bool:
        """A sign of life; True when the run is being cancelled."""
        ...

    def fail(self, epoch: int, type: str, message: str, retryable: bool) -> None: ...

    def fetch(self, href: str) -> Json:
        """Read metadata that was too large to come with `start`."""
        ...
