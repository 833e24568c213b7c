"""An external engine as a node (M11): called, waited for in every way there is, and only its metadata comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.tasks import Task
from app.embedded import die_with_parent, free_port
from tests.workers.conftest import SECRET

PROGRAM = Path(__file__).with_name("external_engine.py")
ONCE = {"max_attempts": 1}
QUICK = {"max_attempts": 3, "initial": "10ms"}


class Engine:
    """The external engine, seen from a test."""

    def __init__(self, folder: Path) -> None:
        file = folder / "engine.port"
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(file)], stdin=subprocess.DEVNULL, preexec_fn=die_with_parent
        )
        while not file.exists():
            assert self.process.poll() is None
        self.url = f"http://127.0.0.1:{file.read_text()}"

    def node(self, path: str, name: str = "", **fields: Any) -> dict[str, Any]:
        """A service node; `config` members are told the engine, the others are the node's own fields."""
        config = {"name": name, **fields.pop("config", {})}
        service = {"url": f"{self.url}{path}", **fields.pop("service", {})}
        return {"service": service, "config": config, **fields}

    def journal(self, path: str = "", run: str = "") -> list[dict[str, Any]]:
        found = httpx.get(f"{self.url}/journal").json()
        return [
            entry
            for entry in found
            if entry.get("path", "").startswith(path)
            and (not run or (entry.get("body") or {}).get("run") == run)
        ]

    def callbacks(self) -> list[dict[str, Any]]:
        return [entry for entry in httpx.get(f"{self.url}/journal").json() if "callback" in entry]

    def release(self, name: str) -> None:
        httpx.post(f"{self.url}/release/{name}").raise_for_status()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = Engine(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def here(working_site):
    """An installation with a worker."""
    return working_site


async def seen(site: Any, engine: Engine, path: str, count: int = 1) -> list[dict[str, Any]]:
    """Wait until the engine was asked so often at a path."""

    async def asked() -> Any:
        entries = engine.journal(path)
        return entries if len(entries) >= count else None

    return await site.until(asked, f"{count} requests at {path}")


async def waiting(site: Any, run: str, node: str) -> Task:
    """Wait until a call waits for its callback or its next poll, in nobody's hands; its task."""
    task = Task(run, node, 1, 0)

    async def there() -> bool:
        return await site.store.batcher.call("HGET", site.keys.node(run, node), "d") is not None

    await site.until(there, f"{node} was accepted")
    return task


async def left(site: Any, *runs: str) -> None:
    """Nothing is left of these runs, no call either."""
    await site.check(*runs)

    async def none() -> bool:
        return not {task.run for task in await site.store.calls.held()} & set(runs)

    await site.until(none, "no call is left")


# answers at once ----------------------------------------------------------------------------------------------------


async def test_an_answer_with_json_is_the_metadata_of_the_node_and_goes_down_the_graph(here, engine: Engine):
    below = engine.node("/now", needs=["call"], config={"result": {"n": "${{ nodes.call.metadata.n }}"}})
    (run,) = await here.fire({"call": engine.node("/now", config={"result": {"n": 7}}), "below": below})
    assert await here.ended(run) == "succeeded"
    assert (await here.node(run, "below"))["metadata"] == {"n": 7}
    asked = engine.journal("/now", run)
    assert asked[1]["body"]["inputs"] == {"call": {"n": 7}}
    await left(here, run)


async def test_the_request_says_who_asks_and_how_to_answer(here, engine: Engine):
    (run,) = await here.fire({"call": engine.node("/now")})
    assert await here.ended(run) == "succeeded"
    (asked,) = engine.journal("/now", run)
    body, headers = asked["body"], asked["headers"]
    assert (body["node"], body["attempt"], body["version"]) == ("call", 1, 1)
    assert body["callback"]["url"].endswith(f"/api/v1/callbacks/{body['callback']['token']}")
    assert headers["idempotency-key"] == f"{run}/call/1"
    assert headers["traceparent"].startswith("00-")
    assert headers["content-type"] == "application/json"


async def test_an_answer_without_a_body_is_null(here, engine: Engine):
    (run,) = await here.fire({"call": engine.node("/empty")})
    assert await here.ended(run) == "succeeded"
    assert (await here.node(run, "call"))["metadata"] is None


async def test_a_get_has_no_body_and_its_values_are_encoded_in_the_url(here, engine: Engine):
    node = {"service": {"url": f"{engine.url}/now?q=${{{{ params.q }}}}", "method": "GET"}}
    name = "get-service"
    (
        await here.http.put(f"/workflows/{name}", json={"name": name, "nodes": {"call": node}})
    ).raise_for_status()
    answer = await here.http.post(f"/workflows/{name}/runs", json={"params": {"q": "a&b=c/d ü"}})
    assert await here.ended(answer.json()["run"]) == "succeeded"
    (asked,) = engine.journal("/now")
    assert (asked["query"], asked["body"]) == ("q=a%26b%3Dc%2Fd%20%C3%BC", None)
    assert "headrace-callback-url" in asked["headers"]


async def test_every_item_of_a_map_is_a_call_of_its_own(here, engine: Engine):
    node = engine.node("/items/${{ item }}", map={"over": ["a", "b/c"]})
    (run,) = await here.fire({"call": node})
    assert await here.ended(run) == "succeeded"
    items = (await here.node(run, "call"))["metadata"]["items"]
    assert [item["body"] for item in items] == ["a", "b/c"]
    keys = {entry["headers"]["idempotency-key"] for entry in engine.journal("/items", run)}
    assert keys == {f"{run}/call:0/1", f"{run}/call:1/1"}
    await left(here, run)


# answers that fail --------------------------------------------------------------------------------------------------


async def test_a_server_error_is_retried_by_the_nodes_policy_under_another_key(here, engine: Engine):
    (run,) = await here.fire({"call": engine.node("/flaky", config={"statuses": [500, 502]}, retry=QUICK)})
    assert await here.ended(run) == "succeeded"
    assert (await here.node(run, "call"))["metadata"] == {"attempt": 3}
    keys = [entry["headers"]["idempotency-key"] for entry in engine.journal("/flaky", run)]
    assert keys == [f"{run}/call/{attempt}" for attempt in (1, 2, 3)]


async def test_a_client_error_is_final(here, engine: Engine):
    (run,) = await here.fire({"call": engine.node("/flaky", config={"statuses": [404, 404]}, retry=QUICK)})
    assert await here.ended(run) == "failed"
    node = await here.node(run, "call")
    assert (node["attempt"], node["error"]["type"]) == (1, "http_404")
    assert node["error"]["message"] == "the service answered 404: Out of order"
    await left(here, run)


async def test_retry_after_is_waited_for_where_the_policy_would_come_back_sooner(here, engine: Engine):
    (run,) = await here.fire({"call": engine.node("/flaky", config={"statuses": [429]}, retry=QUICK)})
    assert await here.ended(run) == "succeeded"
    events = [event for _, event in await here.store.events.read(run, "0") if event.get("node") == "call"]
    at = {event["to"]: event["at"] for event in events if "to" in event and event["attempt"] == 2}
    failed = next(event["at"] for event in events if event.get("to") == "waiting")
    assert at["starting"] > failed
    assert (await here.node(run, "call"))["attempt"] == 2


@pytest.mark.parametrize(
    ("path", "type"),
    [
        ("/huge", "answer_too_large"),
        ("/redirect", "redirect"),
        ("/text", "bad_answer"),
        ("/html", "bad_answer"),
    ],
)
async def test_an_answer_that_cannot_be_used_fails_clearly_and_finally(
    here, engine: Engine, path: str, type: str
):
    (run,) = await here.fire({"call": engine.node(path, retry=QUICK)})
    assert await here.ended(run) == "failed"
    node = await here.node(run, "call")
    assert (node["attempt"], node["error"]["type"]) == (1, type)


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/latest/", "http://0xa9fea9fe/", "http://2852039166/", "http://0251.0376.0251.0376/",
     "http://[::ffff:169.254.169.254]/", "http://10.0.0.1:8080/", "http://localhost:1/"],
)  # fmt: skip
async def test_an_address_that_is_not_public_is_blocked_as_a_service_url(here, url: str):
    (run,) = await here.fire({"call": {"service": {"url": url}, "retry": QUICK}})
    assert await here.ended(run) == "failed"
    node = await here.node(run, "call")
    assert (node["attempt"], node["error"]["type"]) == (1, "blocked")


