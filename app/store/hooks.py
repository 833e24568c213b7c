"""Webhook addresses of workflows.

A hook's id is its name; its URL holds a token, its secret signs what is sent to it.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from app.errors import Conflict, NotFound
from app.store.client import Batcher, Script, pairs
from app.store.keys import Keys

_ADD = Script("hook_add")
_REMOVE = Script("hook_remove")


@dataclass(slots=True, frozen=True)
class Hook:
    """One hook. `declared`: by a webhook trigger of the document, which says its signature and params."""

    name: str
    workflow: str
    token: str
    secret: str
    declared: bool
    signature: str
    params: Any
    """Template of the run's params; None on declared hooks."""
    created: int
    """Unix milliseconds."""


def digest(token: str) -> str:
    """What a token is looked up by: looking up a digest tells an attacker nothing by its time."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_secret() -> str:
    """A secret in the form of Standard Webhooks; GitHub- and Shopify-style signatures use its text as it
    stands."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


class Hooks:
    """The hooks of each workflow, and the way from a token to its hook."""

    def __init__(self, batch: Batcher, keys: Keys) -> None:
        self._batch = batch
        self._keys = keys

    async def add(
        self,
        workflow: str,
        name: str,
        *,
        signature: str,
        params: Any = None,
        secret: str | None = None,
        declared: bool = False,
    ) -> Hook:
        """A new hook. Raises Conflict when the name is taken."""
        token = secrets.token_urlsafe(32)
        created = int(time.time() * 1000)
        hook = Hook(name, workflow, token, secret or new_secret(), declared, signature, params, created)
        keys = [self._keys.workflow_hooks(workflow), self._keys.hook(digest(token))]
        args = [name, orjson.dumps(asdict(hook)), f"{workflow} {name}"]
        if not await self._batch.script(_ADD, keys, args):
            raise Conflict(f"The workflow {workflow} has a hook {name} already.")
        return hook

    async def declare(self, workflow: str, triggers: Sequence[tuple[str, str]]) -> list[Hook]:
        """Make a hook for each (name, signature) that has none yet; returns those made."""
        made: list[Hook] = []
        for name, signature in triggers:
            try:
                made.append(await self.add(workflow, name, signature=signature, declared=True))
            except Conflict:
                continue
        return made

    async def find(self, token: str) -> Hook | None:
        """The hook of a token, or None."""
        raw: bytes | None = await self._batch.call("GET", self._keys.hook(digest(token)))
        if raw is None:
            return None
        workflow, _, name = raw.decode().partition(" ")
        record: bytes | None = await self._batch.call("HGET", self._keys.workflow_hooks(workflow), name)
        return None if record is None else Hook(**orjson.loads(record))

    async def list(self, workflow: str) -> list[Hook]:
        """Every hook of a workflow, by name."""
        flat = await self._batch.call("HGETALL", self._keys.workflow_hooks(workflow))
        return sorted((Hook(**orjson.loads(raw)) for _, raw in pairs(flat)), key=lambda hook: hook.name)

    async def remove(self, workflow: str, name: str) -> None:
        """End a hook: its URL is unknown from now on. Raises NotFound."""
        raw: bytes | None = await self._batch.call("HGET", self._keys.workflow_hooks(workflow), name)
        if raw is None:
            raise NotFound(f"The workflow {workflow} has no hook {name}.")
        hook = Hook(**orjson.loads(raw))
        keys = [self._keys.workflow_hooks(workflow), self._keys.hook(digest(hook.token))]
        await self._batch.script(_REMOVE, keys, [name])
