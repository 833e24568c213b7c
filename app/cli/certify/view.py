"""A verdict for people: 80 columns."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from app.cli.certify.outcome import Difference
from app.cli.certify.verdict import Reason, Tried, Verdict
from app.cli.output import plain, table

MOST = 3
"""Differences that are shown of a run."""
LONGEST = 200
"""Characters that are shown of a value."""
SAYS = {
    Reason.FAILED: "the unharmed run did not succeed, so there is nothing to compare with",
    Reason.NONDETERMINISTIC: "two unharmed runs gave different things; kills would say nothing",
    Reason.DIFFERENT: "after a kill it gave something else than unharmed",
    Reason.NOT_FENCED: "a process that was replaced went on: another one owns its node run",
    Reason.NOT_KILLED: "nothing was killed: it ended before that each time, or --kills is 0",
}


def view(verdict: Verdict, again: str) -> RenderableType:
    """`again`: the command that does the same once more."""
    good = verdict.reason is None
    mark = ("✔", "green") if good else ("✘", "red")
    said = "certified" if verdict.reason is None else f"not certified: {SAYS[verdict.reason]}"
    lines = [Text.assemble(mark, f" {plain(verdict.name)}: {said}"), Text(_about(verdict))]
    if verdict.reference.error:
        lines.append(Text(f"error     {plain(verdict.reference.error)}"))
    lines.append(Text(f"metadata  {_short(verdict.reference.metadata)}"))
    lines += [Text(f"{'' if n else 'unread':10}{plain(uri)}: {plain(why)}")
              for n, (uri, why) in enumerate(verdict.unread.items())]  # fmt: skip
    lines += [Text(f"unlike    {_said(each)}") for each in verdict.unlike[:MOST]]
    shown: list[RenderableType] = [*lines]
    if verdict.tried:
        rows = [(each.case.text, _restarts(each), _resumed(each, verdict.protocol), _output(each))
                for each in verdict.tried]  # fmt: skip
        shown.append(table(["KILLED", "RESTARTS", "WENT ON FROM", "OUTPUT"], rows, right=["RESTARTS"]))
    shown += _wrong(verdict)
    if not good:
        shown.append(Text(f"again     {plain(again)}"))
    return Group(*shown)


def _about(verdict: Verdict) -> str:
    speaks = "" if verdict.protocol else ", without the node protocol: it always begins anew"
    counted = (
        f"{verdict.records} records, {len(verdict.reference.failed)} failed"
        if verdict.protocol
        else "a program"
    )
    return f"seed      {verdict.seed}; {counted}{speaks}"


def _restarts(tried: Tried) -> int:
    return max(tried.trial.lives - 1, 0)


def _resumed(tried: Tried, protocol: bool) -> str:
    if not protocol:
        return "the beginning" if _restarts(tried) else ""
    return ", ".join(each.text for each in tried.trial.resumes)


def _output(tried: Tried) -> str:
    if tried.wrong:
        return "ANOTHER"
    if not tried.killed:
        return "it ended before"
    return "the same; 409" if tried.trial.fence is not None else "the same"


def _wrong(verdict: Verdict) -> list[Text]:
    lines: list[Text] = []
    for each in verdict.tried:
        if each.wrong:
            lines.append(Text(f"{each.case.text}:"))
            lines += [Text(f"  {_said(one)}") for one in each.wrong[:MOST]]
            if len(each.wrong) > MOST:
                lines.append(Text(f"  and {len(each.wrong) - MOST} more; -o json has them all"))
    return lines


def _said(wrong: Difference) -> str:
    place = f"{wrong.what} {plain(wrong.where)}".rstrip()
    return f"{place}: {_short(wrong.expected)} was expected, and it is {_short(wrong.found)}"


def _short(value: Any) -> str:
    text = _digest(value) if isinstance(value, dict) and "sha256" in value else plain(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _digest(value: dict[str, Any]) -> str:
    size = f"{value['records']} records" if "records" in value else f"{value['bytes']} bytes"
    return f"{size} of sha256 {str(value['sha256'])[:12]}"