async def test_a_service_that_is_not_there_is_tried_as_often_as_the_policy_says(here):
    node = {"service": {"url": f"http://127.0.0.1:{free_port()}/"}, "retry": QUICK}
    (run,) = await here.fire({"call": node})
    assert await here.ended(run) == "failed"
    node = await here.node(run, "call")
    assert (node["attempt"], node["error"]["type"]) == (3, "unreachable")
    await left(here, run)


# answers that come later --------------------------------------------------------------------------------------------


async def test_a_callback_finishes_the_node_and_its_repeats_change_nothing(here, engine: Engine):
    config = {"result": {"copies": 3}, "times": 3}
    (run,) = await here.fire({"call": engine.node("/later", "go", config=config)})
    await waiting(here, run, "call")
    assert (await here.node(run, "call"))["status"] == "running"
    assert {task.run for task in await here.store.workers.holders()} == {run}
    engine.release("go")
    assert await here.ended(run) == "succeeded"
    assert (await here.node(run, "call"))["metadata"] == {"copies": 3}

    async def told() -> bool:
        return len(engine.callbacks()) == 3

    await here.until(told, "three callbacks were answered")
    assert {entry["callback"] for entry in engine.callbacks()} == {200}
    assert len({str(entry["answer"]) for entry in engine.callbacks()}) == 1
    await left(here, run)


