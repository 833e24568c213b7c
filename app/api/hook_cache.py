"""Hooks by token, believed for a second, so that a burst of webhooks does not ask the store for each."""

from __future__ import annotations

import time

from app.store.hooks import Hook, Hooks, digest

FRESH_SECONDS = 1.0
MAX_HOOKS = 4096


class HookCache:
    """Known hooks only: guesses of tokens must not push them out."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._known: dict[str, tuple[Hook, float]] = {}

    async def find(self, token: str) -> Hook | None:
        """The hook of a token, or None."""
        key = digest(token)
        known = self._known.get(key)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        hook = await self._hooks.find(token)
        if hook is None:
            self._known.pop(key, None)
            return None
        if len(self._known) >= MAX_HOOKS:
            self._known.clear()
        self._known[key] = (hook, time.monotonic() + FRESH_SECONDS)
        return hook

    def forget(self) -> None:
        """A hook was made or removed by this process."""
        self._known.clear()
