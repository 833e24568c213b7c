"""What whoever takes triggers in knows of published workflows: the current version, its params' validator, its triggers.

The current version of a workflow is believed for FRESH_SECONDS; a publish by this process is seen at once.
What a version says never changes, so it is kept as long as there is room.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from app.core.expressions import Template
from app.core.listening import event_triggers
from app.core.schemas import apply_params, fill_defaults, validator
from app.errors import Conflict, NotFound
from app.store.workflows import Interface, Workflows

FRESH_SECONDS = 1.0
MAX_VERSIONS = 1024


@dataclass(slots=True, frozen=True)
class Webhook:
    """A webhook trigger of a document: which signature it expects, and the template of its params (None: the
    body)."""

    signature: str
    params: Template | None


class Published:
    """One version, ready to take triggers."""

    __slots__ = ("_schema", "_validator", "event_params", "event_triggers", "name", "version", "webhooks")

    def __init__(self, interface: Interface) -> None:
        self.name = interface.name
        self.version = interface.version
        self._schema = interface.params
        self._validator = None if interface.params is None else validator(interface.params)
        self.webhooks = dict(_webhooks(interface.triggers))
        self.event_triggers = event_triggers(interface.triggers)
        self.event_params = {
            each.name: None if each.params is None else Template(each.params) for each in self.event_triggers
        }

    def params(self, given: Any) -> dict[str, Any]:
        """Params with their defaults. Raises InvalidInput with the places that do not fit the schema."""
        if self._schema is not None and self._validator is not None and isinstance(given, dict):
            filled = fill_defaults(self._schema, cast("dict[str, Any]", given))
            if self._validator.is_valid(filled):
                return filled
        return apply_params(self._schema, given)  # tells what is wrong, at more cost


def _webhooks(triggers: list[dict[str, Any]]) -> list[tuple[str, Webhook]]:
    found: list[tuple[str, Webhook]] = []
    for trigger in triggers:
        webhook: Mapping[str, Any] | None = trigger.get("webhook")
        if webhook is not None:
            template = Template(webhook["params"]) if webhook.get("params") is not None else None
            found.append((webhook["name"], Webhook(webhook.get("signature", "standard"), template)))
    return found


@dataclass(slots=True)
class _Current:
    version: int | None
    """None: archived."""
    until: float


class PublishedCache:
    """Versions and which of them is current."""

    def __init__(self, workflows: Workflows) -> None:
        self._workflows = workflows
        self._current: dict[str, _Current] = {}
        self._versions: dict[tuple[str, int], Published] = {}

    async def current(self, name: str) -> Published:
        """The current version. Raises NotFound, or Conflict when the workflow is archived."""
        known = self._current.get(name)
        now = time.monotonic()
        if known is None or known.until < now:
            if known is not None:
                known.until = (
                    now + FRESH_SECONDS
                )  # one caller asks; the others go on with what is known meanwhile
            known = await self._ask(name)
        if known.version is None:
            raise Conflict(f"The workflow {name} is archived.", workflow=name)
        return await self.version(name, known.version)

    async def _ask(self, name: str) -> _Current:
        try:
            head = await self._workflows.head(name)
        except BaseException:
            self._current.pop(name, None)
            raise
        version = head.version if head.archived is None else None
        current = _Current(version, time.monotonic() + FRESH_SECONDS)
        if len(self._current) >= MAX_VERSIONS:
            self._current.clear()
        self._current[name] = current
        return current

    async def version(self, name: str, version: int) -> Published:
        """One version, whether it is the current one or not. Raises NotFound."""
        found = self._versions.get((name, version))
        if found is None:
            found = Published(await self._workflows.interface(name, version))
            if len(self._versions) >= MAX_VERSIONS:
                self._versions.clear()
            self._versions[name, version] = found
        return found

    async def usable(self, name: str, version: int | None) -> Published:
        """The version a trigger asked for, or the current one; an archived workflow takes no triggers."""
        current = await self.current(name)
        if version is None or version == current.version:
            return current
        if version < 1:
            raise NotFound(f"There is no version {version} of the workflow {name}.")
        return await self.version(name, version)

    def forget(self, name: str) -> None:
        """The workflow was published or archived by this process."""
        self._current.pop(name, None)
