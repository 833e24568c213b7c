"""Every route of the API, as data."""

from __future__ import annotations

from app.api import schemas as s
from app.api.access import Scope
from app.api.handlers import (
    admin,
    approving,
    control,
    events,
    hooks,
    logs,
    mapped,
    pools,
    retrying,
    runs,
    system,
    triggering,
    workflows,
)
from app.api.node_routes import CALLBACKS, NODE_PROTOCOL
from app.api.table import API, NODE, RUN, Auth, Route

READ = (Scope.READ,)
TRIGGER = (Scope.TRIGGER,)
READ_OR_TRIGGER = (Scope.READ, Scope.TRIGGER)
WRITE = (Scope.WRITE,)
ADMIN = (Scope.ADMIN,)
OPERATE = (Scope.OPERATE,)

_PAGED = ("limit", "cursor")
_W = f"{API}/workflows/{{workflow}}"

WORKFLOWS = [
    Route(
        "GET",
        f"{API}/workflows",
        workflows.list_workflows,
        "List workflows",
        "workflows",
        READ,
        response=s.Page,
        query=("archived", *_PAGED),
    ),
    Route(
        "PUT",
        _W,
        workflows.put_workflow,
        "Publish a version (If-Match; the body is a workflow document, JSON or YAML)",
        "workflows",
        WRITE,
        response=s.PublishedVersion,
        status=201,
        query=("dry_run",),
    ),
    Route("GET", _W, workflows.get_workflow, "The current version", "workflows", READ),
    Route("DELETE", _W, workflows.archive_workflow, "Archive", "workflows", WRITE, status=204),
    Route(
        "GET", f"{_W}/versions", workflows.list_versions, "List versions", "workflows", READ, response=s.Page
    ),
    Route(
        "GET",
        f"{_W}/versions/{{version}}",
        workflows.get_version,
        "One version, or the changes from a to b: {a}...{b}",
        "workflows",
        READ,
    ),
    Route("GET", f"{_W}/draft", workflows.get_draft, "The editor's draft", "workflows", READ),
    Route("PUT", f"{_W}/draft", workflows.put_draft, "Save the draft", "workflows", WRITE),
    Route("GET", f"{_W}/layout", workflows.get_layout, "Positions on the canvas", "workflows", READ),
    Route("PUT", f"{_W}/layout", workflows.put_layout, "Save positions", "workflows", WRITE),
    Route(
        "GET", f"{_W}/hooks", hooks.list_hooks, "List hooks and their URLs", "hooks", WRITE, response=s.Page
    ),
    Route(
        "POST",
        f"{_W}/hooks",
        hooks.create_hook,
        "Make a hook; its secret is shown this once",
        "hooks",
        WRITE,
        request=s.HookRequest,
        status=201,
    ),
    Route("DELETE", f"{_W}/hooks/{{hook}}", hooks.delete_hook, "Remove a hook", "hooks", WRITE, status=204),
]

TRIGGERING = [
    Route(
        "POST",
        f"{_W}/runs",
        triggering.start_run,
        "Start a run (Idempotency-Key)",
        "triggers",
        TRIGGER,
        request=s.RunRequest,
        response=s.RunAccepted,
        status=202,
    ),
    Route(
        "POST",
        "/hooks/{token}",
        triggering.receive_hook,
        "Receive a webhook",
        "triggers",
        auth=Auth.PUBLIC,
        response=s.Receipts,
        status=202,
    ),
    Route(
        "POST",
        f"{API}/events",
        triggering.receive_events,
        "Receive CloudEvents (binary, structured or a batch)",
        "triggers",
        TRIGGER,
        response=s.EventReceipts,
        status=202,
    ),
    Route(
        "GET",
        f"{API}/triggers",
        runs.list_triggers,
        "List receipts",
        "triggers",
        READ,
        response=s.Page,
        query=("state", *_PAGED),
    ),
    Route(
        "GET",
        f"{API}/triggers/{{receipt}}",
        runs.get_trigger,
        "What became of a trigger",
        "triggers",
        READ_OR_TRIGGER,
        response=s.Receipt,
    ),
]

