"""The states of runs and node runs, and the one table of their transitions (DESIGN section 5).

Every transition of the engine is checked against this table in Python; the scripts of the store only compare and set.
"""

from __future__ import annotations

from enum import StrEnum

from app.errors import EngineFault


class RunStatus(StrEnum):
    QUEUED = "queued"
    """Its trigger was taken from the queue; no node run exists yet."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class NodeStatus(StrEnum):
    PENDING = "pending"
    """Waits for upstream nodes; has no key in the store."""
    READY = "ready"
    """May start; waits for its pools' slots."""
    STARTING = "starting"
    """Holds its slots; its executor was asked to run it."""
    RUNNING = "running"
    """An instance called start; its steps are being checkpointed. For a map: its items run."""
    WAITING = "waiting"
    """Back-off before another attempt, or a wait node; holds no slot."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    """Not needed: its condition, or what is upstream, says so."""
    BLOCKED = "blocked"
    """Cannot run because of a failure upstream."""
    CANCELLED = "cancelled"


class Ending(StrEnum):
    """Why the node runs of a run that goes on are being cancelled."""

    CANCELLED = "cancelled"
    """Someone asked for it."""
    TIMEOUT = "timeout"
    """The whole run's time is over."""
    FAILURE = "failure"
    """A node failed, and the workflow says on_failure: fail. Clean-up nodes still run."""


class Step(StrEnum):
    CONFIGURE = "configure"
    EXECUTE = "execute"
    OUTPUT = "output"
    FINALIZE = "finalize"


STEPS = tuple(Step)
"""In the order in which each must end."""

_N = NodeStatus
_R = RunStatus

NODE_TRANSITIONS: dict[NodeStatus, frozenset[NodeStatus]] = {
    _N.PENDING: frozenset({_N.READY, _N.SKIPPED, _N.BLOCKED, _N.CANCELLED}),
    # ready -> running: a map, whose items start; -> failed: an expression; -> succeeded: a cache
    _N.READY: frozenset({_N.STARTING, _N.RUNNING, _N.WAITING, _N.SUCCEEDED, _N.FAILED, _N.CANCELLED}),
    # starting -> waiting, failed: it never came up
    _N.STARTING: frozenset({_N.RUNNING, _N.WAITING, _N.FAILED, _N.CANCELLED}),
    _N.RUNNING: frozenset({_N.SUCCEEDED, _N.FAILED, _N.WAITING, _N.CANCELLED}),
    _N.WAITING: frozenset({_N.READY, _N.SUCCEEDED, _N.FAILED, _N.CANCELLED}),
    _N.SUCCEEDED: frozenset(),
    _N.FAILED: frozenset(),
    _N.SKIPPED: frozenset(),
    _N.BLOCKED: frozenset(),
    _N.CANCELLED: frozenset(),
}

RUN_TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    _R.QUEUED: frozenset({_R.RUNNING, _R.FAILED, _R.CANCELLED}),
    _R.RUNNING: frozenset({_R.SUCCEEDED, _R.FAILED, _R.CANCELLED}),
    _R.SUCCEEDED: frozenset(),
    _R.FAILED: frozenset(),
    _R.CANCELLED: frozenset(),
}

NODE_TERMINAL = frozenset(status for status, nexts in NODE_TRANSITIONS.items() if not nexts)
RUN_TERMINAL = frozenset(status for status, nexts in RUN_TRANSITIONS.items() if not nexts)
NODE_LIVE = frozenset({NodeStatus.STARTING, NodeStatus.RUNNING})
"""The states in which an attempt may have a process, a pod or a call under way."""


def check_node(before: NodeStatus, after: NodeStatus) -> None:
    """Raise EngineFault unless the table allows it."""
    if after not in NODE_TRANSITIONS[before]:
        raise EngineFault(f"a node run cannot go from {before} to {after}")


def check_run(before: RunStatus, after: RunStatus) -> None:
    """Raise EngineFault unless the table allows it."""
    if after not in RUN_TRANSITIONS[before]:
        raise EngineFault(f"a run cannot go from {before} to {after}")
