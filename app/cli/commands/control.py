"""`headrace run cancel|pause|resume|retry|fork` and `headrace workflow pause|resume`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from app.cli.client import Client, connect, segment
from app.cli.commands.runs import Run, begin
from app.cli.commands.workflows import Name
from app.cli.documents import read_object
from app.cli.output import Format, Output, Quiet, emit, plain, table
from app.cli.runview import state

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would run and what would be kept.")]
Watch = Annotated[
    bool, typer.Option("--watch", "-w", help="Show the new run until it ends; exit 1 if it fails.")
]
Key = Annotated[
    str | None, typer.Option("--idempotency-key", metavar="KEY", help="The same key makes one run only.")
]
PAGE = 1000
_WHY = {
    "asked": "asked for",
    "status": "did not end well",
    "changed": "changed in this version",
    "records": "some of its records failed",
}


def cancel(run: Run, output: Output = Format.TABLE, quiet: Quiet = False) -> None:
    """Cancel a run: what runs is stopped, nothing further begins."""
    _ask(run, "cancel", output, quiet)


def pause(run: Run, output: Output = Format.TABLE, quiet: Quiet = False) -> None:
    """Pause a run: nothing of it starts, what runs goes on."""
    _ask(run, "pause", output, quiet)


def resume(run: Run, output: Output = Format.TABLE, quiet: Quiet = False) -> None:
    """Let a paused run go on."""
    _ask(run, "resume", output, quiet)


def _ask(run: str, act: str, output: Format, quiet: bool) -> None:
    with connect() as client:
        answer: dict[str, Any] = client.send("POST", f"/runs/{segment(run)}/{act}", again=True).json()
    emit(answer, output, lambda: Text(f"{act} of {plain(run)} is accepted; it was {plain(answer['status'])}"),
         quiet=quiet, ids=[run])  # fmt: skip


def retry(
    run: Run,
    start: Annotated[
        str, typer.Option("--from", metavar="failed|all|NODE", help="What runs again, with all below it.")
    ] = "failed",
    dry_run: DryRun = False,
    watch: Watch = False,
    idempotency_key: Key = None,
    output: Output = Format.TABLE,
    quiet: Quiet = False,
) -> None:
    """Make a new run of an ended one that keeps what ended well."""
    _again(run, "retry", {"from": start}, dry_run, watch, idempotency_key, output, quiet)


def fork(
    run: Run,
    node: Annotated[str, typer.Argument(metavar="NODE", help="Where the new run begins to differ.")],
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="The node's config; - reads stdin.")
    ] = None,
    metadata: Annotated[
        str | None,
        typer.Option("--metadata", metavar="FILE", help="The node's metadata, so that it does not run."),
    ] = None,
    version: Annotated[int | None, typer.Option("--version", min=1, help="By default the run's.")] = None,
    dry_run: DryRun = False,
    watch: Watch = False,
    idempotency_key: Key = None,
    output: Output = Format.TABLE,
    quiet: Quiet = False,
) -> None:
    """Make a new run of an ended one that differs at a node: by its config, its metadata or its version."""
    body: dict[str, Any] = {"node": node}
    if config is not None:
        body["config"] = read_object(config)
    if metadata is not None:
        body["metadata"] = read_object(metadata)
    if version is not None:
        body["version"] = version
    _again(run, "fork", body, dry_run, watch, idempotency_key, output, quiet)


def _again(
    run: str,
    act: str,
    body: dict[str, Any],
    dry_run: bool,
    watch: bool,
    key: str | None,
    output: Format,
    quiet: bool,
) -> None:
    path = f"/runs/{segment(run)}/{act}"
    with connect() as client:
        if dry_run:
            found = _preview(client, path, body)
            emit(found, output, lambda: _table(found), quiet=quiet, ids=_names(found))
            return
        begin(client, path, body, key, watch, output, quiet)


def _preview(client: Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """All pages in one."""
    query: dict[str, object] = {"dry_run": True, "limit": PAGE}
    found: dict[str, Any] = client.send("POST", path, body=body, query=query, again=True).json()
    cursor = found["next_cursor"]
    while cursor is not None:
        page = client.send("POST", path, body=body, query={**query, "cursor": cursor}, again=True).json()
        found["items"] += page["items"]
        cursor = page["next_cursor"]
    return found


def _names(found: dict[str, Any]) -> list[str]:
    return [item["name"] for item in found["items"] if item["action"] == "run"]


def _table(found: dict[str, Any]) -> RenderableType:
    counts = found["counts"]
    rows = [
        (item["name"], _action(item), state(item["status"] or "pending"), _why(item))
        for item in found["items"]
    ]
    head = f"{plain(found['workflow'])} v{found['version']}: {counts['run']} run, {counts['keep']} kept"
    records = counts.get("failed_records")
    head += f"; {records} failed records redone" if records else ""
    return Group(Text(head), table(["NODE", "NEW RUN", "IT WAS", "BECAUSE"], rows))


def _action(item: dict[str, Any]) -> Text:
    return Text("runs", style="bold") if item["action"] == "run" else Text("kept", style="bright_black")


def _why(item: dict[str, Any]) -> str:
    if item.get("why") == "upstream":
        return f"'{item['because']}' runs or differs"
    text = _WHY.get(item.get("why", ""), "")
    items, records = item.get("items"), item.get("failed_records")
    if items:
        text = f"{text}; {items['kept']} of {items['count']} items kept"
    return f"{text}; only its {records} failed records" if records else text


def pause_workflow(name: Name, output: Output = Format.TABLE, quiet: Quiet = False) -> None:
    """Pause a workflow: triggers are accepted and wait, what runs goes on."""
    _hold(name, "pause", output, quiet)


def resume_workflow(name: Name, output: Output = Format.TABLE, quiet: Quiet = False) -> None:
    """Let what waited begin."""
    _hold(name, "resume", output, quiet)


def _hold(name: str, act: str, output: Format, quiet: bool) -> None:
    with connect() as client:
        answer: dict[str, Any] = client.send("POST", f"/workflows/{segment(name)}/{act}", again=True).json()
    word = "is paused" if answer["paused"] is not None else "goes on"
    emit(answer, output, lambda: Text(f"{plain(name)} {word}"), quiet=quiet, ids=[name])
