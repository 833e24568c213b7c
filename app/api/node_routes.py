"""The routes of nodes and services that run, a part of the route table: the node protocol (DESIGN 7), and callbacks."""

from __future__ import annotations

from app.api import protocol as p
from app.api.handlers import callbacks, nodes, ticks
from app.api.table import API, NODE, Auth, Route


def _protocol(base: str) -> list[Route]:
    """The node protocol below a node, or below an item of a map."""
    tag, auth = "node protocol", Auth.NODE
    return [
        Route(
            "POST",
            f"{base}/start",
            nodes.start,
            "Begin, or go on after a restart",
            tag,
            auth=auth,
            request=p.StartRequest,
            response=p.Started,
        ),
        Route(
            "POST",
            f"{base}/checkpoints",
            nodes.checkpoint,
            "Steps that ended, positions inside execute",
            tag,
            auth=auth,
            request=p.CheckpointRequest,
            response=p.Cancel,
        ),
        Route(
            "POST",
            f"{base}/records",
            nodes.records,
            "Failed records, for the ledger",
            tag,
            auth=auth,
            request=p.RecordsRequest,
            response=p.Count,
        ),
        Route(
            "POST",
            f"{base}/heartbeat",
            nodes.heartbeat,
            "A sign of life",
            tag,
            auth=auth,
            request=p.HeartbeatRequest,
            response=p.Cancel,
        ),
        Route(
            "POST", f"{base}/fail", nodes.fail, "The attempt failed", tag, auth=auth, request=p.FailRequest
        ),
        Route(
            "GET",
            f"{base}/inputs/{{upstream}}",
            nodes.get_input,
            "Metadata of an upstream node, by reference",
            tag,
            auth=auth,
        ),
        Route(
            "GET",
            f"{base}/redo",
            nodes.list_redo,
            "The failed records that are to be done again, in the order of the stream",
            tag,
            auth=auth,
        ),
    ]


CALLBACKS = [
    Route(
        "POST",
        f"{API}/callbacks/{{token}}",
        callbacks.receive,
        "The result of a service node, told by the service",
        "node protocol",
        auth=Auth.PUBLIC,
        request=callbacks.CallbackRequest,
        response=callbacks.CallbackTaken,
    ),
    Route(
        "POST",
        f"{API}/ticks/{{token}}",
        ticks.receive_tick,
        "A schedule is due, told by the pod of its CronJob",
        "triggers",
        auth=Auth.PUBLIC,
        request=ticks.TickRequest,
        response=ticks.TicksTaken,
        status=202,
    ),
]

NODE_PROTOCOL = [*_protocol(NODE), *_protocol(f"{NODE}/items/{{index}}")]
