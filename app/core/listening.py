"""Event triggers: which workflows a type of event concerns, without asking each, and whether a trigger wants the event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from app.core.cloudevents import Event
from app.core.effort import WORK, Work
from app.core.expressions import expression
from app.core.json_values import kind_of
from app.errors import ExpressionError

ANY = "*"
"""At the end of a pattern: any rest, also none."""


def matches(pattern: str, type_: str) -> bool:
    """Whether a type of event fits a pattern."""
    return type_.startswith(pattern[:-1]) if pattern.endswith(ANY) else type_ == pattern


@dataclass(slots=True, frozen=True)
class Listening:
    """An event trigger of a document that was checked."""

    name: str
    type: str
    when: str | None
    params: Mapping[str, Any] | None

    def wants(self, event: Event, work: Work | None = None) -> bool:
        """Whether `when` says yes, out of the budget that the triggers of a workflow share. Raises ExpressionError that
        names the place."""
        if self.when is None:
            return True
        found = expression(self.when).evaluate({"event": event, WORK: work or Work()}, "when")
        if not isinstance(found, bool):
            raise ExpressionError(f"when: true or false is expected, not {kind_of(found)}", place="when")
        return found


def event_triggers(triggers: Iterable[Mapping[str, Any]]) -> list[Listening]:
    """The event triggers of a document, in its order."""
    found = (each["event"] for each in triggers if each.get("event") is not None)
    return [Listening(each["name"], each["type"], each.get("when"), each.get("params")) for each in found]


class Patterns:
    """Workflows by the patterns of their event triggers.

    A lookup costs one step for the exact type and one for each length of a prefix that any pattern has, whatever the number
    of workflows.
    """

    def __init__(self) -> None:
        self._exact: dict[str, set[str]] = {}
        self._prefixes: dict[int, dict[str, set[str]]] = {}
        self._of: dict[str, frozenset[str]] = {}
        """The patterns of each workflow."""

    def put(self, workflow: str, patterns: Iterable[str]) -> None:
        """The patterns of a workflow are these now; none takes it out."""
        for pattern in self._of.pop(workflow, ()):
            self._remove(pattern, workflow)
        wanted = frozenset(patterns)
        for pattern in wanted:
            if pattern.endswith(ANY):
                prefix = pattern[:-1]
                self._prefixes.setdefault(len(prefix), {}).setdefault(prefix, set()).add(workflow)
            else:
                self._exact.setdefault(pattern, set()).add(workflow)
        if wanted:
            self._of[workflow] = wanted

    def _remove(self, pattern: str, workflow: str) -> None:
        text = pattern[:-1] if pattern.endswith(ANY) else pattern
        table = self._prefixes[len(text)] if pattern.endswith(ANY) else self._exact
        table[text].discard(workflow)
        if not table[text]:
            del table[text]
        if pattern.endswith(ANY) and not table:
            del self._prefixes[len(text)]

    def matching(self, type_: str) -> list[str]:
        """The workflows that an event of this type may concern, by name."""
        found = set(self._exact.get(type_, ()))
        for length, table in self._prefixes.items():
            if length <= len(type_):
                found.update(table.get(type_[:length], ()))
        return sorted(found)
