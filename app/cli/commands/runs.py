"""`headrace run`: submit runs, watch them, read their logs."""

from __future__ import annotations

import sys
import time
import uuid
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli.client import Client, connect, segment
from app.cli.documents import parse_labels, parse_params
from app.cli.moments import clock, duration, elapsed
from app.cli.output import EXIT_FAILED, EXIT_INTERRUPTED, Format, Output, Quiet, emit, out, plain, say, table
from app.cli.reasons import reasons
from app.cli.runview import render, state
from app.cli.watching import Watched, follow, follow_live
from app.errors import NotFound, Unavailable, UsageError

app = typer.Typer(help="Runs of workflows.", no_args_is_help=True)

Run = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]


@app.command()
def submit(
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="The workflow's name.")],
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", "-p", metavar="K=V", help="A parameter; JSON keeps its type, anything else is text."
        ),
    ] = None,
    params_file: Annotated[
        str | None,
        typer.Option("--params-file", metavar="FILE", help="Parameters in YAML or JSON; - reads stdin."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="K=V", help="A label of the run.")
    ] = None,
    version: Annotated[int | None, typer.Option("--version", min=1, help="By default the newest.")] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", min=1, max=5, help="1 is the most urgent.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", metavar="KEY", help="The same key starts one run only.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show the run until it ends; exit 1 if it fails.")
    ] = False,
    output: Output = Format.TABLE,
    quiet: Quiet = False,
) -> None:
    """Start a run of a workflow."""
    body: dict[str, Any] = {"params": parse_params(param or [], params_file)}
    extra = {"version": version, "priority": priority, "labels": parse_labels(label or []) or None}
    body |= {name: value for name, value in extra.items() if value is not None}
    with connect() as client:
        path = f"/workflows/{segment(workflow)}/runs"
        begin(client, path, body, idempotency_key, watch, output, quiet)


@app.command("list")
def list_(
    workflow: Annotated[str | None, typer.Option(help="Only runs of this workflow.")] = None,
    status: Annotated[str | None, typer.Option(help="Only runs in this state.")] = None,
    label: Annotated[str | None, typer.Option(metavar="K=V", help="Only runs with this label.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only runs created at or after this moment (RFC 3339).")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    output: Output = Format.TABLE,
    quiet: Quiet = False,
) -> None:
    """The newest runs first."""
    with connect() as client:
        items = client.pages("/runs", limit, workflow=workflow, status=status, label=label, since=since)
    now = time.time()
    rows = [
        (
            r.get("id"),
            r.get("workflow"),
            state(r.get("status")),
            clock(r.get("created")),
            duration(elapsed(r.get("started"), r.get("ended"), now)),
        )
        for r in items
    ]
    emit(
        {"items": items},
        output,
        lambda: table(["RUN", "WORKFLOW", "STATE", "CREATED", "TIME"], rows, right=["TIME"]),
        quiet=quiet,
        ids=[r.get("id") for r in items],
    )


@app.command()
def why(
    run: Run,
    node: Annotated[str | None, typer.Argument(metavar="[NODE]", help="NODE, or NODE:ITEM of a map.")] = None,
    output: Output = Format.TABLE,
    quiet: Quiet = False,
) -> None:
    """Why it does not go on, the most decisive reason first; of what has ended, how it came to that."""
    path = f"/runs/{segment(run)}"
    if node is not None:
        path += f"/nodes/{segment(node)}"
    with connect() as client:
        items: list[dict[str, Any]] = client.get(f"{path}/why")["items"]
    emit(
        {"items": items},
        output,
        lambda: reasons(items),
        quiet=quiet,
        ids=[each.get("code") for each in items],
    )


def _decide(run: str, node: str, what: str, comment: str | None, output: Format) -> None:
    with connect() as client:
        body = {} if comment is None else {"comment": comment}
        answer = client.send(
            "POST", f"/runs/{segment(run)}/nodes/{segment(node)}/{what}", body=body, again=True
        ).json()
    told = "approved" if answer["decision"]["approved"] else "rejected"
    emit(
        answer,
        output,
        lambda: Text(f"{plain(node)} {told} by {plain(answer['decision']['by'])}"),
        quiet=False,
        ids=[],
    )


Asked = Annotated[str, typer.Argument(metavar="NODE", help="NODE, or NODE:ITEM of a map.")]
Comment = Annotated[str | None, typer.Option("--comment", "-m", help="What there is to say.")]


@app.command()
def approve(run: Run, node: Asked, comment: Comment = None, output: Output = Format.TABLE) -> None:
    """Approve what a node asks: the run goes on."""
    _decide(run, node, "approve", comment, output)


@app.command()
def reject(run: Run, node: Asked, comment: Comment = None, output: Output = Format.TABLE) -> None:
    """Reject what a node asks: the node fails."""
    _decide(run, node, "reject", comment, output)


@app.command()
def get(run: Run, output: Output = Format.TABLE, quiet: Quiet = False) -> None:
    """One run and its nodes."""
    with connect() as client:
        view = Watched(client, run).whole()
    data = {**view.run, "nodes": list(view.nodes)}
    emit(data, output, lambda: render(view, time.time()), quiet=quiet, ids=[view.run.get("status")])


@app.command()
def watch(run: Run) -> None:
    """Show a run's tree live until it ends; exit 1 if it fails."""
    with connect() as client:
        _watch(client, run)


@app.command()
def wait(
    run: Run,
    timeout: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Give up after; exit 3.")
    ] = None,
    output: Output = Format.TABLE,
    quiet: Quiet = False,
) -> None:
    """Wait for a run to end; exit 1 if it fails."""
    with connect() as client:
        record = _followed(client, run, timeout)
    emit(record, output, lambda: state(record["status"]), quiet=quiet, ids=[record["status"]])
    _exit(record)


