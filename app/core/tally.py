"""What a process did, counted for /metrics: the triggers that it answered, and what its decisions brought to an end."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

from app.core.pools import TYPE, WORKFLOW, pools_of
from app.core.states import NODE_TERMINAL
from app.core.view import Changes, NodeView, View

BOUNDS_MS = (
    10, 50, 100, 500, 1_000, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000, 1_800_000, 3_600_000, 21_600_000, 86_400_000,
)  # fmt: skip
"""Upper bounds of the histograms in ms; what is longer counts under their number."""
SUM = "sum"
TRIGGERS, RUNS, NODES = "triggers", "runs", "nodes"
RUN_MS, NODE_MS, WAIT_MS = "run_ms", "node_ms", "wait_ms"
"""Counters are named NAME|LABEL|..., histograms NAME|LABEL|INDEX of the bound and NAME|LABEL|sum in ms."""


class Tally:
    """Counts since they were taken out last."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def trigger(self, source: str, outcome: str) -> None:
        """Add a trigger that was answered: `source` as in its receipt, of which the kind alone counts (api, hook, event, ...),
        `outcome` queued, duplicate, filtered, rejected or dead."""
        self._counts[f"{TRIGGERS}|{source.partition(':')[0]}|{outcome}"] += 1

    def count(self, view: View, changes: Changes, now: int) -> None:
        """Add what a decision that was committed ended, and the child runs that it queued; `view` as it stands after it, `now`
        in ms."""
        for child in changes.children:
            self.trigger(f"run:{child.run}", "queued")
        if changes.finished is not None:
            self._counts[f"{RUNS}|{changes.finished}"] += 1
            self._observe(f"{RUN_MS}|", now - (view.run.started or view.run.created))
        for ref, change in changes.nodes.items():
            if change.status not in NODE_TERMINAL or change.expect_status in NODE_TERMINAL:
                continue
            node, record = view.graph.node_of(ref), view.nodes.get(ref, NodeView())
            kind = (node.type or "").partition("@")[0] or str(node.kind)
            self._counts[f"{NODES}|{kind}|{change.status}"] += 1
            if record.running:
                self._observe(f"{NODE_MS}|{kind}", now - record.running)
            if record.starting and record.ready:
                for pool, _ in pools_of(node.needs_slots, view.run.workflow):
                    if not pool.startswith((TYPE, WORKFLOW)):  # as many as there are types and workflows
                        self._observe(f"{WAIT_MS}|{pool}", record.starting - record.ready)

    def _observe(self, name: str, ms: int) -> None:
        self._counts[f"{name}|{bisect_left(BOUNDS_MS, ms)}"] += 1
        self._counts[f"{name}|{SUM}"] += max(ms, 0)

    def take(self) -> dict[str, int]:
        """What was counted, once."""
        taken, self._counts = self._counts, Counter()
        return dict(taken)

    def give_back(self, counts: dict[str, int]) -> None:
        """What was taken and could not be kept."""
        self._counts.update(counts)
