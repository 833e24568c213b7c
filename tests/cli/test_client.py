"""The HTTP client: where it finds its server, and what becomes of errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.cli.client import Client, Target, find_target
from app.embedded import free_port
from app.errors import IdempotencyConflict, InvalidInput, NotFound, Unavailable, UsageError


@pytest.fixture
def client(api):
    with Client(Target(api.url, "hr_test_key", "test"), patience=5) as client:
        yield client


def test_the_environment_names_the_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HEADRACE_URL", "http://h:1/")
    monkeypatch.setenv("HEADRACE_API_KEY", "k")
    assert find_target(tmp_path / "none") == Target("http://h:1", "k", "HEADRACE_URL")


def test_else_the_dev_of_this_directory_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("HEADRACE_URL", raising=False)
    monkeypatch.delenv("HEADRACE_API_KEY", raising=False)
    ready = tmp_path / "ready.json"
    ready.write_text(json.dumps({"url": "http://127.0.0.1:9", "api_key": "k"}))
    assert find_target(ready) == Target("http://127.0.0.1:9", "k", str(ready))


def test_without_either_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("HEADRACE_URL", raising=False)
    with pytest.raises(UsageError, match="set HEADRACE_URL"):
        find_target(tmp_path / "none")


def test_a_problem_becomes_the_error_it_was_with_its_places(api, client: Client):
    places = [{"pointer": "/nodes/a/needs/0", "detail": "there is no node b"}]
    api.problem("PUT", "/workflows/w", 422, "invalid", "The body is not valid.", places)
    with pytest.raises(InvalidInput, match="not valid") as caught:
        client.send("PUT", "/workflows/w", body={})
    assert caught.value.places == [("/nodes/a/needs/0", "there is no node b")]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(404, "not_found", NotFound), (409, "idempotency_conflict", IdempotencyConflict)],
)
def test_the_code_of_a_problem_names_its_class(
    api, client: Client, status: int, code: str, kind: type[Exception]
):
    api.problem("GET", "/x", status, code, "so it is")
    with pytest.raises(kind, match="so it is"):
        client.get("/x")


def test_a_server_that_is_away_for_a_moment_is_asked_again(api, client: Client):
    api.answers["GET", "/x"] = [(503, {"code": "store_unavailable"}), (200, {"fine": True})]
    assert client.get("/x") == {"fine": True}


def test_what_is_not_idempotent_is_sent_once(api, client: Client):
    api.answers["POST", "/x"] = [(503, {"code": "unavailable"}), (200, {})]
    with pytest.raises(Unavailable):
        client.send("POST", "/x", body={})
    assert len(api.asked) == 1


def test_a_server_that_does_not_answer_is_named():
    url = f"http://127.0.0.1:{free_port()}"
    with Client(Target(url, "", "HEADRACE_URL"), patience=0) as client, pytest.raises(Unavailable, match=url):
        client.get("/runs")


def test_an_address_that_is_none_is_a_usage_error():
    with Client(Target("ftp://h", "", "HEADRACE_URL")) as client, pytest.raises(UsageError):
        client.get("/runs")


def test_pages_are_gathered_up_to_the_limit(api, client: Client):
    api.answers["GET", "/runs"] = [
        (200, {"items": [{"id": 1}, {"id": 2}], "next_cursor": "c"}),
        (200, {"items": [{"id": 3}, {"id": 4}], "next_cursor": "d"}),
    ]
    assert client.pages("/runs", 3, status="failed") == [{"id": 1}, {"id": 2}, {"id": 3}]
    assert api.asked[1].query == {"status": "failed", "limit": "1", "cursor": "c"}
