"""What a server that cannot start says: the reason, where it is one of ours, and no traceback."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import HeadraceError

FAILED = "lifespan.startup.failed"


class SaysWhy:
    """Passes everything on; of a start that failed with an error of ours only its message is told."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        failed: list[Message] = []

        async def hold(message: Message) -> None:
            if message["type"] == FAILED:
                failed.append(message)
            else:
                await send(message)

        try:
            await self._app(scope, receive, hold)
        except HeadraceError as error:
            if not failed:
                raise
            await send({"type": FAILED, "message": f"cannot start: {error.message}"})
        except BaseException:
            for message in failed:
                await send(message)
            raise
