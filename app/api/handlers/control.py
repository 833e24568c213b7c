"""What people do to runs and workflows: cancel, pause, resume. Each is idempotent and audited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp

from app.api.context import Api
from app.api.handlers.runs import visible_run
from app.api.http import Call, json_reply
from app.core.round import iso
from app.core.states import RUN_TERMINAL
from app.errors import NotFound


async def _ask(call: Call, api: Api, act: Callable[[str], Awaitable[str]]) -> ASGIApp:
    """202 with the run's status. One that has ended, even one that is packed or archived, stays as it is."""
    run = await visible_run(call, api)
    status: str = run["status"]
    if status not in RUN_TERMINAL:
        try:
            status = await act(run["id"])
        except NotFound:  # it ended, and was packed, between our two questions
            status = (await visible_run(call, api))["status"]
    return json_reply({"run": run["id"], "status": status}, 202)


async def cancel_run(call: Call, api: Api) -> ASGIApp:
    """POST /runs/{run}/cancel."""
    return await _ask(call, api, api.store.control.cancel)


async def pause_run(call: Call, api: Api) -> ASGIApp:
    """POST /runs/{run}/pause."""
    return await _ask(call, api, api.store.control.pause)


async def resume_run(call: Call, api: Api) -> ASGIApp:
    """POST /runs/{run}/resume."""
    return await _ask(call, api, api.store.control.resume)


async def pause_workflow(call: Call, api: Api) -> ASGIApp:
    """POST /workflows/{workflow}/pause."""
    return await _hold(call, api, api.store.concurrency.pause)


async def resume_workflow(call: Call, api: Api) -> ASGIApp:
    """POST /workflows/{workflow}/resume."""
    return await _hold(call, api, api.store.concurrency.resume)


async def _hold(call: Call, api: Api, act: Callable[[str], Awaitable[None]]) -> ASGIApp:
    """202 with the workflow's name and since when it is paused. Raises NotFound."""
    name = call.params["workflow"]
    await api.store.workflows.head(name)
    await act(name)
    paused = (await api.store.workflows.head(name)).paused
    return json_reply({"workflow": name, "paused": iso(paused) if paused is not None else None}, 202)
