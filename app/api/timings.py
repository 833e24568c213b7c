"""Durations of requests as a Prometheus histogram, at about a microsecond an observation."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds."""


class Timings(Collector):
    """Counts per (method, route, status); routes are patterns, never paths, so they are few."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, int], list[float]] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """One finished request."""
        key = (method, route, status)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = [0.0] * (len(BUCKETS) + 2)
        series[bisect_left(BUCKETS, seconds)] += 1
        series[-1] += seconds

    def collect(self) -> Iterator[Metric]:
        """The histogram, for a scrape."""
        family = HistogramMetricFamily(
            "http_request_duration_seconds",
            "Time to answer a request, by route.",
            labels=["method", "route", "status"],
        )
        for (method, route, status), series in list(self._series.items()):
            total = 0.0
            buckets: list[tuple[str, float]] = []
            for bound, count in zip([*map(str, BUCKETS), "+Inf"], series[:-1], strict=True):
                total += count
                buckets.append((bound, total))
            family.add_metric([method, route, str(status)], buckets, sum_value=series[-1])
        yield family
