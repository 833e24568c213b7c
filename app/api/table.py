"""The table of routes, and the one place that finds, authorises and audits a request.

Routes are data: method, path, who may call, what goes in and comes out. The OpenAPI document, the check of
access and the dispatch all read the same table.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, cast

import structlog
from pydantic import BaseModel
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from app.api.access import Principal, Scope, is_node_token
from app.api.context import Api
from app.api.http import ROUTE, Call
from app.api.problems import MethodNotAllowed
from app.api.schemas import NAME
from app.core.tokens import TokenClaims
from app.errors import Forbidden, InvalidInput, NotFound, Place, Unavailable

log = structlog.get_logger("headrace.api")

Handler = Callable[[Call, Api], Awaitable[ASGIApp]]
API = "/api/v1"
RUN = f"{API}/runs/{{run}}"
NODE = f"{RUN}/nodes/{{node}}"
MAX_FOUND = 4096
MAX_REMEMBERED_PATH = 256
_WORKFLOW = re.compile(NAME)


class Auth(Enum):
    """What opens a route."""

    PUBLIC = "public"
    KEY = "key"
    NODE = "node"
    EITHER = "either"
    """A key, or a node token, which the handler checks."""


@dataclass(slots=True, frozen=True)
class Route:
    """One route. `scopes`: any of them opens it.

    `request` and `response` are models for the OpenAPI document.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    scopes: tuple[Scope, ...] = ()
    auth: Auth = Auth.KEY
    request: type[BaseModel] | None = None
    response: type[BaseModel] | None = None
    status: int = 200
    query: tuple[str, ...] = ()
    hidden: bool = False
    """Left out of the OpenAPI document."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the path's parameters, in order."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))

    @property
    def audited(self) -> bool:
        """Changes are written to the audit stream; triggers are not, they have receipts."""
        return self.method != "GET" and self.auth is Auth.KEY and Scope.TRIGGER not in self.scopes


@dataclass(slots=True)
class _Branch:
    """One segment of the paths below a prefix."""

    literal: dict[str, _Branch] = field(default_factory=dict)
    parameter: _Branch | None = None
    methods: dict[str, tuple[Route, tuple[str, ...]]] = field(default_factory=dict)


class Table(BaseRoute):
    """Every route of ours, as one Starlette route; what no route matches goes to `fallback` (the static
    pages)."""

    api: Api

    def __init__(self, routes: Iterable[Route], fallback: ASGIApp) -> None:
        self.fallback = fallback
        self.root = _Branch()
        self._found: dict[tuple[str, str], tuple[Route, dict[str, str]]] = {}
        """What was found before: triggers and checkpoints come to the same paths again and again."""
        for route in routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        branch = self.root
        for part in route.path.split("/")[1:]:
            if part.startswith("{"):
                branch.parameter = branch.parameter or _Branch()
                branch = branch.parameter
            else:
                branch = branch.literal.setdefault(part, _Branch())
        branch.methods[route.method] = (route, route.parameters)

    def serve(self, api: Api) -> None:
        """Answer from now on with this open store; until then nothing can be asked."""
        self.api = api

    def matches(self, scope: AsgiScope) -> tuple[Match, AsgiScope]:
        """Everything that speaks HTTP."""
        return (Match.FULL if scope["type"] == "http" else Match.NONE), {}

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route of a request and its path parameters; None when no path matches.

        Raises MethodNotAllowed.
        """
        branch = self.root
        values: list[str] = []
        for part in path.split("/")[1:]:
            below = branch.literal.get(part)
            if below is None:
                below = branch.parameter
                if below is None or not part:
                    return None
                values.append(part)
            branch = below
        if not branch.methods:
            return None
        found = branch.methods.get("GET" if method == "HEAD" else method)
        if found is None:
            allowed = {*branch.methods, "HEAD"} if "GET" in branch.methods else branch.methods
            raise MethodNotAllowed(allow=", ".join(sorted(allowed)))
        route, names = found
        return route, dict(zip(names, values, strict=True))

    async def handle(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer one request; errors are left to the edge."""
        asked = (scope["method"], scope["path"])
        found = self._found.get(asked)
        if found is None:
            found = self.find(*asked)
            if found is None:
                await self._unknown(scope, receive, send)
                return
            self._remember(asked, found)
        route, params = found
        scope[ROUTE] = route.path
        call = Call(scope, receive, params)
        try:
            if route.auth is Auth.EITHER and is_node_token(call):
                call.principal = self.api.access.claims(call)
            elif route.auth in (Auth.KEY, Auth.EITHER):
                call.principal = principal = await self.api.access.principal(call)
                _check(route, principal, params)
                call.allow(route.query)
            elif route.auth is Auth.NODE:
                call.principal = claims = self.api.access.claims(call)
                _check_node(claims, params)
            reply = await route.handler(call, self.api)
            if route.audited:
                await self._audit(call, route, "done")
        except Forbidden:
            await self._audit(call, route, "refused")
            raise
        await reply(scope, receive, send)

    def _remember(self, asked: tuple[str, str], found: tuple[Route, dict[str, str]]) -> None:
        if len(asked[1]) <= MAX_REMEMBERED_PATH:
            if len(self._found) >= MAX_FOUND:
                self._found.clear()
            self._found[asked] = found

    async def _unknown(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path.startswith(("/api/", "/hooks/")):
            raise NotFound
        await self.fallback(scope, receive, send)

    async def _audit(self, call: Call, route: Route, outcome: str) -> None:
        who = call.principal
        if who is None:
            return
        if isinstance(who, Principal):
            name, workflow = who.id, call.workflow
        else:
            claims = cast(TokenClaims, who)
            name, workflow = f"node:{claims.run}", claims.workflow
        action = f"{route.method} {route.path}"
        try:
            await self.api.store.audit.write(
                key=name, action=action, target=call.scope["path"], workflow=workflow, outcome=outcome
            )
        except Unavailable:
            log.error("audit entry not written", key=name, action=action, outcome=outcome)


def _check(route: Route, principal: Principal, params: dict[str, Any]) -> None:
    if route.scopes and principal.scopes.isdisjoint(route.scopes):
        raise Forbidden(f"This needs a key with the scope {' or '.join(route.scopes)}.")
    workflow = params.get("workflow")
    if workflow is None:
        return
    if not workflow.startswith(principal.prefix):
        raise Forbidden("This workflow is outside the key's prefix.")
    if not _WORKFLOW.fullmatch(workflow):  # names become parts of keys: no other name gets any further
        if route.method != "PUT":
            raise NotFound(f"There is no workflow {workflow[:64]}.")
        detail = "a workflow's name is lower-case letters, digits and -, beginning with a letter, at most 63"
        raise InvalidInput(places=[Place("/name", detail)])


def _check_node(claims: TokenClaims, params: dict[str, Any]) -> None:
    ref = params["node"] + (f":{params['index']}" if "index" in params else "")
    if claims.run != params["run"] or claims.ref != ref:
        raise Forbidden("This token belongs to another node run.")
