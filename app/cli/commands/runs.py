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
from app.cli.runview import RunView, render, state
from app.cli.watching import Watched, follow, follow_live
from app.core.states import NODE_TERMINAL
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
    log: Annotated[
        bool, typer.Option("--log", help="As --watch, with the log of each node as it ends.")
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
        begin(client, path, body, idempotency_key, watch, output, quiet, log=log)


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
        for found in client.pages(f"/runs/{segment(run)}/nodes", 1000):
            _node_log(client, run, found, {"attempt": attempt, "item": item})


def _node_log(client: Client, run: str, node: dict[str, Any], query: dict[str, Any]) -> None:
    """The log of a node below its name; nothing where it ran no program, or is a map."""
    if not node.get("attempt") or node.get("items"):
        return
    out().print(Text(f"==> {plain(node['name'])}", style="bold"))
    try:
        _copy_logs(client, run, str(node["name"]), query)
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
    *,
    log: bool = False,
) -> None:
    """Post what makes a run, and say which; with `watch` or `log` until the run ends: raises typer.Exit where it fails.

    Programs get the run as it ended.
    """
    # A key of our own makes the call safe to repeat when its answer is lost.
    headers = {"idempotency-key": key or str(uuid.uuid4())}
    accepted = client.send("POST", path, body=body, headers=headers, again=True).json()
    run = accepted["run"]
    told = output is Format.TABLE and not quiet
    if log and told:
        say(f"run {plain(run)}")
        _watch_logs(client, run)
    elif watch and told:
        say(f"run {plain(run)}")
        _watch(client, run)
    elif (watch or log) and not quiet:
        record = _followed(client, run, None)
        emit(record, output, lambda: state(record["status"]))
        _exit(record)
    else:
        emit(accepted, output, lambda: Text(f"run {plain(run)}"), quiet=quiet, ids=[run])
        if watch or log:
            _exit(_followed(client, run, None))


def _watch(client: Client, run: str) -> None:
    try:
        view = follow_live(client, run, out())
    except KeyboardInterrupt:
        say(f"\nthe run goes on: headrace run watch {plain(run)}")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if view is not None:
        _exit(dict(view.run))


def _watch_logs(client: Client, run: str) -> None:
    told = set[str]()

    def show(view: RunView) -> None:
        for node in view.nodes:
            if node["status"] in NODE_TERMINAL and node["name"] not in told:
                told.add(node["name"])
                _node_log(client, run, dict(node), {})

    record = follow(client, run, show)
    assert record is not None, "no timeout was given"
    out().print(state(record["status"]))
    _exit(record)


def _followed(client: Client, run: str, timeout: float | None) -> dict[str, Any]:
    record = follow(client, run, timeout=timeout)
    if record is None:
        raise Unavailable(f"the run has not ended within {timeout:g} seconds")
    return record


def _exit(record: dict[str, Any]) -> None:
    if record.get("status") != "succeeded":
        raise typer.Exit(EXIT_FAILED)
