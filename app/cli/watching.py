"""Following a run to its end: live on a terminal, quietly elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.live import Live

from app.cli.client import Client, segment
from app.cli.events import Doorbell
from app.cli.runview import TERMINAL, FailedRecord, RunView, failed_records, render
from app.errors import Unavailable

LOOK_EVERY, LOOK_BLINDLY = 5.0, 1.0
"""Seconds after which a run is looked at though nothing rang: with a live stream of events, and without."""
MAX_RECORDS = 5
"""Failed records that are shown; the ledger has them all."""
PAGE, MAX_NODES = 200, 2000
"""Nodes asked for at a time, and in all: a longer tree helps nobody, and the record of the run counts all."""
BREATH = 0.25
"""The least time between two looks, or four times what the last one took where that is longer."""


class Watched:
    """One run, asked for through the API."""

    def __init__(self, client: Client, run: str) -> None:
        self._client = client
        self._path = f"/runs/{segment(run)}"

    def record(self) -> dict[str, Any]:
        """The run's own record."""
        return self._client.get(self._path)

    def view(self) -> RunView:
        """The record, then its nodes: a run seen as ended has all its nodes ended too."""
        run = self.record()
        return RunView(run, self._client.pages(f"{self._path}/nodes", MAX_NODES, size=PAGE))

    def whole(self) -> RunView:
        """The same with failed records: counted in the items of maps too, and the first of them."""
        view = self.view()
        failed: list[FailedRecord] = []
        nodes = [self._counted(node, failed) for node in view.nodes]
        return RunView(view.run, nodes, failed)

    def _counted(self, node: dict[str, Any], failed: list[FailedRecord]) -> dict[str, Any]:
        path = f"{self._path}/nodes/{segment(node['name'])}"
        refs = [(None, node)]
        if node.get("items"):
            refs = [
                (item["item"], item) for item in self._client.pages(f"{path}/items", MAX_NODES, size=PAGE)
            ]
        lossy = [(item, failed_records(ref)) for item, ref in refs if failed_records(ref)]
        for item, _ in lossy:
            if len(failed) < MAX_RECORDS:
                rows = self._client.get(f"{path}/records", item=item, limit=MAX_RECORDS)["items"]
                failed += [FailedRecord(node["name"], item, row) for row in rows]
        return {**node, "failed_records": sum(count for _, count in lossy)}


def follow(
    client: Client,
    run: str,
    show: Callable[[RunView], None] | None = None,
    *,
    timeout: float | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any] | None:
    """Follow a run until it ends and return its record; None when `timeout` seconds passed or `stop` says so.

    `show` gets the run at every change. A server that is away is waited for.
    """
    watched = Watched(client, run)
    bell = Doorbell(client, run)
    deadline = time.monotonic() + timeout if timeout is not None else float("inf")
    try:
        while True:
            began = time.monotonic()
            record = _look(watched, show)
            if record is not None and record.get("status") in TERMINAL:
                return record
            if time.monotonic() >= deadline:
                return None
            took = time.monotonic() - began
            until = min(deadline, began + (LOOK_EVERY if bell.connected else LOOK_BLINDLY))
            if not _rest(bell, until, max(BREATH, 4 * took), stop):
                return None
    finally:
        bell.close()


def _rest(bell: Doorbell, until: float, breath: float, stop: Callable[[], bool]) -> bool:
    """Wait for a ring and take a breath, or for the time `until`; False when told to stop."""
    while time.monotonic() < until:
        if stop():
            return False
        if bell.wait(min(0.2, max(until - time.monotonic(), 0))):
            time.sleep(min(breath, max(until - time.monotonic(), 0)))
            break
    return not stop()


def _look(watched: Watched, show: Callable[[RunView], None] | None) -> dict[str, Any] | None:
    try:
        if show is None:
            return watched.record()
        view = watched.view()
    except Unavailable:
        return None
    show(view)
    return dict(view.run)


def follow_live(
    client: Client, run: str, console: Console, *, stop: Callable[[], bool] = lambda: False
) -> RunView | None:
    """Draw the run's tree on `console` until the run ends; redrawn in place on a terminal, once elsewhere."""
    if not console.is_terminal:
        record = follow(client, run, stop=stop)
        if record is None:
            return None
        view = Watched(client, run).whole()
        console.print(render(view, time.time()))
        return view
    last: RunView | None = None

    def draw() -> Any:
        return render(last, time.time(), limit=max(console.height - 4, 5)) if last else ""

    def show(view: RunView) -> None:
        nonlocal last
        last = view

    with Live(get_renderable=draw, console=console, refresh_per_second=5, vertical_overflow="crop"):
        record = follow(client, run, show, stop=stop)
        if record is not None:
            last = Watched(client, run).whole()
    return last if record is not None else None
