"""`headrace trigger`, `hook`, `key` and `node-type`: small commands over one call each."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from app.cli.client import connect, segment
from app.cli.moments import clock
from app.cli.output import Format, Output, Quiet, emit, fields, plain, say, table

triggers = typer.Typer(help="Receipts of triggers.", no_args_is_help=True)
hooks = typer.Typer(help="Webhooks of a workflow.", no_args_is_help=True)
keys = typer.Typer(help="API keys (needs a key with the scope admin).", no_args_is_help=True)
node_types = typer.Typer(help="The catalog of node types.", no_args_is_help=True)

Workflow = Annotated[str, typer.Argument(metavar="WORKFLOW", help="The workflow's name.")]


@triggers.command("get")
def trigger_get(
    receipt: Annotated[str, typer.Argument(metavar="RECEIPT", help="The receipt's id.")],
    output: Output = Format.TABLE,
    quiet: Quiet = False,
) -> None:
    """What became of a trigger: queued, started, duplicate, filtered, rejected or dead."""
    with connect() as client:
        found = client.get(f"/triggers/{segment(receipt)}")
    shown = ["id", "state", "workflow", "source", "run", "reason"]
    emit(found, output, lambda: fields(found, shown), quiet=quiet, ids=[found.get("state")])


@triggers.command("list")
def trigger_list(
    state: Annotated[
        str | None, typer.Option(help="queued, started, duplicate, filtered, rejected or dead.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    output: Output = Format.TABLE,
    quiet: Quiet = False,
) -> None:
    """Receipts, in no particular order; --state dead lists what can be redriven."""
    with connect() as client:
        items = client.pages("/triggers", limit, state=state)
    rows = [(t["id"], t["state"], t["workflow"], t["source"], t["run"] or t["reason"]) for t in items]
    emit(
        {"items": items},
        output,
        lambda: table(["RECEIPT", "STATE", "WORKFLOW", "SOURCE", "RUN OR REASON"], rows),
        quiet=quiet,
        ids=[t["id"] for t in items],
    )


@triggers.command("redrive")
def trigger_redrive(
    receipt: Annotated[str, typer.Argument(metavar="RECEIPT", help="The id of a dead trigger's receipt.")],
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="Of the workflow; by default the newest.")
    ] = None,
    output: Output = Format.TABLE,
    quiet: Quiet = False,
) -> None:
    """Try a dead trigger again, once what killed it was mended. Its receipt stays the same."""
    body = {} if version is None else {"version": version}
    with connect() as client:
        made = client.send("POST", f"/triggers/{segment(receipt)}/redrive", body=body).json()
    emit(made, output, lambda: Text(f"run {plain(made['run'])}"), quiet=quiet, ids=[made["run"]])


@hooks.command("create")
def hook_create(
    workflow: Workflow,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="By default one is made up.")] = None,
    signature: Annotated[str, typer.Option(help="standard, github, shopify or none.")] = "standard",
    output: Output = Format.TABLE,
    quiet: Quiet = False,
) -> None:
    """Make a URL that fires the workflow; what is posted there becomes the params.

    The secret that signs it is shown this once.
    """
    body = {"name": name, "signature": signature} if name else {"signature": signature}
    with connect() as client:
        made = client.send("POST", f"/workflows/{segment(workflow)}/hooks", body=body).json()
    shown = ["name", "url", "signature", "secret"]
    emit(made, output, lambda: fields(made, shown), quiet=quiet, ids=[made.get("url")])
    if made.get("secret") and output is Format.TABLE and not quiet:
        say("keep the secret: it is not shown again")


@hooks.command("list")
def hook_list(workflow: Workflow, output: Output = Format.TABLE, quiet: Quiet = False) -> None:
    """The webhooks of a workflow."""
    with connect() as client:
        items = client.get(f"/workflows/{segment(workflow)}/hooks")["items"]
    blocks = [fields(hook, ["name", "url", "signature", "created"]) for hook in items]
    ids = [hook.get("url") for hook in items]
    emit({"items": items}, output, lambda: Text("\n\n").join(blocks), quiet=quiet, ids=ids)


@keys.command("create")
def key_create(
    scope: Annotated[
        list[str],
        typer.Option(
            "--scope", "-s", help="read, trigger, write, operate, approve or admin; may be repeated."
        ),
    ],
    prefix: Annotated[str, typer.Option(help="Only workflows whose names begin so.")] = "",
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    output: Output = Format.TABLE,
    quiet: Quiet = False,
) -> None:
    """Make an API key. It is shown this once."""
    with connect() as client:
        made = client.send("POST", "/keys", body={"scopes": scope, "prefix": prefix, "name": name}).json()
    emit(
        made,
        output,
        lambda: fields(made, ["id", "key", "scopes", "prefix"]),
        quiet=quiet,
        ids=[made.get("key")],
    )


@keys.command("list")
def key_list(output: Output = Format.TABLE, quiet: Quiet = False) -> None:
    """The API keys, without the keys themselves."""
    with connect() as client:
        items = client.get("/keys")["items"]
    rows = [
        (k.get("id"), k.get("name"), ", ".join(k.get("scopes", [])), k.get("prefix"), clock(k.get("created")))
        for k in items
    ]
    emit(
        {"items": items},
        output,
        lambda: table(["ID", "NAME", "SCOPES", "PREFIX", "CREATED"], rows),
        quiet=quiet,
        ids=[k.get("id") for k in items],
    )


@keys.command("revoke")
def key_revoke(key: Annotated[str, typer.Argument(metavar="ID", help="The key's id.")]) -> None:
    """Revoke an API key at once."""
    with connect() as client:
        client.send("DELETE", f"/keys/{segment(key)}")
    say(f"revoked {plain(key)}")


@node_types.command("list")
def node_type_list(output: Output = Format.TABLE, quiet: Quiet = False) -> None:
    """The node types that workflows may use."""
    with connect() as client:
        items = client.pages("/node-types", 1000)
    rows = [(t.get("name"), t.get("version"), t.get("category"), t.get("title")) for t in items]
    emit(
        {"items": items},
        output,
        lambda: table(["NAME", "VERSION", "CATEGORY", "TITLE"], rows, right=["VERSION"]),
        quiet=quiet,
        ids=[t.get("name") for t in items],
    )


@node_types.command("get")
def node_type_get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The node type's name.")],
    output: Output = Format.TABLE,
    quiet: Quiet = False,
) -> None:
    """One node type and the fields of its configuration."""
    with connect() as client:
        found: dict[str, Any] = client.get(f"/node-types/{segment(name)}")
    emit(found, output, lambda: _node_type(found), quiet=quiet, ids=[name])


def _node_type(found: dict[str, Any]) -> Group:
    schema: dict[str, Any] = found.get("config_schema") or {}
    required = set(schema.get("required", []))
    rows = [
        (field, _kind(spec), "yes" if field in required else "", spec.get("default"), spec.get("title"))
        for field, spec in schema.get("properties", {}).items()
    ]
    head = Text.assemble(
        (plain(found.get("name", "")), "bold"), f"@{found.get('version')}  {plain(found.get('title') or '')}"
    )
    if text := found.get("description"):
        head.append(f"\n{plain(text, lines=True)}")
    head.append("\n")
    return Group(head, table(["CONFIG", "TYPE", "REQUIRED", "DEFAULT", "TITLE"], rows))


def _kind(spec: dict[str, Any]) -> str:
    if "enum" in spec:
        return " | ".join(plain(value) for value in spec["enum"])
    if options := spec.get("anyOf"):
        return " | ".join(_kind(option) for option in options)
    return str(spec.get("type", ""))