async def test_a_callback_may_say_that_it_failed(here, engine: Engine):
    error = {"type": "no_such_feed", "message": "gone", "retryable": False}
    (run,) = await here.fire(
        {"call": engine.node("/later", "go", config={"error": error, "times": 2}, retry=QUICK)}
    )
    await waiting(here, run, "call")
    engine.release("go")
    assert await here.ended(run) == "failed"
    node = await here.node(run, "call")
    assert (node["attempt"], node["error"]) == (1, {"type": "no_such_feed", "message": "gone"})

    async def told() -> bool:
        return len(engine.callbacks()) == 2

    await here.until(told, "both callbacks were answered")
    assert {entry["callback"] for entry in engine.callbacks()} == {200}
    await left(here, run)


async def test_a_job_is_polled_at_its_location_until_it_is_done(here, engine: Engine):
    (run,) = await here.fire({"call": engine.node("/jobs", "go", config={"result": {"rows": 12}})})
    await seen(here, engine, "/jobs/0", 2)
    engine.release("go")
    assert await here.ended(run) == "succeeded"
    assert (await here.node(run, "call"))["metadata"] == {"rows": 12}
    await left(here, run)


async def test_the_run_timeout_ends_a_call_that_is_never_answered(here, engine: Engine):
    node = engine.node("/later", "never", timeout={"run": "1s", "heartbeat": "200ms"}, retry=ONCE)
    (run,) = await here.fire({"call": node})
    assert await here.ended(run) == "failed"
    assert (await here.node(run, "call"))["error"]["type"] == "run_timeout"
    await left(here, run)


async def test_a_job_that_runs_out_of_time_is_deleted_at_its_location(here, engine: Engine):
    (run,) = await here.fire({"call": engine.node("/jobs", "never", timeout={"run": "1s"}, retry=ONCE)})
    assert await here.ended(run) == "failed"
    entries = await seen(here, engine, "/jobs/0")

    async def deleted() -> bool:
        return any(entry["method"] == "DELETE" for entry in engine.journal("/jobs/0"))

    await here.until(deleted, f"the job was deleted: {entries}")
    await left(here, run)


async def test_a_job_is_deleted_at_its_location_when_its_run_is_cancelled(here, engine: Engine):
    (run,) = await here.fire({"call": engine.node("/jobs", "never")})
    await seen(here, engine, "/jobs/0")
    (await here.http.post(f"/runs/{run}/cancel")).raise_for_status()
    assert await here.ended(run) == "cancelled"

    async def deleted() -> bool:
        return any(entry["method"] == "DELETE" for entry in engine.journal("/jobs/0"))

    await here.until(deleted, "the job was deleted")
    await left(here, run)


async def test_a_call_that_is_being_answered_is_broken_off_at_its_run_timeout(here, engine: Engine):
    (run,) = await here.fire({"call": engine.node("/slow", "never", timeout={"run": "1s"}, retry=ONCE)})
    assert await here.ended(run) == "failed"
    assert (await here.node(run, "call"))["error"]["type"] == "run_timeout"
    await left(here, run)


# death of workers ---------------------------------------------------------------------------------------------------


async def test_a_worker_that_dies_while_it_sends_is_followed_by_one_that_sends_the_same_again(
    site, engine: Engine
):
    first = await site.worker()
    (run,) = await site.fire({"call": engine.node("/slow", "go")})
    await seen(site, engine, "/slow")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    await site.worker()
    one, two = await seen(site, engine, "/slow", 2)
    engine.release("go")
    assert await site.ended(run) == "succeeded"
    assert one["headers"]["idempotency-key"] == two["headers"]["idempotency-key"]
    assert one["body"] == two["body"]
    assert (await site.node(run, "call"))["attempt"] == 1
    await left(site, run)


async def test_a_callback_is_waited_for_by_no_worker_in_particular(site, engine: Engine):
    first = await site.worker()
    (run,) = await site.fire(
        {"call": engine.node("/later", "go"), "after": engine.node("/now", needs=["call"])}
    )
    await waiting(site, run, "call")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    engine.release("go")

    async def told() -> bool:
        return bool(engine.callbacks())

    await site.until(told, "the callback was taken without any worker")
    await site.worker()
    assert await site.ended(run) == "succeeded"
    assert len(engine.journal("/later", run)) == 1
    await left(site, run)


