"""Our connections to the API server: however they are broken off, none is left behind."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

from workers.executors.kubernetes.client import Cluster


def sockets() -> set[str]:
    """Those that this process has open."""
    found = set[str]()
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the directory itself
            found.add(os.readlink(f"/proc/self/fd/{name}"))
    return {each for each in found if each.startswith("socket:")}


async def test_calls_that_are_broken_off_as_they_begin_leave_no_connection_behind(site):
    """At every stage: before there is a socket, while it greets, while it waits for the answer."""
    for part in range(20):
        before = sockets()
        cluster = await Cluster.open(site.settings)
        calls = [asyncio.create_task(cluster.call("GET", cluster.url("v1", "pods"))) for _ in range(3)]
        await asyncio.wait(calls, timeout=part / 1000)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await cluster.close()
        assert sockets() <= before
