"""One run as a tree of nodes with states, durations and attempts, from the JSON of the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.cli.moments import duration, elapsed
from app.cli.outline import Row, outline
from app.cli.output import plain

TERMINAL = frozenset({"succeeded", "failed", "skipped", "blocked", "cancelled"})
LIVE = frozenset({"ready", "waiting", "starting", "running"})


class Look(NamedTuple):
    """How a state is shown: icon and colour, always beside its word."""

    icon: str
    style: str


LOOKS: Mapping[str, Look] = {
    "queued": Look("◌", "cyan"),
    "pending": Look("○", "bright_black"),
    "ready": Look("◌", "cyan"),
    "waiting": Look("◷", "yellow"),
    "starting": Look("◔", "blue"),
    "running": Look("●", "blue"),
    "succeeded": Look("✔", "green"),
    "failed": Look("✘", "red"),
    "skipped": Look("↷", "bright_black"),
    "blocked": Look("⊘", "magenta"),
    "cancelled": Look("■", "yellow"),
}
UNKNOWN = Look("?", "default")


def state(status: object) -> Text:
    """Icon and word of a state, coloured."""
    word = plain(status)
    look = LOOKS.get(word, UNKNOWN)
    return Text(f"{look.icon} {word}", style=look.style)


class FailedRecord(NamedTuple):
    """One record of a ledger: {index, key?, type, message}, of a node or of one item of its map."""

    node: str
    item: int | None
    record: Mapping[str, Any]


class RunView(NamedTuple):
    """What is known of a run: its record and its nodes, each of which names those it needs."""

    run: Mapping[str, Any]
    nodes: Sequence[dict[str, Any]]
    failed: Sequence[FailedRecord] = ()

    @property
    def needs(self) -> dict[str, list[str]]:
        return {str(node["name"]): list(node.get("needs") or ()) for node in self.nodes}

    @property
    def ended(self) -> bool:
        return self.run.get("status") in TERMINAL


def needs_of(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """Which nodes each node of a workflow document needs."""
    edges: dict[str, list[str]] = {}
    for name, node in document.get("nodes", {}).items():
        needs = node.get("needs") or []
        edges[name] = [need["node"] if isinstance(need, dict) else need for need in needs]
    return edges


def render(view: RunView, now: float, *, limit: int = 200) -> RenderableType:
    """The whole run: a headline and at most `limit` lines of nodes. `now` is in seconds since the epoch."""
    parts: list[RenderableType] = [headline(view.run, now), tree(view, now, limit=limit)]
    if view.failed:
        parts += [Text(f"\n{_HEADING}:", style="bold"), *(_ledger_line(one) for one in view.failed)]
    return Group(*parts)


_HEADING = "Failed records"


def _ledger_line(one: FailedRecord) -> Text:
    place = one.node if one.item is None else f"{one.node}:{one.item}"
    name = one.record.get("key") or f"record {one.record.get('index')}"
    what = f"{one.record.get('type', '')}: {one.record.get('message', '')}"
    return Text.assemble("  ", plain(place), "  ", plain(name), "  ", (plain(what)[:300], "yellow"))


def headline(run: Mapping[str, Any], now: float) -> Text:
    """The workflow, its version, the run's id and its state, in one line."""
    line = Text.assemble(
        (plain(run.get("workflow", "")), "bold"),
        f" v{run.get('version', '?')}  ",
        (plain(run.get("id", "")), "bright_black"),
        "  ",
        state(run.get("status")),
    )
    took = elapsed(run.get("started") or run.get("created"), run.get("ended"), now)
    if took is not None:
        line.append(f" {'in' if run.get('ended') else 'for'} {duration(took)}")
    return line


def tree(view: RunView, now: float, *, limit: int = 200) -> Table:
    """The nodes, one a line; past `limit` those that failed or are at work, and how many others there are."""
    by_name = {str(node["name"]): node for node in view.nodes}
    grid = Table(
        box=None, show_header=True, header_style="bright_black", pad_edge=False, padding=(0, 2, 0, 0)
    )
    grid.add_column("node", overflow="fold", min_width=8)
    grid.add_column("state", no_wrap=True)
    grid.add_column("time", justify="right", no_wrap=True)
    grid.add_column("tries", justify="right", no_wrap=True)
    grid.add_column("", overflow="fold", ratio=1)
    rows = outline(view.needs)
    shown = _chosen(rows, by_name, limit)
    for row in shown:
        grid.add_row(*_cells(row, by_name[row.name], now))
    total = max(len(rows), (view.run.get("nodes") or {}).get("total", 0))
    if len(shown) < total:
        grid.add_row(Text(f"… {total - len(shown)} more nodes", style="bright_black"), "", "", "", "")
    return grid


