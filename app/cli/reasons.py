"""Reasons for people: one a paragraph, the most decisive first, within 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from app.cli.moments import clock
from app.cli.output import plain

WIDTH = 80
INDENT = 2
_PAPER = Console(width=WIDTH)


def reasons(items: Sequence[Mapping[str, Any]]) -> RenderableType:
    """CODE since TIME, below it the sentence, below that who is named."""
    return Group(*(_reason(item) for item in items))


def _reason(item: Mapping[str, Any]) -> RenderableType:
    head = Text(plain(str(item.get("code"))), style="bold")
    if item.get("since"):
        head.append(f"  since {clock(item['since'])}", style="dim")
    rows: list[RenderableType] = [head, _below(Text(plain(str(item.get("detail")))))]
    for holder in item.get("holders") or ():
        who = f"held by {holder.get('run')} {holder.get('node')} since {clock(holder.get('since'))}"
        rows.append(_below(Text(plain(who), style="dim")))
    return Group(*rows)


def _below(text: Text) -> RenderableType:
    lines = text.wrap(_PAPER, WIDTH - INDENT)
    return Padding(Text("\n").join(lines), (0, 0, 0, INDENT))
