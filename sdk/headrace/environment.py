"""The environment of a node process, read once; the token leaves it at once."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import NamedTuple

from headrace.errors import Fatal


class Place(NamedTuple):
    """Where a node run belongs, and where its data lies."""

    run: str
    node: str
    item: int | None
    data_uri: str
    """Root of what nodes write: `file:PATH` (or a bare path)."""
    data_roots: tuple[str, ...] = ()
    """Further directories that may be read."""
    url_allow: tuple[str, ...] = ()
    """`host` or `host:port` whose private addresses may be called."""


class Environment(NamedTuple):
    """Everything a node process is told from outside."""

    api_url: str
    token: str
    place: Place
    traceparent: str = ""
    """W3C trace context of the attempt; sent along with every call."""


def split(value: str) -> tuple[str, ...]:
    """A comma separated list without blanks."""
    return tuple(part for part in (piece.strip() for piece in value.split(",")) if part)


def read(environ: MutableMapping[str, str] | None = None) -> Environment:
    """Read HEADRACE_*; raises Fatal naming what is missing. HEADRACE_TOKEN is removed from the
    environment."""
    env = os.environ if environ is None else environ
    token = env.pop("HEADRACE_TOKEN", "")
    needed = ("HEADRACE_API_URL", "HEADRACE_RUN_ID", "HEADRACE_NODE", "HEADRACE_DATA_URI")
    missing = [name for name in needed if not env.get(name)] + ([] if token else ["HEADRACE_TOKEN"])
    if missing:
        raise Fatal(f"not started by Headrace: {', '.join(missing)} not set (try headrace.testing.run_node)")
    if "://" in env["HEADRACE_DATA_URI"] and not env["HEADRACE_DATA_URI"].startswith("file://"):
        raise Fatal("HEADRACE_DATA_URI: only file: is supported")
    item = env.get("HEADRACE_ITEM", "")
    place = Place(
        run=env["HEADRACE_RUN_ID"],
        node=env["HEADRACE_NODE"],
        item=int(item) if item else None,
        data_uri=env["HEADRACE_DATA_URI"],
        data_roots=split(env.get("HEADRACE_DATA_ROOTS", "")),
        url_allow=split(env.get("HEADRACE_URL_ALLOW", "")),
    )
    return Environment(env["HEADRACE_API_URL"], token, place, env.get("TRACEPARENT", ""))
