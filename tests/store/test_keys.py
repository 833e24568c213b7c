"""The name of every key, pinned: a change here is a migration of what users have stored."""

from __future__ import annotations

import inspect

import pytest

from app.store.keys import GROUP, Keys

KEYS = Keys("headrace", 0)
ATTRIBUTES = {
    "tag": "{headrace:0}", "triggers": "{headrace:0}:triggers", "dead": "{headrace:0}:dead",
    "queue": "{headrace:0}:queue", "waits": "{headrace:0}:waits", "filed": "{headrace:0}:filed",
    "aging": "{headrace:0}:aging", "shares": "{headrace:0}:shares",
    "refused": "{headrace:0}:refused",
    "active": "{headrace:0}:active", "reactivate": "{headrace:0}:reactivate",
    "ready": "{headrace:0}:ready", "timers": "{headrace:0}:timers",
    "launches": "{headrace:0}:launches", "pools": "{headrace:0}:pools", "runs": "{headrace:0}:runs",
    "finished": "{headrace:0}:finished", "gone": "{headrace:0}:gone",
    "calls": "{headrace:0}:calls",
    "workflows": "{headrace:0}:workflows", "limited": "{headrace:0}:limited",
    "node_types": "{headrace:0}:node-types", "api_keys": "{headrace:0}:keys",
    "schedules": "{headrace:0}:schedules", "listening": "{headrace:0}:listening",
    "secret": "{headrace:0}:secret", "resumed": "{headrace:0}:resumed", "audit": "{headrace:0}:audit",
    "workers": "{headrace:0}:workers", "worker_info": "{headrace:0}:worker-info", "arq_queue": "{headrace:0}:arq",
    "tallies": "{headrace:0}:tallies",
}  # fmt: skip
CALLS = {
    "pool": (["global"], "{headrace:0}:pool:global"),
    "circuit": (["search.example:443"], "{headrace:0}:circuit:search.example:443"),
    "turns": (["global"], "{headrace:0}:turns:global"),
    "run": (["r1"], "{headrace:0}:r:r1"),
    "inbox": (["r1"], "{headrace:0}:r:r1:i"),
    "events": (["r1"], "{headrace:0}:r:r1:e"),
    "joins": (["r1"], "{headrace:0}:r:r1:j"),
    "node": (["r1", "reprice:7"], "{headrace:0}:r:r1:n:reprice:7"),
    "records": (["r1", "reprice:7"], "{headrace:0}:r:r1:f:reprice:7"),
    "packed": (["r1"], "{headrace:0}:r:r1:p"),
    "pins": (["r1"], "{headrace:0}:r:r1:b"),
    "removal": (["r1"], "{headrace:0}:r:r1:x"),
    "map_items": (["r1", "reprice"], "{headrace:0}:r:r1:v:reprice"),
    "failed_items": (["r1", "reprice"], "{headrace:0}:r:r1:l:reprice"),
    "receipt": (["t1"], "{headrace:0}:t:t1"),
    "dedupe": (["hook:h1", "k"], "{headrace:0}:d:hook:h1:k"),
    "workflow": (["w"], "{headrace:0}:w:w"),
    "workflow_versions": (["w"], "{headrace:0}:w:w:v"),
    "workflow_version": (["w", 3], "{headrace:0}:w:w:v:3"),
    "workflow_draft": (["w"], "{headrace:0}:w:w:draft"),
    "workflow_layout": (["w"], "{headrace:0}:w:w:layout"),
    "workflow_runs": (["w"], "{headrace:0}:w:w:runs"),
    "waiting_keys": (["w"], "{headrace:0}:w:w:q"),
    "concurrency": (["w", "0a"], "{headrace:0}:w:w:c:0a"),
    "concurrency_queue": (["w", "0a"], "{headrace:0}:w:w:q:0a"),
    "ticks": (["w"], "{headrace:0}:w:w:ticks"),
    "workflow_hooks": (["w"], "{headrace:0}:w:w:hooks"),
    "after": (["w"], "{headrace:0}:w:w:after"),
    "cached": (["abc"], "{headrace:0}:c:abc"),
    "hook": (["abc"], "{headrace:0}:h:abc"),
    "node_type": (["step"], "{headrace:0}:nt:step"),
    "procs": (["host"], "{headrace:0}:procs:host"),
}


@pytest.mark.parametrize(("name", "literal"), ATTRIBUTES.items())
def test_a_key_of_the_cell(name: str, literal: str):
    assert getattr(KEYS, name) == literal


@pytest.mark.parametrize(("name", "arguments", "literal"), [(name, *call) for name, call in CALLS.items()])
def test_a_key_of_one_thing(name: str, arguments: list[str], literal: str):
    assert getattr(KEYS, name)(*arguments) == literal


def test_no_key_is_left_unpinned():
    assert set(vars(KEYS)) == set(ATTRIBUTES)
    lists = {"__init__", "of_run", "of_node", "of_map"}
    assert {name for name, _ in inspect.getmembers(KEYS, inspect.ismethod)} - lists == set(CALLS)


def test_installations_and_cells_have_hash_tags_of_their_own():
    assert Keys("other", 3).run("r1") == "{other:3}:r:r1"


def test_the_consumer_group_is_pinned_too():
    assert GROUP == "workers"
