"""`headrace node`: begin a node of one's own, try it without a server, put it into the catalog."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from app.cli.client import DEV_READY, Client, connect, find_target, segment
from app.cli.documents import read_object
from app.cli.nodetemplates import FILES
from app.cli.output import EXIT_FAILED, Format, Output, Quiet, emit, plain, say, table
from app.errors import NotFound, UsageError

app = typer.Typer(help="Nodes of one's own, in Python.", no_args_is_help=True)

AUTHOR = "headrace.author"
"""The SDK's module that loads a node's file; it runs in a process of its own."""
SAMPLE = ".sample.yaml"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_OWN = ("name", "version", "command")
"""Members of a manifest that a node type does not bring over the API."""

File = Annotated[str, typer.Argument(metavar="FILE[:CLASS]", help="The Python file of a node.")]


@app.command()
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as my_node: the name of its file.")],
    directory: Annotated[Path, typer.Option("--dir", metavar="DIR", file_okay=False)] = Path("."),
    quiet: Quiet = False,
) -> None:
    """Write a node that works, with a sample to try it on: NAME.py, NAME.sample.yaml, NAME.sample.ndjson."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a node: lower-case letters, digits and _, beginning with a letter"
        )
    module = name.replace("-", "_")
    words = {"module": module, "type": module.replace("_", "-"), "title": module.replace("_", " ").capitalize(),
             "class": "".join(part.capitalize() for part in module.split("_"))}  # fmt: skip
    files = {directory / f"{module}{suffix}": text for suffix, text in FILES.items()}
    for path in files:
        if path.exists():
            raise UsageError(f"{path} is there already")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            for word, value in words.items():
                text = text.replace(f"<{word}>", value)
            path.write_text(text, "utf-8")
            typer.echo(plain(str(path)))
    except OSError as error:
        raise UsageError(f"cannot write below {directory}: {error.strerror}") from error
    if not quiet:
        say(
            f"next: headrace node test {directory / module}.py; then headrace node register {directory / module}.py"
        )


@app.command("test")
def try_out(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE[:CLASS]]", help="By default every node here that has a sample."),
    ] = None,
    sample: Annotated[
        str | None, typer.Option("--sample", metavar="FILE", help="By default NAME.sample.yaml beside it.")
    ] = None,
    kills: Annotated[bool, typer.Option("--kills/--no-kills", help="Let it die in between as well.")] = True,
    output: Output = Format.TABLE,
    quiet: Quiet = False,
) -> None:
    """Run the four steps of a node without a server, and again with a crash at each step; exit 1 if anything is wrong."""
    found: list[dict[str, Any]] = []
    for each in [file] if file is not None else nodes_here():
        path = Path(each.partition(":")[0])
        given = sample or str(path.with_name(path.stem + SAMPLE))
        document = read_object(given)
        options = [] if kills else ["--no-kills"]
        found.append(ask_author(["test", each, str(Path(given).parent), *options], document))
    emit(found[0] if file else {"items": found}, output, lambda: Group(*map(_report, found)), quiet=quiet,
         ids=[each["type"] for each in found])  # fmt: skip
    if not all(map(_good, found)):
        raise typer.Exit(EXIT_FAILED)


def nodes_here() -> list[str]:
    """The files of the nodes of this directory that have a sample. Raises UsageError where there are none."""
    found = [str(path)[: -len(SAMPLE)] + ".py" for path in sorted(Path().glob("*" + SAMPLE))]
    if not found:
        raise UsageError(f"there is no *{SAMPLE} here; headrace node init NAME makes one")
    return found


