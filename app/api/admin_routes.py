"""The routes of the installation itself, a part of the route table: node types, pools, keys, sessions, probes, documents."""

from __future__ import annotations

from app.api import schemas as s
from app.api.access import Scope
from app.api.handlers import admin, pools, system
from app.api.table import API, Auth, Route

READ = (Scope.READ,)
ADMIN = (Scope.ADMIN,)
PAGED = ("limit", "cursor")

ADMINISTRATION = [
    Route(
        "GET",
        f"{API}/node-types",
        admin.list_node_types,
        "List node types",
        "node types",
        READ,
        response=s.Page,
        query=PAGED,
    ),
    Route("GET", f"{API}/node-types/{{name}}", admin.get_node_type, "One node type", "node types", READ),
    Route(
        "PUT",
        f"{API}/node-types/{{name}}",
        admin.put_node_type,
        "Register an image as a node type",
        "node types",
        ADMIN,
        request=s.NodeTypeRequest,
        status=201,
    ),
    Route(
        "GET",
        f"{API}/node-types/{{name}}/versions",
        admin.list_node_type_versions,
        "Its versions",
        "node types",
        READ,
        response=s.Page,
        query=PAGED,
    ),
    Route(
        "GET",
        f"{API}/pools",
        pools.list_pools,
        "Pools and their holders",
        "pools",
        READ,
        response=s.Page,
        query=PAGED,
    ),
    Route("GET", f"{API}/pools/{{pool}}", pools.get_pool, "One pool", "pools", READ),
    Route(
        "PUT",
        f"{API}/pools/{{pool}}",
        pools.put_pool,
        "Set the slots of a pool",
        "pools",
        ADMIN,
        request=s.PoolRequest,
    ),
    Route(
        "GET", f"{API}/keys", admin.list_keys, "List API keys", "keys", ADMIN, response=s.Page, query=PAGED
    ),
    Route(
        "POST",
        f"{API}/keys",
        admin.create_key,
        "Make an API key",
        "keys",
        ADMIN,
        request=s.KeyRequest,
        response=s.KeyCreated,
        status=201,
    ),
    Route("DELETE", f"{API}/keys/{{key}}", admin.delete_key, "Revoke an API key", "keys", ADMIN, status=204),
    Route(
        "GET",
        f"{API}/audit",
        admin.read_audit,
        "What was done by which key",
        "keys",
        ADMIN,
        response=s.Page,
        query=("key", "since", *PAGED),
    ),
    Route("GET", f"{API}/session", admin.whoami, "Who I am", "session"),
    Route(
        "POST",
        f"{API}/session",
        admin.create_session,
        "Sign in to the UI",
        "session",
        auth=Auth.PUBLIC,
        request=s.SessionRequest,
    ),
    Route(
        "DELETE", f"{API}/session", admin.delete_session, "Sign out", "session", auth=Auth.PUBLIC, status=204
    ),
]

SYSTEM = [
    Route("GET", "/livez", system.livez, "The process answers", "system", auth=Auth.PUBLIC),
    Route(
        "GET",
        "/readyz",
        system.readyz,
        "Redis answers and keeps what it acknowledges",
        "system",
        auth=Auth.PUBLIC,
    ),
    Route("GET", "/metrics", system.metrics, "Prometheus metrics", "system", auth=Auth.PUBLIC),
    Route("GET", f"{API}/openapi.json", system.openapi, "This document", "system", auth=Auth.PUBLIC),
    Route("GET", f"{API}/docs", system.docs_page, "Its page", "system", auth=Auth.PUBLIC, hidden=True),
    Route(
        "GET",
        f"{API}/docs/{{asset}}",
        system.docs_asset,
        "Files of the page",
        "system",
        auth=Auth.PUBLIC,
        hidden=True,
    ),
    Route(
        "GET",
        f"{API}/schemas/{{name}}",
        system.schema,
        "JSON Schema of workflow or node-type",
        "system",
        auth=Auth.PUBLIC,
    ),
]
