"""`headrace pool`: slots, who holds them, and setting them."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.client import connect, segment
from app.cli.output import Format, Output, Quiet, emit, fields, table

app = typer.Typer(help="Pools: how many node runs go on at a time.", no_args_is_help=True)


@app.command("list")
def pool_list(output: Output = Format.TABLE, quiet: Quiet = False) -> None:
    """Every pool with its slots, those that are held, and how many node runs wait for it."""
    with connect() as client:
        items = client.get("/pools")["items"]
    rows = [(p.get("name"), p.get("slots"), p.get("used"), p.get("waiting")) for p in items]
    emit(
        {"items": items},
        output,
        lambda: table(["POOL", "SLOTS", "USED", "WAITING"], rows, right=["SLOTS", "USED", "WAITING"]),
        quiet=quiet,
        ids=[p.get("name") for p in items],
    )


@app.command("set")
def pool_set(
    name: Annotated[str, typer.Argument(metavar="POOL", help="global, type:NAME, workflow:NAME or a name.")],
    slots: Annotated[int, typer.Argument(metavar="SLOTS", min=0, help="0 admits nothing further.")],
    output: Output = Format.TABLE,
    quiet: Quiet = False,
) -> None:
    """Set the slots of a pool, from now on (needs a key with the scope admin). What runs goes on."""
    with connect() as client:
        made = client.send("PUT", f"/pools/{segment(name)}", body={"slots": slots}).json()
    emit(made, output, lambda: fields(made, ["name", "slots", "used", "waiting"]), quiet=quiet, ids=[name])
