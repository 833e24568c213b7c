"""`headrace workflow`: definitions, applied from files and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli.client import connect, segment
from app.cli.documents import read_object
from app.cli.moments import clock
from app.cli.outline import outline
from app.cli.output import Format, Output, Quiet, as_json, as_yaml, emit, plain, table
from app.cli.runview import needs_of
from app.errors import InvalidInput, Place, UsageError

app = typer.Typer(help="Workflow definitions.", no_args_is_help=True)

File = Annotated[str, typer.Argument(metavar="FILE", help="A workflow in YAML or JSON; - reads stdin.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The workflow's name.")]


@app.command()
def apply(
    file: File,
    if_match: Annotated[
        str | None, typer.Option("--if-match", help="Only over the version with this etag.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check it, change nothing.")] = False,
    output: Output = Format.TABLE,
    quiet: Quiet = False,
) -> None:
    """Publish a workflow. The same content keeps its version number."""
    _put(file, if_match, dry_run, output, quiet)


@app.command()
def validate(file: File, output: Output = Format.TABLE, quiet: Quiet = False) -> None:
    """Check a workflow against the server's node types without publishing it."""
    _put(file, None, True, output, quiet)


def _put(file: str, if_match: str | None, dry_run: bool, output: Format, quiet: bool) -> None:
    document = read_object(file)
    name = document.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidInput("The workflow is not valid.", [Place("/name", "the workflow needs a name")])
    with connect() as client:
        answer = client.send(
            "PUT",
            f"/workflows/{segment(name)}",
            body=document,
            query={"dry_run": True if dry_run else None},
            headers={"if-match": if_match} if if_match else None,
        )
    result: dict[str, Any] = answer.json()
    verb = "is valid" if dry_run else ("published" if answer.status_code == 201 else "unchanged")
    version = result.get("version")
    tail = f" v{version}" if version and not dry_run else ""
    hooks: list[dict[str, Any]] = result.get("hooks") or []
    text = f"{plain(name)}{tail} {verb}" + "".join(_hook_lines(hook) for hook in hooks)
    emit(result, output, lambda: Text(text), quiet=quiet, ids=[name])


def _hook_lines(hook: dict[str, Any]) -> str:
    """A webhook that this publication made: its secret is told this once."""
    secret = (
        f"\n  secret {plain(hook['secret'])} (not shown again)" if hook.get("signature") != "none" else ""
    )
    return f"\nwebhook {plain(hook['name'])}\n  {plain(hook['url'])}{secret}"


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    output: Output = Format.TABLE,
    quiet: Quiet = False,
) -> None:
    """The workflows."""
    with connect() as client:
        items = client.pages("/workflows", limit)
    rows = [(w.get("name"), w.get("version"), clock(w.get("updated"))) for w in items]
    emit(
        {"items": items},
        output,
        lambda: table(["NAME", "VERSION", "PUBLISHED"], rows, right=["VERSION"]),
        quiet=quiet,
        ids=[w.get("name") for w in items],
    )


@app.command()
def get(
    name: Name,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="A version; by default the newest.")
    ] = None,
    output: Output = Format.TABLE,
    quiet: Quiet = False,
) -> None:
    """One workflow: its nodes as a tree; with -o json or yaml the whole document."""
    path = f"/workflows/{segment(name)}" + (f"/versions/{version}" if version else "")
    with connect() as client:
        found: dict[str, Any] = client.get(path)
    document: dict[str, Any] = found.get("document", found)
    emit(found, output, lambda: _tree(found, document), quiet=quiet, ids=[name])


@app.command()
def export(
    name: Name,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="A version; by default the newest.")
    ] = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="yaml or json.")] = Format.YAML,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", dir_okay=False, help="By default it is printed."),
    ] = None,
) -> None:
    """The document alone, as `workflow apply` takes it."""
    path = f"/workflows/{segment(name)}" + (f"/versions/{version}" if version else "")
    with connect() as client:
        document: dict[str, Any] = client.get(path)["document"]
    text = as_json(document) + "\n" if output is Format.JSON else as_yaml(document)
    if file is None:
        typer.echo(text, nl=False)
        return
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error


def _tree(found: dict[str, Any], document: dict[str, Any]) -> Text:
    nodes = document.get("nodes", {})
    text = Text.assemble((plain(document.get("name", "")), "bold"), f" v{found.get('version', '?')}")
    if description := document.get("description"):
        text.append(f"\n{plain(description)}")
    for row in outline(needs_of(document)):
        node = nodes[row.name]
        kind = next(
            (k for k in ("type", "image", "service", "workflow", "approval", "wait") if k in node), ""
        )
        detail = node[kind] if kind in ("type", "image") else kind
        text.append("\n").append(row.lead, style="bright_black").append(plain(row.name))
        text.append(f"  {plain(detail)}{'  (map)' if 'map' in node else ''}", style="bright_black")
    for schedule in found.get("schedules") or ():
        text.append("\n").append(f"schedule {plain(schedule['name'])}")
        ticks = ", ".join(plain(tick) for tick in schedule["next"][:3]) or "never"
        detail = f"  {plain(schedule['cron'])} {plain(schedule['time_zone'])}  next {ticks}"
        text.append(detail, style="bright_black")
    return text
