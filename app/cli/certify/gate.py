"""Around the API, as an ASGI application: it sees the node protocol, and lets a process die where its trial says.

Before an entry is taken: the call ends with the process. After it: the engine has taken the entry, and the process never
hears of it. A call of several entries is cut where the moment lies, as if the others had not been sent yet.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, NamedTuple

import orjson

from app.cli.certify.moments import Moment
from app.cli.certify.trial import Life, Trial

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

STALE = 409
_CALL = re.compile(r"/api/v1/runs/([^/]+)/nodes/[^/]+(?:/items/\d+)?/(start|checkpoints)")
_NOBODY = (503, b"{}")
"""What a process is answered that is gone."""


class Answer(NamedTuple):
    """An answer of the API, whole."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Gate:
    """Passes everything on to the API but what a trial has to say to."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.trials: dict[str, Trial] = {}
        """By run."""

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        call = _CALL.fullmatch(scope["path"]) if scope["type"] == "http" else None
        trial = self.trials.get(call[1]) if call else None
        if call is None or trial is None:
            await self._app(scope, receive, send)
            return
        body = await _whole(receive)
        if call[2] == "start":
            answer = await self._pass_on(scope, body)
            if answer.status < 300:
                await trial.started(orjson.loads(answer.body))
        else:
            answer = await self._checkpoints(trial, scope, body)
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _checkpoints(self, trial: Trial, scope: MutableMapping[str, Any], body: bytes) -> Answer:
        told = _told(body)
        life = trial.speaker(told.get("epoch"))
        if life is not None and life.replaced.is_set():
            await trial.went_on(life)
        if life is None or life.killed or life.replaced.is_set():
            return await self._pass_on(scope, body)
        steps: list[dict[str, Any]] = told["steps"]
        due = trial.due(steps)
        if due is None:
            return await self._take(trial, scope, told, steps)
        count, moment = due
        if count:
            answer = await self._take(trial, scope, told, steps[:count])
            if answer.status >= 300:
                return answer
        if moment.hold:
            return await self._held(trial, life, moment, scope, body)
        await trial.kill(life, moment)
        return Answer(_NOBODY[0], [], _NOBODY[1])

    async def _held(
        self, trial: Trial, life: Life, moment: Moment, scope: MutableMapping[str, Any], body: bytes
    ) -> Answer:
        """The call of a process whose successor has begun meanwhile, as it was sent."""
        await trial.hold(life, moment)
        answer = await self._pass_on(scope, body)
        if trial.fence is not None:
            trial.fence.refused = answer.status == STALE
        return answer

    async def _take(
        self,
        trial: Trial,
        scope: MutableMapping[str, Any],
        told: dict[str, Any],
        steps: Sequence[dict[str, Any]],
    ) -> Answer:
        answer = await self._pass_on(scope, orjson.dumps({**told, "steps": steps}))
        if answer.status < 300:
            trial.accepted(steps)
        return answer

    async def _pass_on(self, scope: MutableMapping[str, Any], body: bytes) -> Answer:
        """What the API answers to a body."""
        status, headers, pieces = 500, list[tuple[bytes, bytes]](), list[bytes]()
        kept = [(name, value) for name, value in scope["headers"] if name.lower() != b"content-length"]
        given = {**scope, "headers": [*kept, (b"content-length", str(len(body)).encode())]}
        left = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            return left.pop() if left else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers.extend(message.get("headers", []))
            else:
                pieces.append(message.get("body", b""))

        await self._app(given, receive, send)
        return Answer(status, headers, b"".join(pieces))


async def _whole(receive: Receive) -> bytes:
    pieces: list[bytes] = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return b"".join(pieces)


def _told(body: bytes) -> dict[str, Any]:
    """The body of a checkpoints call; empty where it is none, which the API then refuses."""
    try:
        told: Any = orjson.loads(body)
    except ValueError:
        return {}
    steps: Any = told.get("steps") if isinstance(told, dict) else None
    return told if isinstance(steps, list) and all(isinstance(step, dict) for step in steps) else {}
