"""What this process counted, and took over from workers and listeners, as Prometheus metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from app.core.tally import BOUNDS_MS, NODE_MS, NODES, RUN_MS, RUNS, SUM, TRIGGERS, WAIT_MS

_BOUNDS = [*(f"{ms / 1000:g}" for ms in BOUNDS_MS), "+Inf"]


class Tallied(Collector):
    """Counters that only rise while this process lives; the sum over all API processes is the installation's."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, counts: Mapping[str, int]) -> None:
        """Counts by the names of app.core.tally; one of 0 makes its name known."""
        self._counts.update(counts)

    def collect(self) -> list[Metric]:
        """All of them, for a scrape."""
        return families(self._counts)


def families(counts: Mapping[str, int]) -> list[Metric]:
    """The metrics that these counts are; without any still their names."""
    return [
        _counter(counts, TRIGGERS, "headrace_triggers", "Triggers answered.", ["source", "outcome"]),
        _counter(counts, RUNS, "headrace_runs", "Runs that ended.", ["status"]),
        _histogram(counts, RUN_MS, "headrace_run_duration_seconds", "From a run's start to its end.", None),
        _counter(counts, NODES, "headrace_node_runs", "Node runs that ended.", ["node_type", "status"]),
        _histogram(
            counts,
            NODE_MS,
            "headrace_node_duration_seconds",
            "A node run's last attempt, from its start.",
            "node_type",
        ),
        _histogram(
            counts,
            WAIT_MS,
            "headrace_queue_wait_seconds",
            "How long node runs were ready before their turn.",
            "pool",
        ),
    ]


def _counter(
    counts: Mapping[str, int], kind: str, name: str, text: str, labels: list[str]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, count in sorted(counts.items()):
        head, *values = key.split("|")
        if head == kind:
            family.add_metric(values, count)
    return family


def _histogram(
    counts: Mapping[str, int], kind: str, name: str, text: str, label: str | None
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=[label] if label else [])
    found: dict[str, dict[str, int]] = {}
    for key, count in counts.items():
        head, value, place = [*key.split("|"), "", ""][:3]
        if head == kind:
            found.setdefault(value, {})[place] = count
    if label is None:
        found.setdefault("", {})
    for value, places in sorted(found.items()):
        total, buckets = 0, list[tuple[str, float]]()
        for at, bound in enumerate(_BOUNDS):
            total += places.get(str(at), 0)
            buckets.append((bound, total))
        family.add_metric([value] if label else [], buckets, sum_value=places.get(SUM, 0) / 1000)
    return family