async def test_polling_goes_on_after_the_worker_has_died(site, engine: Engine):
    first = await site.worker()
    (run,) = await site.fire({"call": engine.node("/jobs", "go")})
    await seen(site, engine, "/jobs/0")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    engine.release("go")
    await site.worker()
    assert await site.ended(run) == "succeeded"
    assert len([entry for entry in engine.journal("/jobs", run) if entry["method"] == "POST"]) == 1
    await left(site, run)


# tokens -------------------------------------------------------------------------------------------------------------


async def callback(site: Any, token: str, body: dict[str, Any]) -> int:
    url = f"{site.installation.settings.api_url}/api/v1/callbacks/{token}"
    async with httpx.AsyncClient() as client:  # without any key
        return (await client.post(url, json=body)).status_code


async def test_a_callback_of_an_attempt_that_is_over_is_refused(here, engine: Engine):
    node = engine.node(
        "/later", "never", timeout={"run": "500ms"}, retry={"max_attempts": 2, "initial": "10ms"}
    )
    (run,) = await here.fire({"call": node})
    first, second = [entry["body"]["callback"]["token"] for entry in await seen(here, engine, "/later", 2)]
    assert await callback(here, first, {"metadata": 1}) == 409
    await here.ended(run)
    assert await callback(here, second, {"metadata": 1}) == 409
    await left(here, run)


async def test_another_result_than_the_one_that_was_taken_is_refused(here, engine: Engine):
    (run,) = await here.fire({"call": engine.node("/later", "never")})
    ((token),) = [entry["body"]["callback"]["token"] for entry in await seen(here, engine, "/later")]
    assert await callback(here, token, {"metadata": {"n": 1}}) == 200
    assert await callback(here, token, {"metadata": {"n": 2}}) == 409
    assert await here.ended(run) == "succeeded"
    assert await callback(here, token, {"metadata": {"n": 1}}) == 200
    assert await callback(here, token, {"metadata": {"n": 2}}) == 409
    assert (await here.node(run, "call"))["metadata"] == {"n": 1}


# secrets ------------------------------------------------------------------------------------------------------------


async def test_a_secret_is_sent_and_is_seen_nowhere_even_if_the_service_repeats_it(here, engine: Engine):
    with_secret = {"secret": "engine-key"}
    nodes = {
        "bad": engine.node("/echo", service=with_secret, allow_failure=True),
        "good": engine.node("/echo-well", service=with_secret),
    }
    (run,) = await here.fire(nodes)
    assert await here.ended(run) == "succeeded"
    assert engine.journal("/echo", run)[0]["headers"]["authorization"] == f"Bearer {SECRET}"
    bad, good = await here.node(run, "bad"), await here.node(run, "good")
    assert bad["error"]["message"] == "the service answered 400: denied: Bearer *** \\x1b[31m"
    assert good["metadata"] == {"you_sent": "Bearer ***", "token": "***"}
    dump = [str(await here.store.batcher.call("HGETALL", here.keys.node(run, node))) for node in nodes] + [
        str(await here.store.events.read(run, "0")),
        *(path.read_text() for path in here.installation.folder.glob("*.log")),
    ]
    assert not [text for text in dump if SECRET in text]


@pytest.mark.parametrize("secret", ["elsewhere", "unknown"])
async def test_a_secret_that_may_not_be_sent_there_is_refused_at_publish(here, engine: Engine, secret: str):
    node = engine.node("/now", service={"secret": secret})
    answer = await here.http.put("/workflows/w", json={"name": "w", "nodes": {"call": node}})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/nodes/call/service/secret"]


# circuits -----------------------------------------------------------------------------------------------------------


async def test_a_host_that_fails_again_and_again_is_left_alone_for_a_while_and_costs_no_attempts(
    here, engine: Engine
):
    flaky = engine.node(
        "/flaky", config={"statuses": [500] * 4}, retry={"max_attempts": 5, "initial": "10ms"}
    )
    (run,) = await here.fire({"call": flaky})
    await seen(here, engine, "/flaky", 4)
    host = engine.url.removeprefix("http://")

    async def is_open() -> bool:
        return (await here.store.circuits.get(host))[1] > 0

    await here.until(is_open, "the circuit is open")
    (other,) = await here.fire({"call": engine.node("/now")})

    async def held_back() -> bool:
        found = await here.store.batcher.call("HGET", here.keys.node(other, "call"), "dw")
        return found == host.encode()

    await here.until(held_back, "the other call waits for the circuit")
    assert not [task for task in await here.store.workers.holders() if task.run == other]
    assert not engine.journal("/now")
    assert await here.ended(run) == await here.ended(other) == "succeeded"
    assert (await here.node(run, "call"))["attempt"] == 5
    assert (await here.node(other, "call"))["attempt"] == 1
    assert await here.store.circuits.get(host) == (0, 0)
    await here.check(run, other, faults=True)
