"""The node protocol's side of the store: start, checkpoints, records, heartbeat, fail; each fenced by attempt and epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from time import time_ns
from typing import Any

import orjson

from app.core.attempts import FINALIZE_GRACE_MS
from app.core.round import iso, node_event, transition
from app.core.signals import Signal, SignalKind, encode
from app.core.states import STEPS, NodeStatus, Step, check_node
from app.core.tasks import timer_member
from app.errors import EngineFault, NotFound, StaleEpoch, StepConflict
from app.store.client import Arg, Batcher, Script
from app.store.keys import Keys

START = Script("start")
CHECKPOINT = Script("checkpoint")
RECORDS = Script("records")
HEARTBEAT = Script("heartbeat")
FAIL = Script("fail")

INLINE_INPUTS = 1 << 20
"""Bytes of the inputs that travel with what starts a node; the rest by reference."""
MAX_RECORDS = 100_000
"""Failed records that a node run keeps; further ones are only counted by the node itself."""

_NUMBER: dict[str, int] = {step: number for number, step in enumerate(STEPS, 1)}
check_node(NodeStatus.STARTING, NodeStatus.RUNNING)  # the transition of the start script


@dataclass(slots=True, frozen=True)
class NodeCall:
    """Who speaks: one attempt of one node run, as its token says."""

    run: str
    ref: str
    attempt: int


@dataclass(slots=True, frozen=True)
class StepReport:
    """One entry of a checkpoints call. With `seq` it is a position inside execute, without it ends the step."""

    step: str
    seq: int | None = None
    data: bytes | None = None
    metadata: bytes | None = None
    done: int | None = None
    total: int | None = None


@dataclass(slots=True)
class Started:
    """What an instance needs to go on: its epoch, its inputs, and the last checkpoint whichever attempt wrote it."""

    epoch: int
    attempt: int
    config: Any
    """The rendered config; None where the graph's own is static."""
    item: Any
    step: str | None
    """The last step that ended."""
    seq: int | None
    data: Any
    metadata: Any
    inputs: dict[str, bytes | None]
    """Metadata of each upstream node as JSON."""
    redo: str | None = None
    """The run whose failed records alone are to be done; None: everything is."""

    def told(self, href: Callable[[str], str]) -> dict[str, Any]:
        """The inputs as they are told: inline up to INLINE_INPUTS bytes together, beyond that as {"$href"}."""
        found: dict[str, Any] = {}
        total = 0
        for name, raw in self.inputs.items():
            size = len(raw or b"")
            if total + size > INLINE_INPUTS:
                found[name] = {"$href": href(name)}
            else:
                total += size
                found[name] = None if raw is None else orjson.Fragment(raw)
        return found