RUNS = [
    Route(
        "GET",
        f"{API}/runs",
        runs.list_runs,
        "List runs",
        "runs",
        READ,
        response=s.Page,
        query=("workflow", "status", "label", "since", *_PAGED),
    ),
    Route("GET", RUN, runs.get_run, "One run", "runs", READ),
    Route("GET", f"{RUN}/nodes", runs.list_nodes, "Its nodes", "runs", READ, response=s.Page, query=_PAGED),
    Route(
        "GET",
        f"{RUN}/events",
        events.stream_events,
        "Every transition, as server-sent events (Last-Event-ID)",
        "runs",
        READ,
        query=("after",),
    ),
    Route("GET", f"{RUN}/why", runs.why_run, "Why it does not go on, or ended so", "runs", READ),
    Route("GET", NODE, runs.get_node, "One node run", "runs", READ, query=("item",)),
    Route("GET", f"{NODE}/why", runs.why_node, "Why it does not go on", "runs", READ, query=("item",)),
    Route(
        "GET",
        f"{NODE}/items",
        runs.list_items,
        "The items of a map",
        "runs",
        READ,
        response=s.Page,
        query=("status", *_PAGED),
    ),
    Route(
        "GET",
        f"{NODE}/items/metadata",
        mapped.list_metadata,
        "The metadata of a map's items, in order (a key, or the token of a node after it)",
        "runs",
        READ,
        auth=Auth.EITHER,
        response=s.MetadataPage,
        query=_PAGED,
    ),
    Route(
        "GET",
        f"{NODE}/records",
        runs.list_records,
        "The ledger of failed records",
        "runs",
        READ,
        response=s.Page,
        query=("item", *_PAGED),
    ),
    Route(
        "GET",
        f"{NODE}/attempts",
        runs.list_attempts,
        "Its attempts",
        "runs",
        READ,
        response=s.Page,
        query=("item",),
    ),
    Route(
        "GET",
        f"{NODE}/logs",
        logs.stream_logs,
        "The log of an attempt",
        "runs",
        READ,
        query=("attempt", "item", "follow"),
    ),
]

CONTROL = [
    Route(
        "POST",
        f"{_W}/pause",
        control.pause_workflow,
        "Pause: its triggers are accepted and wait, its runs go on",
        "control",
        OPERATE,
        response=s.WorkflowPaused,
        status=202,
    ),
    Route(
        "POST",
        f"{_W}/resume",
        control.resume_workflow,
        "Let what waited begin",
        "control",
        OPERATE,
        response=s.WorkflowPaused,
        status=202,
    ),
    Route(
        "POST",
        f"{RUN}/cancel",
        control.cancel_run,
        "Cancel: its node runs are stopped, nothing of it begins any more",
        "control",
        OPERATE,
        response=s.Asked,
        status=202,
    ),
    Route(
        "POST",
        f"{RUN}/retry",
        retrying.retry_run,
        "A new run that keeps what succeeded; dry_run: what it would keep",
        "control",
        OPERATE,
        request=s.RetryRequest,
        response=s.RunAccepted,
        status=202,
        query=("dry_run", "limit", "cursor"),
    ),
    Route(
        "POST",
        f"{RUN}/fork",
        retrying.fork_run,
        "A new run that differs at a node; dry_run: what it would keep",
        "control",
        OPERATE,
        request=s.ForkRequest,
        response=s.RunAccepted,
        status=202,
        query=("dry_run", "limit", "cursor"),
    ),
    Route(
        "POST",
        f"{RUN}/pause",
        control.pause_run,
        "Pause: nothing of it starts, what runs goes on",
        "control",
        OPERATE,
        response=s.Asked,
        status=202,
    ),
    Route(
        "POST",
        f"{RUN}/resume",
        control.resume_run,
        "Go on after a pause",
        "control",
        OPERATE,
        response=s.Asked,
        status=202,
    ),
]

APPROVALS = [
    Route(
        "POST",
        f"{NODE}/{what}",
        handler,
        summary,
        "runs",
        (Scope.APPROVE,),
        request=s.DecisionRequest,
        response=s.Decided,
        status=202,
        query=("item",),
    )
    for what, handler, summary in (
        ("approve", approving.approve_node, "Approve: the run goes on"),
        ("reject", approving.reject_node, "Reject: the node fails"),
    )
]

ADMINISTRATION = [
    Route(
        "GET",
        f"{API}/node-types",
        admin.list_node_types,
        "List node types",
        "node types",
        READ,
        response=s.Page,
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
    ),
    Route("GET", f"{API}/pools", pools.list_pools, "Pools and their holders", "pools", READ, response=s.Page),
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
    Route("GET", f"{API}/keys", admin.list_keys, "List API keys", "keys", ADMIN, response=s.Page),
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
        query=("key", "since", *_PAGED),
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

ROUTES: list[Route] = [
    *TRIGGERING,
    *NODE_PROTOCOL,
    *CALLBACKS,
    *WORKFLOWS,
    *RUNS,
    *APPROVALS,
    *CONTROL,
    *ADMINISTRATION,
    *SYSTEM,
]
