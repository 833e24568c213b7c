"""The demo: the brand aggregator, registered and run through the HTTP API as any client would."""

from __future__ import annotations

import json
import shlex
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from app.cli.client import Client, Target
from app.cli.documents import read_object
from app.cli.output import plain
from app.cli.runview import TERMINAL, RunView, render
from app.cli.watching import Watched, follow_live
from app.errors import HeadraceError, NotFound, Unavailable


def show_demo(target: Target, data: Path, console: Console, stop: threading.Event) -> None:
    """Show a finished run of the demo workflow, started if there is none yet, and how to go on."""
    from headrace_nodes import demo

    with Client(target, patience=20.0) as client:
        document = read_object(str(demo.WORKFLOW))
        name = str(document["name"])
        _register(client, name, document)
        console.print(Text(f"\nThe demo workflow {name}:\n"))
        view = _finished(client, name, {"feed": demo.FEED}, console, stop)
        if view is None:
            return
        for line in _published(view, data):
            console.print(line, soft_wrap=True)
        for line in _webhook(client, name, document, demo.FEED):
            console.print(line, soft_wrap=True)


def _register(client: Client, name: str, document: Mapping[str, Any]) -> None:
    """Publish it where it is missing; an edited one is left as it is."""
    try:
        client.get(f"/workflows/{name}")
    except NotFound:
        client.send("PUT", f"/workflows/{name}", body=document)


def _finished(
    client: Client, name: str, params: Mapping[str, Any], console: Console, stop: threading.Event
) -> RunView | None:
    """The newest run that succeeded; else one that goes on since an earlier start, or a new one, followed."""
    runs = client.pages("/runs", 50, workflow=name)
    done = next((run for run in runs if run["status"] == "succeeded"), None)
    if done:
        view = Watched(client, done["id"]).whole()
        console.print(render(view, 0.0))
        return view
    live = next((run["id"] for run in runs if run["status"] not in TERMINAL), None)
    return follow_live(client, live or _start(client, name, params), console, stop=stop.is_set)


def _start(client: Client, name: str, params: Mapping[str, Any]) -> str:
    headers = {"idempotency-key": str(uuid.uuid4())}
    path = f"/workflows/{name}/runs"
    return str(client.send("POST", path, body={"params": params}, headers=headers, again=True).json()["run"])


def _published(view: RunView, data: Path) -> list[Text]:
    """Where the feeds lie that the last nodes of the run published."""
    inner = {up for ups in view.needs.values() for up in ups}
    lines: list[Text] = []
    for node in view.nodes:
        metadata = node.get("metadata")
        if node.get("name") in inner or not isinstance(metadata, dict):
            continue
        uris = [value for value in metadata.values() if isinstance(value, str) and value.startswith("file:")]
        lines += [Text(f"  {plain(_path(uri, data))}") for uri in uris]
    return [Text("\nPublished:", style="bold"), *lines] if lines else []


def _path(uri: str, data: Path) -> str:
    path = data / uri.removeprefix("file://").removeprefix("file:")
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _webhook(client: Client, name: str, document: Mapping[str, Any], feed: str) -> list[Text]:
    """The command that fires the demo's unsigned webhook."""
    hooks = client.get(f"/workflows/{name}/hooks")["items"]
    hook = next((hook for hook in hooks if hook.get("url")), None)
    if hook is None:
        return []
    body = json.dumps({"url": feed})
    return [
        Text("\nFire its webhook:", style="bold"),
        Text(f"  curl -X POST {shlex.quote(hook['url'])} \\"),
        Text("       -H 'content-type: application/json' \\"),
        Text(f"       -d {shlex.quote(body)}"),
    ]


def demo_in_background(
    target: Target, data: Path, console: Console, stop: threading.Event
) -> threading.Thread:
    """Show the demo from a thread that ends with the process; what fails there is told, and ends no more."""

    def show() -> None:
        try:
            show_demo(target, data, console, stop)
        except Unavailable:
            if not stop.is_set():
                console.print(Text("The demo is not shown: the API does not answer."))
        except HeadraceError as error:
            console.print(Text(f"The demo is not shown: {plain(error.message)}"))

    thread = threading.Thread(target=show, name="demo", daemon=True)
    thread.start()
    return thread
