"""How often a process of ours looks for cyclic garbage."""

from __future__ import annotations

import gc

THRESHOLDS = (50_000, 20, 100)
"""Allocations between two looks at the young, and so on; Python's default, 700, cost a worker an eighth of its time:
every call on its way keeps a handful of objects alive until its reply comes (processor time per node, P3)."""


def tune_collector() -> None:
    """Once, when everything is imported and set up: what is alive now is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
