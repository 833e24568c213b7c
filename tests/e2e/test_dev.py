"""What `headrace dev` promises: it is ready soon, it ends in time, and it goes on where it was."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
from standardwebhooks import Webhook

from loadtests.api import Api, until
from loadtests.dev import Dev, Ready
from loadtests.processes import alive, children_of, node_processes

Connect = Callable[[Ready], Api]
HalfWay = Callable[[Api, str], Awaitable[int]]
HOOKED = {
    "name": "hooked",
    "nodes": {"pause": {"wait": {"duration": "0s"}}},
    "triggers": [{"webhook": {"name": "arrived", "signature": "standard"}}],
}


async def start_run(api: Api, workflow: dict[str, Any]) -> str:
    await api.send("PUT", f"/workflows/{workflow['name']}", workflow)
    path = f"/workflows/{workflow['name']}/runs"
    return (await api.send("POST", path, {}, **{"idempotency-key": "once"}))["run"]


def written_by(run: str, dev: Dev) -> dict[str, int]:
    """Records of the node `read` by the process that wrote them, named ATTEMPT-EPOCH."""
    manifest = json.loads((dev.data / "data" / run / "read" / "manifest.json").read_text())
    written: dict[str, int] = {}
    for part in manifest["parts"]:
        writer = Path(part["path"]).parent.name
        written[writer] = written.get(writer, 0) + part["records"]
    return written


async def test_the_ready_file_comes_within_30_seconds_and_is_for_its_owner_only(dev: Dev):
    began = time.monotonic()
    ready = await asyncio.to_thread(dev.start)
    assert time.monotonic() - began < 30
    assert stat.S_IMODE(dev.ready_file.stat().st_mode) == 0o600
    content = json.loads(dev.ready_file.read_text())
    assert set(content) == {"url", "api_key", "redis_url", "pids"}
    assert set(content["pids"]) == {"api", "redis", "workers"}
    assert len(ready.workers) == 2
    assert all(alive(pid) for pid in ready.parts.values())


async def test_ctrl_c_ends_it_within_20_seconds_and_an_unfinished_node_goes_on_at_the_next_start(
    dev: Dev, connect: Connect, long_read: dict[str, Any], half_way: HalfWay
):
    ready = await asyncio.to_thread(dev.start)
    api = connect(ready)
    run = await start_run(api, long_read)
    await half_way(api, run)
    parts = children_of(dev.pid)
    code, seconds = await asyncio.to_thread(dev.interrupt)
    assert code == 0
    assert seconds < 20
    assert not any(alive(pid) for pid in parts)
    assert node_processes(ready.url) == []
    assert not dev.ready_file.exists()
    api = connect(await asyncio.to_thread(dev.start))
    record = await api.ended(run, 60)
    assert (record["status"], record["error"]) == ("succeeded", None)
    assert record["output"]["count"] == 150_000
    assert len(written_by(run, dev)) == 2, "the second process went on where the first one was"


async def test_after_kill_minus_9_of_everything_every_run_goes_on_within_20_seconds(
    dev: Dev, connect: Connect, long_read: dict[str, Any], half_way: HalfWay
):
    api = connect(await asyncio.to_thread(dev.start))
    run = await start_run(api, long_read)
    done = await half_way(api, run)
    await api.send("PUT", "/workflows/hooked", HOOKED)
    keys = [{"idempotency-key": f"k{number}"} for number in range(50)]
    accepted = await asyncio.gather(*(api.send("POST", "/workflows/hooked/runs", {}, **key) for key in keys))
    await asyncio.to_thread(dev.kill_everything)
    api = connect(await asyncio.to_thread(dev.start))

    async def moves_again() -> bool:
        return (await api.get(f"/runs/{run}/nodes/read"))["epoch"] == 2

    await until(moves_again, 20)
    statuses = [(await api.ended(each["run"], 30))["status"] for each in accepted]
    assert statuses == ["succeeded"] * 50
    record = await api.ended(run, 60)
    assert (record["status"], record["error"]) == ("succeeded", None)
    written = written_by(run, dev)
    assert sum(written.values()) == 150_000
    assert done <= written["1-1"] < 150_000, "what was durable was not made again"


async def test_the_same_webhook_100_times_at_once_is_one_run_with_one_receipt(dev: Dev, connect: Connect):
    api = connect(await asyncio.to_thread(dev.start))
    hook = (await api.send("PUT", "/workflows/hooked", HOOKED))["hooks"][0]
    now, body = datetime.now(UTC), orjson.dumps({"feed": "file:a.ndjson"})
    headers = {
        "content-type": "application/json",
        "webhook-id": "msg-1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(hook["secret"]).sign("msg-1", now, body.decode()),
    }
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        answers = await asyncio.gather(
            *(http.post(hook["url"], content=body, headers=headers) for _ in range(100))
        )
    assert {answer.status_code for answer in answers} == {202}
    (receipt,) = {orjson.dumps(answer.json()) for answer in answers}
    run = orjson.loads(receipt)["receipts"][0]["run"]
    assert (await api.ended(run, 20))["status"] == "succeeded"
    assert [record["id"] for record in await api.pages("/runs", workflow="hooked")] == [run]


async def test_a_node_of_ones_own_runs_in_the_dev_that_is_up(dev: Dev, connect: Connect, tmp_path: Path):
    ready = await asyncio.to_thread(dev.start)
    api = connect(ready)
    await asyncio.to_thread(headrace, ready, tmp_path, "node", "init", "my_node")
    types = dev.data / "node-types"
    await asyncio.to_thread(headrace, ready, tmp_path, "node", "register", "my_node.py", "--to", str(types))
    (dev.data / "data" / "own.ndjson").write_text('{"id": "kettle", "price": 100}\n')
    config = {"uri": "file:own.ndjson", "percent": 5}
    output = {"count": "${{ nodes.a.metadata.count }}"}
    document = {"name": "own", "nodes": {"a": {"type": "my-node", "config": config}}, "output": output}
    run = await start_run(api, document)

    async def ended() -> dict[str, Any] | None:
        found = await api.get(f"/runs/{run}")
        return found if found["status"] not in ("queued", "running") else None

    found = await until(ended, 60)
    assert found is not None
    assert (found["status"], found["output"]) == ("succeeded", {"count": 1})

    async def counted() -> bool:
        async with httpx.AsyncClient(base_url=ready.url) as http:
            text = (await http.get("/metrics")).text
        return 'headrace_node_runs_total{node_type="my-node",status="succeeded"} 1.0' in text

    assert await until(counted, 20)


def headrace(ready: Ready, directory: Path, *arguments: str) -> None:
    """The command as a person would use it, against the dev that is ready."""
    environment = {**os.environ, "HEADRACE_URL": ready.url, "HEADRACE_API_KEY": ready.api_key}
    command = [sys.executable, "-m", "app.cli.main", *arguments]
    subprocess.run(command, cwd=directory, env=environment, check=True, capture_output=True)
