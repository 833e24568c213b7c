"""What happened to a run, waiting in its inbox to be decided. Signals are facts; they never carry a decision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import orjson

from app.core.states import RunStatus
from app.core.tasks import Task
from app.errors import EngineFault, NewerSignal

VERSION = 2
"""Of the encoding, as far as this release reads it. A worker gives a run with a newer signal back, uncounted (fault row 30)."""


class SignalKind(StrEnum):
    BEGIN = "begin"
    """The run was created."""
    KEPT = "kept"
    """Continuation: nodes from `start` on are yet to begin beside those that are kept of an earlier run."""
    DONE = "done"
    """The final checkpoint of an attempt was accepted."""
    FAIL = "fail"
    """The node reported its own failure."""
    EXIT = "exit"
    """The executor saw the process or pod of a launch end, or could not start it."""
    DEFER = "defer"
    """The executor could not begin a launch now, through no fault of the node run: it is tried again later."""
    DUE = "due"
    """The timer of a node run came due."""
    SETTLED = "settled"
    """Continuation: a node run is terminal and its children from `start` on are yet to be told."""
    EXPAND = "expand"
    """Continuation: a map has more items to start."""
    COLLECT = "collect"
    """Continuation: all items of a map are terminal; its metadata is yet to be put together."""
    CHILD = "child"
    """The child run of an attempt ended, or could not be started: `type` is succeeded, or the type of the error."""
    APPROVAL = "approval"
    """Someone approved or rejected; the decision is in the node run."""
    CACHE = "cache"
    """Continuation: the cache is yet to be looked into; `message` names the entry."""
    FINISH = "finish"
    """Continuation: all node runs are terminal; the run's output is yet to be rendered."""
    CANCEL = "cancel"
    """Someone asked to cancel the run."""
    SWEEP = "sweep"
    """Continuation: node runs (or items of the map `ref`) from `start` on are yet to be cancelled."""
    RESUME = "resume"
    """The run was paused and is not any more: what is ready, from `start` on, waits for admission again."""


@dataclass(slots=True, frozen=True)
class Signal:
    """One signal. `ref` is a node's name, or "node:index" for an item of a map."""

    kind: SignalKind
    ref: str = ""
    attempt: int = 0
    launch: int = 0
    """exit: how many infrastructure faults this attempt had when it was launched."""
    start: int = 0
    """settled: the first child that was not told yet; begin, kept, sweep, resume: the first node or item not done yet;
    expand: the item to start next; collect: how many items."""
    code: int | None = None
    """exit: the exit code; negative for a signal, None where it is unknown."""
    type: str = ""
    """fail, exit: the error type; expand: the source of the map's items, where they are to be read, after a + where
    items of an earlier run are to be read too."""
    message: str = ""
    retryable: bool = True
    infra: bool = False
    """exit: an infrastructure fault, which has a budget of its own."""
    output: str | None = None
    """exit: the JSON that a node which never called start left as its metadata."""
    delay: int = 0
    """fail: ms that the next attempt waits at least; defer: ms that this one waits."""


def exit_of(
    task: Task,
    *,
    code: int | None = None,
    type: str = "",
    message: str = "",
    retryable: bool = True,
    infra: bool = False,
    output: str | None = None,
) -> Signal:
    """The end of a launch, as an executor or a sweep tells it; the fields as in Signal."""
    return Signal(
        SignalKind.EXIT, task.ref, task.attempt, task.launch,
        code=code, type=type, message=message, retryable=retryable, infra=infra, output=output,
    )  # fmt: skip


REWOUND = "rewound"
"""The type of the end of a process that the store may have forgotten: the store began anew after the process did, and what it
had said before may be lost (a restore, a tail that was not synced)."""


def in_doubt(exit_: Signal) -> Signal:
    """The same end, told of such a process. What it left as its output is not in the store, and counts."""
    return exit_ if exit_.type or exit_.output is not None else replace(exit_, type=REWOUND)


MACHINE_LOST = "machine_lost"
"""The type of the end of a launch whose machine the cluster had lost: that it gave no sign of life was no fault of its own."""
TOO_DEEP = "child_depth"
"""The error of a child run that would be a level too deep. It comes up as it is and nothing on its way is tried again: else a
workflow that starts itself would be tried again at every level, and run thousands of times."""
_ENDED = {RunStatus.FAILED: "failed", RunStatus.CANCELLED: "was cancelled"}


def child_ended(
    ref: str, attempt: int, run: str, status: RunStatus, output: bytes | None, *, too_deep: bool = False
) -> Signal:
    """What the run of the node run `ref` is told when its child run ends."""
    if status is RunStatus.SUCCEEDED:
        return Signal(
            SignalKind.CHILD, ref, attempt=attempt, type=status, output=(output or b"null").decode()
        )
    return Signal(
        SignalKind.CHILD, ref, attempt=attempt, type=TOO_DEEP if too_deep else f"child_{status}",
        message=f"the child run {run} {_ENDED[status]}", retryable=status is RunStatus.FAILED and not too_deep,
    )  # fmt: skip


_SINCE = {SignalKind.KEPT: 2, SignalKind.CHILD: 2, SignalKind.APPROVAL: 2, SignalKind.CACHE: 2}
"""The version that a kind came with; a new kind or a new field needs the next one."""
_SHORT = {"ref": "n", "attempt": "a", "launch": "l", "start": "f", "code": "c", "type": "t", "message": "m",
          "retryable": "r", "infra": "i", "output": "o", "delay": "d"}  # fmt: skip
_LONG = {short: name for name, short in _SHORT.items()}
_DEFAULT = Signal(SignalKind.BEGIN)


def encode(signal: Signal) -> bytes:
    """The JSON kept in the inbox: `k` is the kind, `v` the version that reads it (absent: 1); fields at their default are
    left out."""
    record: dict[str, Any] = {"k": signal.kind}
    if signal.kind in _SINCE:
        record["v"] = _SINCE[signal.kind]
    for name, short in _SHORT.items():
        value = getattr(signal, name)
        if value != getattr(_DEFAULT, name):
            record[short] = value
    return orjson.dumps(record)


def decode(raw: bytes) -> Signal:
    """The signal of an inbox entry. Raises NewerSignal for one of a newer version, EngineFault for what is none."""
    try:
        record = orjson.loads(raw)
        version = record.pop("v", 1)
        if version > VERSION:
            raise NewerSignal(f"a signal of version {version}; this release reads {VERSION}")
        kind = SignalKind(record.pop("k"))
        return Signal(kind, **{_LONG[short]: value for short, value in record.items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineFault("a signal could not be read") from error
