"""Locust users against a running server: senders of webhooks, starters of runs, readers of receipts and runs.

    HEADRACE_URL=... HEADRACE_API_KEY=... locust -f loadtests/locustfile.py

`make locust` runs it headless against a fresh `headrace dev`. The workflow that is fired is one wait of no length, so what
is measured is the engine and its API, not the start of processes. The key needs the scopes read, trigger and write.
"""

from __future__ import annotations

import os
import random
import secrets
from datetime import UTC, datetime
from typing import Any, Protocol, cast

import gevent
import httpx
import orjson
from locust import FastHttpUser, between, events, task
from standardwebhooks import Webhook

WORKFLOW: dict[str, Any] = {
    "name": "locust",
    "params": {"type": "object", "properties": {"feed": {"type": "string"}, "note": {"type": "string"}}},
    "nodes": {"pause": {"wait": {"duration": "0s"}}},
}
SERVER = os.environ.get("HEADRACE_URL", "http://127.0.0.1:8765").rstrip("/")
KEY = {"authorization": f"Bearer {os.environ.get('HEADRACE_API_KEY', '')}"}
JSON = {"content-type": "application/json"}
PATIENCE = 30.0
"""Seconds within which an accepted trigger must be started, and a run end."""
REPEATED = 0.1
"""Share of webhooks that are sent a second time."""


class Answer(Protocol):
    """A response of FastHttpUser inside its context."""

    status_code: int
    text: str

    def json(self) -> Any: ...
    def failure(self, exc: str) -> None: ...
    def success(self) -> None: ...


class _Hook:
    """The hook of this process; made when the test starts."""

    url = ""
    path = ""
    secret = ""


@events.test_start.add_listener
def prepare(**_: object) -> None:
    """Publish the workflow, and make a hook of our own: its secret is shown only once."""
    with httpx.Client(base_url=f"{SERVER}/api/v1", headers=KEY, timeout=30, trust_env=False) as client:
        client.put(f"/workflows/{WORKFLOW['name']}", json=WORKFLOW).raise_for_status()
        name = f"locust-{secrets.token_hex(4)}"
        made = (
            client.post(f"/workflows/{WORKFLOW['name']}/hooks", json={"name": name}).raise_for_status().json()
        )
    _Hook.path = "/hooks/" + made["url"].rpartition("/hooks/")[2]
    _Hook.url, _Hook.secret = f"/workflows/{WORKFLOW['name']}/hooks/{name}", made["secret"]


@events.test_stop.add_listener
def tidy(**_: object) -> None:
    """Remove the hook again."""
    with httpx.Client(base_url=f"{SERVER}/api/v1", headers=KEY, timeout=30, trust_env=False) as client:
        client.delete(_Hook.url)


class HeadraceUser(FastHttpUser):
    """What all have in common."""

    abstract = True
    host = SERVER
    wait_time = between(0.05, 0.5)

    def wait_for(self, path: str, name: str, field: str, wanted: set[str]) -> None:
        """Ask until a field has one of the wanted values; a failure of the request when it never does."""
        for number in range(round(PATIENCE / 0.1)):
            with self.client.get(path, headers=KEY, name=name, catch_response=True) as response:
                answer = cast("Answer", response)
                if answer.status_code == 200 and answer.json()[field] in wanted:
                    return
                if answer.status_code != 200 or number == round(PATIENCE / 0.1) - 1:
                    answer.failure(f"{answer.status_code}: {answer.text[:100]}")
                    return
            gevent.sleep(0.1)


class WebhookSender(HeadraceUser):
    """Sends signed webhooks, some of them again, and follows the receipt of each."""

    weight = 3

    @task
    def send(self) -> None:
        """One webhook; the receipt says started soon after."""
        identity, body = (
            f"msg-{secrets.token_hex(8)}",
            orjson.dumps({"feed": "file:x", "note": "n" * 100}).decode(),
        )
        receipt = self._post(identity, body)
        if receipt is None:
            return
        if random.random() < REPEATED:
            self._post(identity, body, receipt)
        self.wait_for(f"/api/v1/triggers/{receipt}", "/api/v1/triggers/{receipt}", "state", {"started"})

    def _post(self, identity: str, body: str, known: str | None = None) -> str | None:
        """The receipt; None after a failure. A repeat must get the receipt that is `known`."""
        now = datetime.now(UTC)
        signed = {
            "webhook-id": identity,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(_Hook.secret).sign(identity, now, body),
        }
        with self.client.post(
            _Hook.path, data=body, headers=JSON | signed, name="/hooks/{token}", catch_response=True
        ) as response:
            answer = cast("Answer", response)
            receipt = answer.json()["receipts"][0]["receipt"] if answer.status_code == 202 else None
            if receipt is None:
                answer.failure(f"{answer.status_code}: {answer.text[:100]}")
            elif known not in (None, receipt):
                answer.failure("the same webhook got another receipt")
            return receipt


class RunStarter(HeadraceUser):
    """Starts runs over the API, waits for their end, and looks at the newest."""

    weight = 1

    @task(4)
    def fire(self) -> None:
        """One run, to its end."""
        path = f"/api/v1/workflows/{WORKFLOW['name']}/runs"
        headers = KEY | JSON | {"idempotency-key": secrets.token_hex(8)}
        body = '{"params":{"feed":"file:x"},"labels":{"from":"locust"}}'
        run = None
        with self.client.post(
            path, data=body, headers=headers, name="/api/v1/workflows/{name}/runs", catch_response=True
        ) as response:
            answer = cast("Answer", response)
            if answer.status_code == 202:
                run = answer.json()["run"]
            else:
                answer.failure(f"{answer.status_code}: {answer.text[:100]}")
        if run is None:
            return
        self.wait_for(f"/api/v1/runs/{run}", "/api/v1/runs/{run}", "status", {"succeeded"})

    @task(1)
    def look(self) -> None:
        """The newest runs."""
        self.client.get(
            f"/api/v1/runs?workflow={WORKFLOW['name']}&limit=20", headers=KEY, name="/api/v1/runs"
        )
