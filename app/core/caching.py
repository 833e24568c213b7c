"""The cache of nodes: the metadata of a node run that succeeded is used again by a node run with the same key.

    ready -> is its key known? -> succeeded at once, or it runs as any other; at its success its metadata is kept

A key holds within one node of one workflow, as long as what its document says of the work is the same: another node type,
image, service, child workflow or config has another digest. What else a result depends on belongs into the key. Expressions
count as they are written, not by their values: those may be other ones in every run.
"""

from __future__ import annotations

from hashlib import blake2b

import orjson

from app.core.graph import Kind, NodeDef
from app.core.round import Round, iso
from app.core.signals import Signal, SignalKind
from app.core.states import NodeStatus
from app.core.tasks import split_ref


def digest(workflow: str, node: NodeDef, key: str) -> str:
    """The name of a cache entry."""
    runs: object = node.type or node.image
    if node.kind is Kind.SERVICE and node.service is not None:
        runs = [node.service.method, node.service.url.value]
    elif node.kind is Kind.WORKFLOW and node.child is not None:
        runs = [node.child.workflow, node.child.version, node.child.params.value]
    content = orjson.dumps(
        [workflow, node.name, str(node.kind), runs, node.config.value, key], option=orjson.OPT_SORT_KEYS
    )
    return blake2b(content, digest_size=16).hexdigest()


def ask(round_: Round, ref: str, name: str) -> None:
    """A node run that is ready looks its key up first; what is found comes with the next round."""
    round_.defer(Signal(SignalKind.CACHE, ref, message=name))


def hit(round_: Round, signal: Signal) -> bool:
    """What was looked up is there. True when the node run is terminal by it."""
    raw = round_.view.cached.get(signal.message)
    if raw is None:
        return False
    entry = orjson.loads(raw)
    metadata = orjson.dumps(entry["m"])
    source = orjson.dumps({"run": entry["run"], "node": entry["node"], "at": entry["at"]})
    round_.change(signal.ref, NodeStatus.SUCCEEDED, m=metadata, cf=source, z=round_.now)
    round_.set_metadata(signal.ref, metadata)
    return True


def keep(round_: Round, ref: str) -> None:
    """A node run has succeeded by itself: keep its metadata for its time."""
    node, view = round_.definition(ref), round_.node(ref)
    if node.cache is None or not view.cache_key or (node.map is not None and split_ref(ref)[1] is None):
        return
    entry = {
        "m": orjson.Fragment(view.metadata or b"null"),
        "run": round_.run.id,
        "node": ref,
        "at": iso(round_.now),
    }
    round_.changes.cached.append((view.cache_key, orjson.dumps(entry), node.cache.ttl_ms))
