"""The OpenAPI 3.1 document, made from the table of routes and the models."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from app.api.schemas import Problem
from app.api.table import API, Auth, Route

_REFS = "#/components/schemas/{model}"
_WORKFLOW = f"{API}/workflows/{{workflow}}"


def document(routes: Sequence[Route]) -> bytes:
    """The document as JSON."""
    shown = [route for route in routes if not route.hidden]
    asked = {route.request for route in shown if route.request is not None}
    told = {route.response for route in shown if route.response is not None} | {Problem}
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        *((model, "validation") for model in sorted(asked, key=_name)),
        *((model, "serialization") for model in sorted(told, key=_name)),
    ]
    _, schemas = models_json_schema(models, ref_template=_REFS)
    paths: dict[str, dict[str, Any]] = {}
    for route in shown:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Headrace",
                "version": importlib.metadata.version("headrace"),
                "description": "Workflows as data, durable receipts, fenced checkpoints.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "paths": paths,
            "components": {
                "schemas": schemas.get("$defs", {}),
                "securitySchemes": {
                    "key": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "An API key: hr_<id>_<secret>",
                    },
                    "node": {"type": "http", "scheme": "bearer", "description": "The token of one attempt"},
                },
                "responses": {"Problem": _problem()},
            },
        }
    )


def _name(model: type[BaseModel]) -> str:
    return model.__name__


def _problem() -> dict[str, Any]:
    ref = {"$ref": _REFS.format(model="Problem")}
    return {"description": "An error", "content": {"application/problem+json": {"schema": ref}}}


def _operation(route: Route) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(route.status).phrase}
    if route.response is not None:
        answer["content"] = _json({"$ref": _REFS.format(model=route.response.__name__)})
    operation: dict[str, Any] = {
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": _parameters(route),
        "responses": {str(route.status): answer, "default": {"$ref": "#/components/responses/Problem"}},
    }
    if route.auth is not Auth.PUBLIC:
        either = (Auth.KEY, Auth.NODE) if route.auth is Auth.EITHER else (route.auth,)
        operation["security"] = [{auth.value: []} for auth in either]
    if route.scopes:
        operation["x-scopes"] = [scope.value for scope in route.scopes]
    body = _body(route)
    return operation | {"requestBody": body} if body else operation


def operation_id(route: Route) -> str:
    """A stable, unique name for generated clients."""
    handler = getattr(route.handler, "__name__", "operation")
    return f"{handler}_item" if "{index}" in route.path else handler


def _parameters(route: Route) -> list[dict[str, Any]]:
    text = {"schema": {"type": "string"}}
    path = [
        {"name": name, "in": "path", "required": True, **text} for name in re.findall(r"{(\w+)}", route.path)
    ]
    query = [{"name": name, "in": "query", "required": False, **text} for name in route.query]
    headers = re.findall(r"\((If-Match|Idempotency-Key|Last-Event-ID)\b", route.summary)
    return [*path, *query, *({"name": name, "in": "header", "required": False, **text} for name in headers)]


def _body(route: Route) -> dict[str, Any] | None:
    if route.request is not None:
        return {"required": True, "content": _json({"$ref": _REFS.format(model=route.request.__name__)})}
    if route.method == "PUT" and route.path == _WORKFLOW:
        document: dict[str, Any] = {"type": "object", "description": f"JSON Schema: {API}/schemas/workflow"}
        return {"required": True, "content": _json(document) | {"application/yaml": {"schema": document}}}
    if route.method == "PUT":
        return {"required": True, "content": _json({"type": "object"})}
    return None


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