def _chosen(rows: Sequence[Row], nodes: Mapping[str, Mapping[str, Any]], limit: int) -> Sequence[Row]:
    if len(rows) <= limit:
        return rows
    rank = {"failed": 0, "running": 1, "starting": 1, "waiting": 2, "ready": 2, "blocked": 3}
    places = sorted(range(len(rows)), key=lambda i: (rank.get(str(nodes[rows[i].name].get("status")), 9), i))
    return [Row("", rows[i].name) for i in sorted(places[: max(limit, 1)])]


def _cells(row: Row, node: Mapping[str, Any], now: float) -> list[Text]:
    status = node.get("status")
    attempt = node.get("attempt") or 0
    took = elapsed(node.get("started"), node.get("ended"), now) if status != "pending" else None
    return [
        Text.assemble((row.lead, "bright_black"), plain(row.name)),
        state(status),
        Text(duration(took)),
        Text(str(attempt) if attempt else "", style="yellow" if attempt > 1 else ""),
        remarks(node),
    ]


def remarks(node: Mapping[str, Any]) -> Text:
    """What else is worth a word: items, failed records, the error, else the small values of the metadata."""
    parts: list[Text] = []
    if (items := node.get("items")) and node.get("status") != "pending":
        parts.append(_items(items))
    if failed := failed_records(node):
        parts.append(Text(f"{failed} failed record{'s' if failed > 1 else ''}", style="yellow"))
    if progress := _progress(node):
        parts.append(Text(progress))
    if waited := _waited_for(node):
        parts.append(Text(waited))
    if (error := _error(node)) and node.get("status") != "succeeded":
        parts.append(Text(plain(error)[:300], style="red"))
    if not parts and (summary := _summary(node.get("metadata"))):
        parts.append(Text(summary, style="bright_black"))
    return Text(", ").join(parts)


def _waited_for(node: Mapping[str, Any]) -> str:
    """The child run or the decision that a node run waits for, or where the cache had its metadata from."""
    if node.get("status") == "waiting" and node.get("child"):
        return f"child run {plain(node['child'])}"
    if node.get("status") == "waiting" and (approval := node.get("approval")):
        return f"asks: {plain(approval.get('message'))[:200]}"
    return "from the cache" if node.get("cached_from") else ""


def _items(counts: Mapping[str, Any]) -> Text:
    total = counts.get("count", counts.get("total"))
    if total is None:
        total = sum(v for v in counts.values() if isinstance(v, int))
    line = Text(f"{counts.get('succeeded', 0)}/{total} items")
    if failed := counts.get("failed"):
        line.append(f", {failed} failed", style="red")
    return line


def failed_records(node: Mapping[str, Any]) -> int:
    """How many records of this node run are in the ledger of failed records."""
    value = node.get("failed_records") or 0
    return int(value) if isinstance(value, int | float) else 0


def _progress(node: Mapping[str, Any]) -> str:
    progress = node.get("progress")
    if node.get("status") not in LIVE or not isinstance(progress, dict) or "done" not in progress:
        return ""
    total = progress.get("total")
    return f"{progress['done']}/{total} records" if total else f"{progress['done']} records"


def _error(node: Mapping[str, Any]) -> str:
    error = node.get("error") or node.get("reason")
    if isinstance(error, dict):
        return ": ".join(str(error[k]) for k in ("type", "message") if error.get(k))
    return str(error) if error else ""


def _summary(metadata: object) -> str:
    if not isinstance(metadata, dict):
        return ""
    small = [
        f"{plain(name)} {plain(value)}"
        for name, value in metadata.items()
        if (isinstance(value, int | float | bool) and (value or name == "count"))
        or (isinstance(value, str) and len(value) <= 12 and ":" not in value)
    ]
    return ", ".join(small[:3])