@app.command()
def logs(
    run: Run,
    node: Annotated[
        str | None, typer.Argument(metavar="[NODE]", help="One node; by default all, one by one.")
    ] = None,
    attempt: Annotated[int | None, typer.Option(min=1, help="By default the last one.")] = None,
    item: Annotated[int | None, typer.Option(min=0, help="The item of a map, counted from 0.")] = None,
    follow_: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the node ends.")] = False,
) -> None:
    """What the processes of a node wrote."""
    if follow_ and node is None:
        raise UsageError("--follow needs a node: headrace run logs -f RUN NODE")
    with connect() as client:
        if node is not None:
            _copy_logs(client, run, node, {"attempt": attempt, "item": item, "follow": follow_ or None})
            return
        for found in client.get(f"/runs/{segment(run)}/nodes")["items"]:
            name = str(found["name"])
            if not found.get("attempt") or found.get("items"):
                continue
            out().print(Text(f"==> {plain(name)}", style="bold"))
            try:
                _copy_logs(client, run, name, {"attempt": attempt, "item": item})
            except NotFound as error:
                say(error.message)


def _copy_logs(client: Client, run: str, node: str, query: dict[str, Any]) -> None:
    path = f"/runs/{segment(run)}/nodes/{segment(node)}/logs"
    ended = True
    with client.stream(path, query=query, headers={"accept": "text/plain"}) as response:
        for text in response.iter_text():
            sys.stdout.write(plain(text, lines=True))
            sys.stdout.flush()
            ended = text.endswith("\n")
    if not ended:
        sys.stdout.write("\n")


def begin(
    client: Client,
    path: str,
    body: dict[str, Any],
    key: str | None,
    watch: bool,
    output: Format,
    quiet: bool,
) -> None:
    """Post what makes a run, and say which; with `watch` until the run ends: raises typer.Exit where it fails."""
    # A key of our own makes the call safe to repeat when its answer is lost.
    headers = {"idempotency-key": key or str(uuid.uuid4())}
    accepted = client.send("POST", path, body=body, headers=headers, again=True).json()
    run = accepted["run"]
    if watch and output is Format.TABLE and not quiet:
        say(f"run {plain(run)}")
        _watch(client, run)
        return
    emit(accepted, output, lambda: Text(f"run {plain(run)}"), quiet=quiet, ids=[run])
    if watch:
        _exit(_followed(client, run, None))


def _watch(client: Client, run: str) -> None:
    try:
        view = follow_live(client, run, out())
    except KeyboardInterrupt:
        say(f"\nthe run goes on: headrace run watch {plain(run)}")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if view is not None:
        _exit(dict(view.run))


def _followed(client: Client, run: str, timeout: float | None) -> dict[str, Any]:
    record = follow(client, run, timeout=timeout)
    if record is None:
        raise Unavailable(f"the run has not ended within {timeout:g} seconds")
    return record


def _exit(record: dict[str, Any]) -> None:
    if record.get("status") != "succeeded":
        raise typer.Exit(EXIT_FAILED)
