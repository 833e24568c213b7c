"""The UI's files, from the directory web/."""

from __future__ import annotations

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

from app.api.problems import MethodNotAllowed
from app.errors import NotFound

WEB = Path(__file__).resolve().parents[2] / "web"
_CSP = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    b"connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class Pages:
    """Serves the files below `directory`, with / as index.html; each with the content security policy."""

    def __init__(self, directory: Path = WEB) -> None:
        self._files = StaticFiles(directory=directory, html=True) if directory.is_dir() else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", _CSP),
                    (b"cache-control", b"no-cache"),
                ]
            await send(message)

        if self._files is None:
            raise NotFound
        try:
            await self._files(scope, receive, with_policy)
        except HTTPException as error:
            if error.status_code == 405:
                raise MethodNotAllowed(allow="GET, HEAD") from None
            raise NotFound from None
