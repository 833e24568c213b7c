"""Counts of accepted triggers, by kind of source and outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector


class TriggerCounts(Collector):
    """`source` is the kind only (api, hook), `outcome` queued, duplicate or dead: both bounded."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, source: str, outcome: str) -> None:
        """One trigger answered."""
        self._counts[source.partition(":")[0], outcome] += 1

    def collect(self) -> Iterator[Metric]:
        """The counter, for a scrape."""
        family = CounterMetricFamily("headrace_triggers", "Triggers answered.", labels=["source", "outcome"])
        for (source, outcome), count in list(self._counts.items()):
            family.add_metric([source, outcome], count)
        yield family
