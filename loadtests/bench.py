"""`make bench`: the figures against their floors, as ratios of one run; writes bench.json beside the Makefile.

python -m loadtests.bench [P1 P2 ...] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
from pathlib import Path

import structlog
import uvloop

from loadtests import engine_rates, http_rates, in_flight, kept
from loadtests.harness import Result, pin, show

ALL = ("P1", "P2", "P3", "P4", "P5", "P8", "P9")


async def measure(chosen: set[str]) -> dict[str, Result]:
    results: dict[str, Result] = {}
    if chosen & {"P1", "P9"}:
        pin(1)
        async with http_rates.site() as place:
            if "P1" in chosen:
                results["P1"] = await http_rates.triggers(place)
        async with http_rates.site() as place:
            if "P9" in chosen:
                results["P9"] = await http_rates.checkpoints(place)
    pin(0)
    if chosen & {"P2", "P3"}:
        async with engine_rates.engine() as (store, settings, executor):
            if "P2" in chosen:
                results["P2"] = await engine_rates.latency(store, executor)
            if "P3" in chosen:
                results["P3"] = await engine_rates.throughput(store, settings, executor)
    if "P4" in chosen:
        results["P4"] = await engine_rates.scale()
    if "P5" in chosen:
        results["P5"], results["P5 even"] = await in_flight.rates()
    if "P8" in chosen:
        results["P8"] = await kept.bytes_per_run()
    return dict(sorted(results.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", nargs="*", default=list(ALL), help="which figures, all by default")
    parser.add_argument("--profile", action="store_true", help="print where this process spends its time")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    profile = cProfile.Profile()
    if options.profile:
        profile.enable()
    results = uvloop.run(measure(set(options.figures)))
    if options.profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)
    met = show(results, Path("bench.json"))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
