"""The node protocol on the wire: what a node sends and what it gets back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import orjson
import pytest

from app.core.tokens import TokenClaims, sign
from app.store.store import Store

Begin = Callable[..., Awaitable[str]]
TokenFor = Callable[..., str]
Answer = dict[str, Any]

pytestmark = pytest.mark.usefixtures("published")


class Node:
    """A node that speaks the protocol."""

    def __init__(self, client: httpx.AsyncClient, run: str, ref: str, token: str) -> None:
        self.run = run
        self._client = client
        self._base = f"/api/v1/runs/{run}/nodes/{ref.replace(':', '/items/')}"
        self._headers = {"authorization": f"Bearer {token}"}
        self.epoch = 0

    async def post(self, what: str, **body: Any) -> httpx.Response:
        return await self._client.post(f"{self._base}/{what}", json=body, headers=self._headers)

    async def start(self, instance: str = "pod-1") -> Answer:
        answer = await self.post("start", instance=instance)
        assert answer.status_code == 200, answer.text
        self.epoch = answer.json()["epoch"]
        return answer.json()

    async def checkpoint(self, *steps: Answer) -> httpx.Response:
        return await self.post("checkpoints", epoch=self.epoch, steps=steps)

    async def get(self, path: str) -> httpx.Response:
        return await self._client.get(f"{self._base}/{path}", headers=self._headers)


@pytest.fixture
async def node(anonymous: httpx.AsyncClient, begin: Begin, token_for: TokenFor) -> Node:
    run = await begin()
    return Node(anonymous, run, "read", token_for(run, "read"))


async def test_start_tells_all_that_a_node_needs(node: Node):
    answer = await node.start()
    assert answer["type"] == "step@1"
    assert answer["config"] == {}
    assert answer["inputs"] == {}
    assert answer["checkpoint"] == {"step": None, "seq": None, "data": None, "metadata": None}
    assert (answer["epoch"], answer["attempt"]) == (1, 1)
    assert answer["tolerate"] == 0
    assert 0 < answer["heartbeat"] <= 15
    assert "item" not in answer


async def test_the_same_instance_gets_the_same_answer(node: Node):
    assert await node.start() == await node.start()


async def test_a_new_instance_holds_the_attempt_and_the_older_is_told_to_exit(node: Node):
    await node.start("pod-1")
    await node.checkpoint({"step": "configure"})
    old = node.epoch
    again = await node.start("pod-2")
    assert again["checkpoint"]["step"] == "configure"
    stale = await node.post("checkpoints", epoch=old, steps=[{"step": "execute"}])
    assert (stale.status_code, stale.json()["code"]) == (409, "stale_epoch")


async def test_a_position_comes_back_after_a_restart(node: Node):
    await node.start("pod-1")
    position = {
        "step": "execute",
        "seq": 41,
        "data": {"part": "p-41"},
        "progress": {"done": 41, "total": 100},
    }
    answer = await node.checkpoint({"step": "configure"}, position)
    assert (answer.status_code, answer.json()) == (200, {"cancel": False})
    checkpoint = (await node.start("pod-2"))["checkpoint"]
    assert (checkpoint["seq"], checkpoint["data"]) == (41, {"part": "p-41"})


async def test_all_steps_may_come_in_one_call(node: Node, api: httpx.AsyncClient):
    await node.start()
    steps = ({"step": "configure"}, {"step": "execute"}, {"step": "output", "metadata": {"count": 3}})
    assert (await node.checkpoint(*steps, {"step": "finalize"})).status_code == 200
    shown = (await api.get(f"/api/v1/runs/{node.run}/nodes/read")).json()
    assert shown["metadata"] == {"count": 3}


async def test_a_step_out_of_order_is_a_conflict_that_names_the_expected_one(node: Node):
    await node.start()
    answer = await node.checkpoint({"step": "output"})
    assert answer.status_code == 409
    assert (answer.json()["code"], answer.json()["expected"]) == ("step_conflict", "configure")


async def test_a_step_repeated_with_other_content_is_a_conflict_and_audited(
    node: Node, api: httpx.AsyncClient
):
    await node.start()
    done = ({"step": "configure"}, {"step": "execute"})
    await node.checkpoint(*done, {"step": "output", "metadata": {"count": 3}})
    same = await node.checkpoint({"step": "output", "metadata": {"count": 3}})
    other = await node.checkpoint({"step": "output", "metadata": {"count": 4}})
    assert (same.status_code, other.status_code) == (200, 409)
    entry = (await api.get("/api/v1/audit")).json()["items"][0]
    assert (entry["key"], entry["outcome"]) == (f"node:{node.run}", "conflict")


@pytest.mark.parametrize(
    ("step", "status"),
    [
        ({"step": "phase"}, 422),
        ({"step": "configure", "seq": 1}, 422),
        ({"step": "execute", "data": {}}, 422),
        ({"step": "configure", "metadata": {}}, 422),
        ({"step": "execute", "seq": -1}, 422),
        ({"step": "execute", "seq": 1.5}, 422),
        ({"step": "execute", "seq": 1, "extra": 1}, 422),
        ({"step": "execute", "seq": 1, "data": "x" * (64 << 10)}, 413),
        ({"step": "output", "metadata": "x" * (256 << 10)}, 413),
    ],
)
async def test_a_bad_step_is_refused_and_nothing_is_recorded(node: Node, step: Answer, status: int):
    await node.start()
    assert (await node.checkpoint({"step": "configure"}, step)).status_code == status
    assert (await node.start("pod-2"))["checkpoint"]["step"] is None


@pytest.mark.parametrize("body", [{}, {"epoch": "1"}, {"epoch": 0, "steps": []}, {"epoch": 1, "steps": []}])
async def test_a_bad_body_is_told_with_its_place(node: Node, body: Answer):
    answer = await node.post("checkpoints", **body)
    assert answer.status_code == 422
    assert answer.json()["errors"]


async def test_failed_records_are_counted_once_by_their_index(node: Node, api: httpx.AsyncClient):
    await node.start()
    failed = [{"index": 7, "key": "sku-7", "type": "ValueError", "message": "no price"}]
    first = await node.post("records", epoch=node.epoch, failed=failed)
    again = await node.post("records", epoch=node.epoch, failed=failed)
    assert first.json() == again.json() == {"count": 1}
    listed = (await api.get(f"/api/v1/runs/{node.run}/nodes/read/records")).json()["items"]
    assert listed == failed


async def test_more_than_a_thousand_records_in_one_call_are_refused(node: Node):
    await node.start()
    failed = [{"index": index, "type": "E", "message": ""} for index in range(1001)]
    assert (await node.post("records", epoch=node.epoch, failed=failed)).status_code == 422


async def test_what_an_earlier_process_left_in_the_ledger_behind_its_position_goes(
    node: Node, api: httpx.AsyncClient
):
    await node.start()
    failed = [{"index": index, "at": 0, "type": "E", "message": ""} for index in (3, 20, 100)]
    await node.post("records", epoch=node.epoch, failed=failed)
    answer = await node.post("records", epoch=node.epoch, failed=[failed[2]], **{"from": 20})
    assert answer.json() == {"count": 2}
    listed = (await api.get(f"/api/v1/runs/{node.run}/nodes/read/records")).json()["items"]
    assert sorted(entry["index"] for entry in listed) == [3, 100]


async def test_a_redo_is_told_its_earlier_run_and_reads_the_ledger_in_the_order_of_the_stream(
    node: Node, store: Store, begin: Begin
):
    earlier = await begin()
    names = store.keys.node(earlier, "read"), store.keys.records(earlier, "read")
    await store.batcher.call("HSET", names[0], "d", b'{"consumed":200}', "fr", 3)
    for index in (100, 7, 20):
        await store.batcher.call("HSET", names[1], index, b'{"index":%d}' % index)
    await store.batcher.call("HSET", store.keys.node(node.run, "read"), "rd", earlier)
    told = (await node.start())["redo"]
    base = f"/api/v1/runs/{node.run}/nodes/read/redo"
    assert told == {"run": earlier, "data": {"consumed": 200}, "count": 3, "href": base}
    first = (await node.get("redo?limit=2")).json()
    assert first == {"items": [{"index": 7}, {"index": 20}], "next_cursor": "100"}
    last = (await node.get(f"redo?limit=2&cursor={first['next_cursor']}")).json()
    assert last == {"items": [{"index": 100}], "next_cursor": None}


async def test_a_node_run_that_does_its_whole_stream_has_nothing_to_redo(node: Node):
    assert (await node.start())["redo"] is None
    assert (await node.get("redo")).status_code == 404


async def test_a_heartbeat_says_whether_to_stop(node: Node, store: Store):
    await node.start()
    assert (await node.post("heartbeat", epoch=node.epoch)).json() == {"cancel": False}
    await store.batcher.call("HSET", store.keys.node(node.run, "read"), "t", "cancelled")
    assert (await node.post("heartbeat", epoch=node.epoch)).json() == {"cancel": True}


async def test_a_failure_becomes_a_signal_for_the_run(node: Node, store: Store):
    await node.start()
    answer = await node.post("fail", epoch=node.epoch, type="ValueError", message="no feed", retryable=False)
    assert (answer.status_code, answer.json()) == (200, {})
    inbox = await store.batcher.call("LRANGE", store.keys.inbox(node.run), 0, -1)
    assert any(b"no feed" in signal for signal in inbox)


async def test_inputs_are_the_metadata_of_upstream_nodes(
    anonymous: httpx.AsyncClient, store: Store, begin: Begin, token_for: TokenFor
):
    run = await begin()
    await store.batcher.call("HSET", store.keys.node(run, "read"), "s", "succeeded", "m", b'{"count":3}')
    await store.batcher.call("HSET", store.keys.node(run, "publish"), "s", "starting", "a", 1)
    below = Node(anonymous, run, "publish", token_for(run, "publish"))
    assert (await below.start())["inputs"] == {"read": {"count": 3}}
    assert (await below.get("inputs/read")).json() == {"count": 3}
    assert (await below.get("inputs/publish")).status_code == 404


async def test_inputs_beyond_the_inline_limit_go_by_reference(
    anonymous: httpx.AsyncClient,
    store: Store,
    begin: Begin,
    token_for: TokenFor,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("app.store.nodes.INLINE_INPUTS", 64)
    run = await begin()
    large = {"parts": ["x" * 100]}
    await store.batcher.call("HSET", store.keys.node(run, "read"), "s", "succeeded", "m", orjson.dumps(large))
    await store.batcher.call("HSET", store.keys.node(run, "publish"), "s", "starting", "a", 1)
    token = token_for(run, "publish")
    href = (await Node(anonymous, run, "publish", token).start())["inputs"]["read"]["$href"]
    answer = await anonymous.get(href, headers={"authorization": f"Bearer {token}"})
    assert answer.json() == large


async def test_an_item_of_a_map_gets_its_item_and_index(
    anonymous: httpx.AsyncClient, store: Store, begin: Begin, token_for: TokenFor
):
    run = await begin()
    await store.batcher.call(
        "HSET", store.keys.node(run, "read:3"), "s", "starting", "a", 1, "v", b'{"uri":"p3"}'
    )
    item = Node(anonymous, run, "read:3", token_for(run, "read:3"))
    answer = await item.start()
    assert (answer["index"], answer["item"]) == (3, {"uri": "p3"})


async def test_a_run_timeout_shorter_than_the_heartbeat_is_looked_at_in_time(
    api: httpx.AsyncClient, anonymous: httpx.AsyncClient, begin: Begin, store: Store, document: Answer
):
    document["nodes"]["read"]["timeout"] = {"run": "2s", "heartbeat": "1m"}
    (await api.put("/api/v1/workflows/shop", json=document)).raise_for_status()
    run, before = await begin(), await store.workers.now()
    token = sign(store.secret, TokenClaims(run, "read", 1, "shop", 2, before + 60_000))
    await Node(anonymous, run, "read", token).start()
    due = float(await store.batcher.call("ZSCORE", store.keys.timers, f"{run}|read"))
    assert before + 2_000 <= due <= await store.workers.now() + 2_000
