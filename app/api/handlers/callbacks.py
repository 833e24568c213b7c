"""Callbacks of services (DESIGN 7): the result of a service node, told when it is there. Opened by the token in the path."""

from __future__ import annotations

import time
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, StringConstraints, model_validator
from pydantic_core import PydanticCustomError
from starlette.types import ASGIApp

from app.api.context import Api
from app.api.http import Call, json_reply
from app.api.protocol import bounded
from app.api.schemas import Input, read
from app.core.json_values import decode_json
from app.core.signals import Signal, SignalKind
from app.core.states import STEPS, Step
from app.core.tokens import CALLBACK, TokenClaims, verify
from app.errors import Conflict, StaleEpoch, StepConflict
from app.store.nodes import NodeCall, StepReport

TRIES = 5
"""Times that a callback looks up who holds the node run: a worker may take it up just now."""


class CallbackError(Input):
    """Why the service could not do it."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    message: Annotated[str, StringConstraints(max_length=16384)]
    retryable: bool = True


class CallbackRequest(Input):
    """The result: `metadata` (null is one too), or `error`."""

    metadata: Any = None
    error: CallbackError | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> CallbackRequest:
        if ("metadata" in self.model_fields_set) == (self.error is not None):
            raise PydanticCustomError("field", "exactly one of metadata and error is needed")
        return self


class CallbackTaken(BaseModel):
    """Whose result it was."""

    run: str
    node: str
    attempt: int


async def receive(call: Call, api: Api) -> ASGIApp:
    """POST /callbacks/{token}: the same callback again gets the same answer."""
    token = call.params["token"]
    claims = verify(api.store.secret, token, time.time_ns() // 1_000_000, CALLBACK)
    raw = await call.body()
    request = read(CallbackRequest, decode_json(raw))
    for _ in range(TRIES):
        try:
            await _take(api, claims, token, raw, request)
        except StaleEpoch:
            if await _is_live(api, claims):
                continue
            raise Conflict("This attempt has ended; its callback comes too late.", late=True) from None
        except StepConflict:
            raise Conflict("Another result of this attempt was taken already.") from None
        break
    name = claims.ref.partition(":")[0]
    return json_reply({"run": claims.run, "node": name, "attempt": claims.attempt})


async def _take(api: Api, claims: TokenClaims, token: str, raw: bytes, request: CallbackRequest) -> None:
    """Raises StaleEpoch, StepConflict, NotFound."""
    speaker = NodeCall(claims.run, claims.ref, claims.attempt)
    task, epoch = await api.store.calls.holder(speaker)
    hidden = await _hidden(api, claims, token)
    if request.error is not None:
        error = request.error
        signal = Signal(
            SignalKind.FAIL, claims.ref, attempt=claims.attempt, type=redacted(error.type, hidden),
            message=redacted(error.message, hidden), retryable=error.retryable,
        )  # fmt: skip
        await api.store.calls.fail(task, epoch, signal, raw)
        return
    metadata = bounded(request.metadata, "/metadata")
    for secret in hidden:
        metadata = metadata.replace(orjson.dumps(secret)[1:-1], b"***")
    steps = [StepReport(step, metadata=metadata if step is Step.OUTPUT else None) for step in STEPS]
    await api.store.nodes.checkpoint(speaker, epoch, steps)
    await api.store.calls.forget(task)


async def _is_live(api: Api, claims: TokenClaims) -> bool:
    """Whether the attempt still runs: then it was refused only because a worker has just taken it up."""
    task, _ = await api.store.calls.holder(NodeCall(claims.run, claims.ref, claims.attempt))
    ((status, attempt, *_),) = await api.store.workers.states([task])
    return status == "running" and attempt == claims.attempt


async def _hidden(api: Api, claims: TokenClaims, token: str) -> list[str]:
    """What a service must not make visible: the token, and its own secret where this process can read it."""
    graph = await api.store.graphs.get(claims.workflow, claims.version)
    service = graph.node(claims.ref.partition(":")[0]).service
    secret = api.secrets.value(service.secret) if service is not None and service.secret else None
    return [token] if secret is None else [token, secret]


def redacted(text: str, hidden: list[str]) -> str:
    for secret in hidden:
        text = text.replace(secret, "***")
    return text
