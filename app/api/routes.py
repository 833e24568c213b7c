"""Every route of the API, as data."""

from __future__ import annotations

from app.api import schemas as s
from app.api.access import Scope
from app.api.admin_routes import ADMINISTRATION, PAGED, READ, SYSTEM
from app.api.handlers import (
    approving,
    control,
    events,
    hooks,
    logs,
    mapped,
    retrying,
    runs,
    triggering,
    workflows,
)
from app.api.node_routes import CALLBACKS, NODE_PROTOCOL
from app.api.table import API, NODE, RUN, Auth, Route

TRIGGER = (Scope.TRIGGER,)
READ_OR_TRIGGER = (Scope.READ, Scope.TRIGGER)
WRITE = (Scope.WRITE,)
OPERATE = (Scope.OPERATE,)

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
        query=("archived", *PAGED),
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
        query=("state", *PAGED),
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
        query=("workflow", "status", "label", "since", *PAGED),
    ),
    Route("GET", RUN, runs.get_run, "One run", "runs", READ),
    Route("GET", f"{RUN}/nodes", runs.list_nodes, "Its nodes", "runs", READ, response=s.Page, query=PAGED),
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
        query=("status", *PAGED),
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
        query=PAGED,
    ),
    Route(
        "GET",
        f"{NODE}/records",
        runs.list_records,
        "The ledger of failed records",
        "runs",
        READ,
        response=s.Page,
        query=("item", *PAGED),
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
