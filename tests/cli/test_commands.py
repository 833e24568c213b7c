"""Commands from outside: arguments in, output and exit code out, against an API that answers as told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

ACCEPTED = {"run": "r1", "receipt": "t1"}


@pytest.fixture
def workflow(tmp_path: Path) -> str:
    path = tmp_path / "w.yaml"
    path.write_text("name: w\nnodes: {a: {type: catalog-read}}\n")
    return str(path)


def test_a_workflow_is_applied_from_a_file(api, headrace, workflow: str):
    api.answer("PUT", "/workflows/w", {"name": "w", "version": 1, "etag": "e"}, status=201)
    assert headrace("workflow", "apply", workflow) == (0, "w v1 published\n", "")
    assert api.asked[0].body == {"name": "w", "nodes": {"a": {"type": "catalog-read"}}}
    assert api.asked[0].headers["authorization"] == "Bearer hr_test_0123456789abcdef"


def test_validate_changes_nothing(api, headrace, workflow: str):
    api.answer("PUT", "/workflows/w", {"name": "w"})
    assert headrace("workflow", "validate", workflow).out == "w is valid\n"
    assert api.asked[0].query == {"dry_run": "true"}


def test_an_invalid_workflow_exits_2_with_every_place(api, headrace, workflow: str):
    places = [{"pointer": "/nodes/a/typ", "detail": "unknown field 'typ'; did you mean 'type'?"}]
    api.problem("PUT", "/workflows/w", 422, "invalid", "The workflow is not valid.", places)
    ran = headrace("workflow", "apply", workflow)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "error: The workflow is not valid.\n  /nodes/a/typ  unknown field 'typ'; did you mean 'type'?\n"
    )


def test_lists_are_tables_json_yaml_or_names(api, headrace):
    items = [{"name": "w", "version": 2, "created": "2026-01-05T10:00:00Z"}]
    api.answer("GET", "/workflows", {"items": items, "next_cursor": None})
    assert headrace("workflow", "list").out.split()[:3] == ["NAME", "VERSION", "PUBLISHED"]
    assert json.loads(headrace("workflow", "list", "-o", "json").out) == {"items": items}
    assert yaml.safe_load(headrace("workflow", "list", "-o", "yaml").out)["items"][0]["name"] == "w"
    assert headrace("workflow", "list", "--quiet").out == "w\n"


def test_a_workflow_is_shown_as_a_tree(api, headrace):
    nodes = {"a": {"type": "catalog-read"}, "b": {"type": "t", "needs": [{"node": "a", "when": "true"}]}}
    api.answer("GET", "/workflows/w", {"name": "w", "version": 4, "document": {"name": "w", "nodes": nodes}})
    assert headrace("workflow", "get", "w").out == "w v4\na  catalog-read\nb  t\n"


def test_submit_sends_typed_parameters_labels_and_a_key_of_its_own(api, headrace):
    api.answer("POST", "/workflows/w/runs", ACCEPTED, status=202)
    assert (
        headrace("run", "submit", "w", "-p", "n=5", "-p", "feed=file:x", "--label", "team=a").out
        == "run r1\n"
    )
    assert api.asked[0].body == {"params": {"n": 5, "feed": "file:x"}, "labels": {"team": "a"}}
    assert api.asked[0].headers["idempotency-key"]


def test_submit_quietly_prints_the_id_alone(api, headrace):
    api.answer("POST", "/workflows/w/runs", ACCEPTED, status=202)
    assert headrace("run", "submit", "w", "-q", "--idempotency-key", "k").out == "r1\n"
    assert api.asked[0].headers["idempotency-key"] == "k"


@pytest.mark.parametrize(("status", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 1)])
def test_watching_ends_with_the_run_and_tells_its_result(
    api, headrace, brand_run: dict[str, Any], brand_run_served: str, status: str, code: int
):
    api.answer("POST", "/workflows/w/runs", {"run": brand_run_served, "receipt": "t1"}, status=202)
    ended = brand_run | {"status": status}
    api.answer("GET", f"/runs/{brand_run_served}", brand_run | {"status": "running"}, ended)
    ran = headrace("run", "submit", "w", "--watch")
    assert ran.code == code
    assert "└─ images" in ran.out
    assert ran.out.count("publish") == 1
    assert "petit-orme-09" in ran.out


def test_wait_gives_up_after_its_timeout(api, headrace, brand_run: dict[str, Any]):
    api.answer("GET", "/runs/r1", brand_run | {"status": "running"})
    ran = headrace("run", "wait", "r1", "--timeout", "0.1")
    assert (ran.code, ran.out) == (3, "")
    assert "has not ended within 0.1 seconds" in ran.err


def test_a_run_as_json_carries_its_nodes(headrace, brand_run_served: str, brand_nodes: list[dict[str, Any]]):
    got = json.loads(headrace("run", "get", brand_run_served, "-o", "json").out)
    assert [node["name"] for node in got["nodes"]] == [node["name"] for node in brand_nodes]
    assert got["nodes"][4]["failed_records"] == 1


def test_logs_are_printed_without_terminal_tricks(api, headrace):
    api.answer("GET", "/runs/r1/nodes/read/logs", "one\n\x1b[31mtwo")
    assert headrace("run", "logs", "r1", "read", "--attempt", "2").out == "one\n\\x1b[31mtwo\n"
    assert api.asked[0].query == {"attempt": "2"}


def test_following_needs_a_node(headrace):
    ran = headrace("run", "logs", "r1", "-f")
    assert ran.code == 2
    assert "headrace run logs -f RUN NODE" in ran.err


def test_a_receipt_says_what_became_of_its_trigger(api, headrace):
    api.answer(
        "GET", "/triggers/t1", {"id": "t1", "state": "dead", "run": None, "reason": "/feed is missing"}
    )
    assert "/feed is missing" in headrace("trigger", "get", "t1").out


def test_dead_triggers_are_listed_and_redriven(api, headrace):
    dead = {"id": "t1", "state": "dead", "workflow": "w", "source": "hook:h", "run": None, "reason": "/feed"}
    api.answer("GET", "/triggers", {"items": [dead], "next_cursor": None})
    assert headrace("trigger", "list", "--state", "dead", "-q").out == "t1\n"
    assert api.asked[0].query["state"] == "dead"
    api.answer("POST", "/triggers/t1/redrive", dead | {"state": "queued", "run": "r1"}, status=202)
    assert headrace("trigger", "redrive", "t1", "--version", "2").out == "run r1\n"
    assert api.asked[1].body == {"version": 2}


@pytest.mark.parametrize(("form", "read"), [("yaml", yaml.safe_load), ("json", json.loads)])
def test_an_exported_workflow_is_what_apply_takes(api, headrace, tmp_path: Path, form: str, read: Any):
    document = {"name": "w", "description": "ü: no", "nodes": {"a": {"type": "noop@1"}}}
    api.answer("GET", "/workflows/w/versions/3", {"name": "w", "version": 3, "document": document})
    assert read(headrace("workflow", "export", "w", "--version", "3", "-o", form).out) == document
    file = tmp_path / "w.out"
    headrace("workflow", "export", "w", "--version", "3", "-o", form, "-f", str(file))
    api.answer("PUT", "/workflows/w", {"name": "w", "version": 3, "etag": "e"})
    assert headrace("workflow", "apply", str(file)).out == "w v3 unchanged\n"
    assert api.asked[-1].body == document


def test_watching_for_a_program_prints_the_run_as_it_ended(api, headrace, brand_run: dict[str, Any]):
    api.answer("POST", "/workflows/w/runs", {"run": "r1", "receipt": "t1"}, status=202)
    api.answer("GET", "/runs/r1", brand_run | {"status": "failed"})
    ran = headrace("run", "submit", "w", "--watch", "-o", "json")
    assert (ran.code, json.loads(ran.out)["status"]) == (1, "failed")


def test_submit_with_the_logs_prints_each_nodes_as_it_ends(
    api, headrace, brand_run: dict[str, Any], brand_run_served: str
):
    api.answer("POST", "/workflows/w/runs", {"run": brand_run_served, "receipt": "t1"}, status=202)
    api.answer("GET", f"/runs/{brand_run_served}/nodes/read/logs", "60 products\n")
    ran = headrace("run", "submit", "w", "--log")
    assert ran.code == 0
    assert "==> read\n60 products\n" in ran.out
    assert ran.out.count("==> publish\n") == 1


def test_a_key_that_cannot_be_sent_is_not_printed(headrace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEADRACE_API_KEY", "hr_secret\nkey")
    ran = headrace("run", "list")
    assert ran.code == 2
    assert "hr_secret" not in ran.err


def test_a_new_hook_shows_its_url_and_secret(api, headrace):
    api.answer(
        "POST",
        "/workflows/w/hooks",
        {"name": "h", "url": "http://h/hooks/x", "secret": "whsec_1"},
        status=201,
    )
    out = headrace("hook", "create", "w", "h").out
    assert "http://h/hooks/x" in out
    assert "whsec_1" in out
    assert api.asked[0].body["name"] == "h"


def test_keys_are_made_with_scopes_and_revoked_by_id(api, headrace):
    api.answer(
        "POST", "/keys", {"id": "k1", "key": "hr_k1_secret", "scopes": ["read"], "prefix": ""}, status=201
    )
    api.answer("DELETE", "/keys/k1", {})
    assert headrace("key", "create", "-s", "read", "--quiet").out == "hr_k1_secret\n"
    assert headrace("key", "revoke", "k1").code == 0


def test_a_node_type_shows_the_fields_of_its_configuration(api, headrace):
    schema = {"properties": {"uri": {"type": "string", "title": "Feed"}}, "required": ["uri"]}
    api.answer(
        "GET", "/node-types/catalog-read", {"name": "catalog-read", "version": 1, "config_schema": schema}
    )
    assert "uri     string  yes" in headrace("node-type", "get", "catalog-read").out


@pytest.mark.parametrize(
    "arguments",
    [("run", "submit"), ("run", "submit", "w", "-p", "oops"), ("workflow", "apply", "/nowhere.yaml"),
     ("nonsense",), ("dev", "--port", "99999"), ("dev", "--workers", "0"), ("run", "list", "-o", "xml")],
)  # fmt: skip
def test_wrong_usage_exits_2_without_a_traceback(headrace, arguments: tuple[str, ...]):
    ran = headrace(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err
    assert "Traceback" not in ran.err


def test_something_that_is_not_there_exits_3(headrace):
    ran = headrace("run", "get", "r9")
    assert (ran.code, ran.out) == (3, "")
    assert "nothing at /runs/r9" in ran.err


def test_a_bad_setting_is_named(headrace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEADRACE_PORT", "many")
    ran = headrace("worker")
    assert ran.code == 2
    assert "HEADRACE_PORT" in ran.err


def test_version_prints_a_version(headrace):
    assert headrace("version").out.startswith("headrace 0.")


def test_why_prints_each_reason_within_80_columns(api, headrace):
    detail = "the pool 'db' has 2 of 2 slots taken, which keeps free ones for another that has waited longer than this"
    holders = [{"run": "r9", "node": "x", "since": "2026-01-05T10:00:00Z"}]
    items = [{"code": "pool", "detail": detail, "since": "2026-01-05T10:00:00Z", "holders": holders}]
    api.answer("GET", "/runs/r1/nodes/a/why", {"items": items, "next_cursor": None})
    ran = headrace("why", "r1", "a")
    lines = ran.out.splitlines()
    assert (ran.code, lines[0].split()[0]) == (0, "pool")
    assert "held by r9 x" in lines[-1]
    assert max(map(len, lines)) <= 80
    assert headrace("run", "why", "r1", "a", "--quiet").out == "pool\n"


def test_pools_are_listed_with_what_is_held_and_what_waits(api, headrace):
    pool = {"name": "pricing-db", "slots": 4, "used": 3, "holders": [], "waiting": 12}
    api.answer("GET", "/pools", {"items": [pool]})
    heads, row = headrace("pool", "list").out.splitlines()
    assert heads.split() == ["POOL", "SLOTS", "USED", "WAITING"]
    assert row.split() == ["pricing-db", "4", "3", "12"]


def test_a_pool_is_set(api, headrace):
    api.answer(
        "PUT", "/pools/workflow%3Ashop", {"name": "workflow:shop", "slots": 2, "used": 0, "waiting": 0}
    )
    assert headrace("pool", "set", "workflow:shop", "2", "--quiet").out == "workflow:shop\n"
    assert api.asked[0].body == {"slots": 2}


@pytest.mark.parametrize("act", ["cancel", "pause", "resume"])
def test_what_is_asked_of_a_run_is_told_with_its_status(api, headrace, act: str):
    api.answer("POST", f"/runs/r1/{act}", {"run": "r1", "status": "running"}, status=202)
    assert headrace("run", act, "r1").out == f"{act} of r1 is accepted; it was running\n"


def test_a_workflow_is_paused_and_resumed(api, headrace):
    api.answer("POST", "/workflows/w/pause", {"workflow": "w", "paused": "2026-01-05T10:00:00Z"}, status=202)
    api.answer("POST", "/workflows/w/resume", {"workflow": "w", "paused": None}, status=202)
    assert headrace("workflow", "pause", "w").out == "w is paused\n"
    assert headrace("workflow", "resume", "w").out == "w goes on\n"


PREVIEW = {
    "run": "r1", "workflow": "brand-aggregator", "version": 3, "counts": {"run": 3, "keep": 1}, "next_cursor": None,
    "items": [
        {"name": "read", "action": "keep", "status": "succeeded"},
        {"name": "images", "action": "run", "status": "failed", "why": "status", "items": {"count": 900, "kept": 899}},
        {"name": "merge", "action": "run", "status": "blocked", "why": "status"},
        {"name": "publish", "action": "run", "status": None, "why": "upstream", "because": "merge"},
    ],
}  # fmt: skip


def test_a_dry_run_shows_what_runs_and_what_is_kept_within_80_columns(api, headrace):
    api.answer("POST", "/runs/r1/retry", PREVIEW)
    shown = headrace("run", "retry", "r1", "--dry-run").out
    assert shown.splitlines()[0] == "brand-aggregator v3: 3 run, 1 kept"
    assert max(map(len, shown.splitlines())) <= 80
    assert "did not end well; 899 of 900 items kept" in shown
    assert "'merge' runs or differs" in shown
    assert api.asked[0].query["dry_run"] == "true"
    assert headrace("run", "retry", "r1", "--dry-run", "--quiet").out == "images\nmerge\npublish\n"


def test_a_dry_run_says_how_many_failed_records_are_redone(api, headrace):
    items = [
        {"name": "price", "action": "run", "status": "succeeded", "why": "records", "failed_records": 5},
        {"name": "each", "action": "run", "status": "failed", "why": "status", "failed_records": 2,
         "items": {"count": 9, "kept": 7}},
    ]  # fmt: skip
    counts = {"run": 2, "keep": 0, "failed_records": 7}
    api.answer("POST", "/runs/r1/retry", {**PREVIEW, "counts": counts, "items": items})
    shown = headrace("run", "retry", "r1", "--dry-run").out
    assert shown.splitlines()[0] == "brand-aggregator v3: 2 run, 0 kept; 7 failed records redone"
    text = " ".join(shown.split())
    assert "some of its records failed; only its 5 failed records" in text
    assert max(map(len, shown.splitlines())) <= 80


def test_a_retry_begins_where_it_is_told_and_has_a_key_of_its_own(api, headrace):
    api.answer("POST", "/runs/r1/retry", ACCEPTED, status=202)
    assert headrace("run", "retry", "r1", "--from", "merge").out == "run r1\n"
    assert api.asked[0].body == {"from": "merge"}
    assert len(api.asked[0].headers["idempotency-key"]) == 36


def test_a_fork_takes_its_config_from_a_file(api, headrace, tmp_path: Path):
    (tmp_path / "config.yaml").write_text("percent: 7\n")
    api.answer("POST", "/runs/r1/fork", ACCEPTED, status=202)
    headrace("run", "fork", "r1", "price", "--config", str(tmp_path / "config.yaml"), "--version", "2")
    assert api.asked[0].body == {"node": "price", "config": {"percent": 7}, "version": 2}