def ask_author(arguments: list[str], stdin: object = None) -> dict[str, Any]:
    """What the SDK says of a node's file. Raises UsageError with what the file's own code wrote where that fails."""
    ran = subprocess.run(
        [sys.executable, "-m", AUTHOR, *arguments], input=json.dumps(stdin or {}).encode(), capture_output=True,
        check=False, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    if ran.returncode:
        raise UsageError(
            ran.stderr.decode(errors="replace").strip() or f"it ended with code {ran.returncode}"
        )
    if ran.stderr:
        say(plain(ran.stderr.decode(errors="replace").rstrip(), lines=True))
    answer: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return answer


def _good(found: dict[str, Any]) -> bool:
    lives = all(kill["same"] for kill in found["kills"])
    return found["exit_code"] == 0 and not found["unexpected"] and lives


def _report(found: dict[str, Any]) -> RenderableType:
    mark = ("✔", "green") if _good(found) else ("✘", "red")
    head = Text.assemble(
        mark, f" {plain(found['type'])}: {found['count']} records, {len(found['failed'])} failed"
    )
    lines = [head, Text(f"metadata  {plain(found['metadata'])}")]
    lines += [Text(f"record    {plain(record)}") for record in found["records"]]
    lines += [Text(f"failed    {each['index']} {_error(each)}") for each in found["failed"][:3]]
    if found["error"]:
        lines.append(Text(f"error     {_error(found['error'])}"))
    lines += [
        Text(
            f"expected  {plain(each['member'])}: {plain(each['expected'])}, but it is {plain(each['found'])}"
        )
        for each in found["unexpected"]
    ]
    if found["kills"]:
        rows = [(_place(kill["at"]), "the same" if kill["same"] else "ANOTHER") for kill in found["kills"]]
        return Group(*lines, table(["KILLED", "OUTPUT"], rows))
    return Group(*lines)


def _error(found: dict[str, Any]) -> str:
    return f"{plain(found['type'])}: {plain(found['message'])}"


def _place(at: int | str) -> str:
    return f"at record {at}" if isinstance(at, int) else f"after {at}"


@app.command()
def register(
    file: File,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="DIR",
            file_okay=False,
            help="Where the server looks (HEADRACE_NODE_TYPES); by default that of the dev of this directory.",
        ),
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="An image that runs it: registered over the API, as admin.")
    ] = None,
    python: Annotated[
        str, typer.Option(metavar="PATH", help="The interpreter that runs it; by default the worker's.")
    ] = "{python}",
    output: Output = Format.TABLE,
    quiet: Quiet = False,
) -> None:
    """Put a node into the catalog. What changed is its next version; a workflow stays with that of its publication."""
    path, _, name = file.partition(":")
    ref = f"{Path(path).resolve()}:{name}" if name else str(Path(path).resolve())
    manifest = ask_author(["manifest", ref])
    if image is not None:
        body = {"image": image} | {key: manifest[key] for key in manifest if key not in _OWN}
        with connect() as client:
            done = client.send("PUT", f"/node-types/{segment(manifest['name'])}", body=body).json()
    else:
        directory = to or DEV_READY.parent / "node-types"
        if not directory.is_dir():
            raise UsageError(
                f"there is no directory {directory}: --to names one of the server's HEADRACE_NODE_TYPES; or give --image"
            )
        manifest["command"] = [python, "-m", AUTHOR, "run", ref]
        done = _write(directory, manifest)
        _check_known(done)
    text = Text(f"{plain(done['name'])}@{done['version']} is in the catalog")
    emit(done, output, lambda: text, quiet=quiet, ids=[f"{done['name']}@{done['version']}"])


def _write(directory: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with its version: that of the newest file of the type with this very content, else the next one."""
    known: dict[int, dict[str, Any]] = {}
    for path in directory.glob(f"{manifest['name']}@*.json"):
        found = read_object(str(path))
        known[int(found["version"])] = found
    newest = known.get(max(known, default=0))
    if newest is not None and {**newest, "version": 0} == {**manifest, "version": 0}:
        return newest
    made = {
        **manifest,
        "version": max([manifest["version"], max(known, default=0) + 1, _taken(manifest["name"]) + 1]),
    }
    path = directory / f"{made['name']}@{made['version']}.json"
    try:
        temporary = path.with_suffix(".writing")
        temporary.write_text(json.dumps(made, indent=2) + "\n", "utf-8")
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    return made


def _taken(name: str) -> int:
    """The newest version that the server has, whoever registered it; 0 where there is none, or no server."""
    try:
        target = find_target()
    except UsageError:
        return 0
    with Client(target) as client:
        try:
            return int(client.get(f"/node-types/{segment(name)}")["version"])
        except NotFound:
            return 0


def _check_known(made: dict[str, Any]) -> None:
    """Raises UsageError where the server does not look there; without a server there is nothing to ask."""
    try:
        target = find_target()
    except UsageError:
        say("no server was asked; one that looks there takes it")
        return
    with Client(target) as client:
        try:
            client.get(f"/node-types/{segment(made['name'])}@{made['version']}")
        except NotFound:
            raise UsageError(
                f"{target.url} does not look there: list the directory in its HEADRACE_NODE_TYPES and start it anew"
            ) from None