class Nodes:
    def __init__(self, batcher: Batcher, keys: Keys) -> None:
        self._batcher = batcher
        self._keys = keys

    async def start(self, call: NodeCall, instance: str, due_ms: int, upstream: Sequence[str]) -> Started:
        """Give the attempt to this instance; its timeouts are looked at first after `due_ms`.

        Raises NotFound, StaleEpoch.
        """
        keys = self._keys
        event = transition(
            call.ref, NodeStatus.STARTING, NodeStatus.RUNNING, call.attempt, iso(time_ns() // 1_000_000)
        )
        started = self._batcher.script(
            START,
            [keys.node(call.run, call.ref), keys.events(call.run), keys.timers],
            [
                call.attempt,
                instance,
                timer_member(call.run, call.ref),
                due_ms,
                orjson.dumps(event),
                NodeStatus.STARTING,
                NodeStatus.RUNNING,
            ],
            call.run,
        )
        inputs = [self._batcher.call("HGET", keys.node(call.run, name), "m") for name in upstream]
        metadata = [await value for value in inputs]
        reply = checked(await started)
        epoch, step, seq, data, own, config, item, redo = reply[1:]
        return Started(
            epoch, call.attempt, _value(config), _value(item), STEPS[int(step) - 1] if step else None,
            int(seq) if seq else None, _value(data), _value(own), dict(zip(upstream, metadata, strict=True)),
            None if redo is None else redo.decode(),
        )  # fmt: skip

    async def checkpoint(self, call: NodeCall, epoch: int, steps: Sequence[StepReport]) -> bool:
        """Record entries in order, all or none. True when the node should stop. Raises StaleEpoch, StepConflict."""
        keys, run = self._keys, call.run
        ends = [report.step for report in steps if report.seq is None]
        final = Step.FINALIZE in ends
        done = encode(Signal(SignalKind.DONE, call.ref, attempt=call.attempt)) if final else b""
        args: list[Arg] = [
            call.attempt,
            epoch,
            run,
            timer_member(run, call.ref),
            FINALIZE_GRACE_MS,
            done,
            len(steps),
        ]
        at = iso(time_ns() // 1_000_000) if ends else ""
        for report in steps:
            args += _entry(call, epoch, report, at)
        names = [
            keys.node(run, call.ref),
            keys.run(run),
            keys.inbox(run),
            keys.active,
            keys.events(run),
            keys.timers,
        ]
        reply = await self._batcher.script(CHECKPOINT, names, args, run)
        match reply[0]:
            case b"order":
                expected = STEPS[reply[1] - 1] if reply[1] <= len(STEPS) else None
                raise StepConflict(f"The next checkpoint must be '{expected}'.", expected=expected)
            case b"seq":
                raise StepConflict(
                    f"A later position is recorded: {reply[1]}.", expected=Step.EXECUTE, seq=reply[1]
                )
            case b"differs":
                step = STEPS[reply[1] - 1]
                raise StepConflict(f"Step '{step}' is recorded with other content.", step=step, differs=True)
            case _:
                return bool(checked(reply)[1])

    async def records(
        self, call: NodeCall, epoch: int, failed: Sequence[Mapping[str, Any]], since: int | None = None
    ) -> int:
        """Keep failed records, {index, at?, key?, type, message} each; how many are kept now.

        Those from the index `since` on are taken out first. Raises StaleEpoch.
        """
        args: list[Arg] = [call.attempt, epoch, MAX_RECORDS, "" if since is None else since]
        for record in failed:
            args += [int(record["index"]), orjson.dumps(record)]
        names = [self._keys.node(call.run, call.ref), self._keys.records(call.run, call.ref)]
        return checked(await self._batcher.script(RECORDS, names, args))[1]

    async def heartbeat(self, call: NodeCall, epoch: int) -> bool:
        """A sign of life. True when the node should stop. Raises StaleEpoch."""
        reply = await self._batcher.script(
            HEARTBEAT, [self._keys.node(call.run, call.ref)], [call.attempt, epoch]
        )
        return bool(checked(reply)[1])

    async def fail(self, call: NodeCall, epoch: int, kind: str, message: str, retryable: bool) -> None:
        """The attempt failed by its own word. Raises StaleEpoch."""
        keys, run = self._keys, call.run
        signal = Signal(
            SignalKind.FAIL, call.ref, attempt=call.attempt, type=kind, message=message, retryable=retryable
        )
        names = [keys.node(run, call.ref), keys.run(run), keys.inbox(run), keys.active]
        checked(await self._batcher.script(FAIL, names, [call.attempt, epoch, run, encode(signal)]))


def checked(reply: list[Any]) -> list[Any]:
    """The reply of a fenced script. Raises StaleEpoch, NotFound where it refused."""
    match reply[0]:
        case b"ok":
            return reply
        case b"stale":
            raise StaleEpoch
        case b"missing":
            raise NotFound("There is no such node run.")
        case _:
            raise EngineFault(f"a script answered {reply[0]!r}")


def _entry(call: NodeCall, epoch: int, report: StepReport, at: str) -> tuple[Arg, ...]:
    data, metadata = report.data or b"null", report.metadata or b"null"
    digest = blake2b(data + b"\0" + metadata, digest_size=8).hexdigest()
    event: bytes = b""
    if report.seq is None:
        members = {"step": report.step, "attempt": call.attempt, "epoch": epoch, "at": at}
        event = orjson.dumps(node_event("step", call.ref, members))
    return (
        _NUMBER[report.step], "" if report.seq is None else report.seq, digest, data, metadata,
        "" if report.done is None else report.done, "" if report.total is None else report.total, event,
    )  # fmt: skip


def _value(raw: bytes | None) -> Any:
    return None if raw is None else orjson.loads(raw)
