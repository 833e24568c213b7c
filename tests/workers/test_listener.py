"""`headrace listener` on a Redis stream: what is added becomes triggers, once, whoever dies (M8, M9)."""

from __future__ import annotations

import signal
from typing import Any

import orjson
import pytest

from app.core.cloudevents import STRUCTURED
from app.errors import Backpressure, UsageError
from app.intake import Intake, Listeners
from app.published import PublishedCache
from app.store.triggers import Accepted, Trigger, Triggers
from workers.listener.main import Listener
from workers.listener.receiver import Message, Receiver

DOCUMENT: dict[str, Any] = {
    "name": "listens",
    "nodes": {"a": {"wait": {"duration": "0s"}}},
    "triggers": [{"event": {"name": "price", "type": "price.*", "params": {"n": "${{ event.data.n }}"}}}],
}


def event(number: int, **more: Any) -> bytes:
    fields = {
        "specversion": "1.0",
        "id": str(number),
        "source": "/shop",
        "type": "price.drop",
        "data": {"n": number},
    }
    return orjson.dumps(fields | more)


class Stream:
    """The stream that the listeners of a site read."""

    def __init__(self, site) -> None:
        self.site = site
        self.key: str = site.installation.settings.listen_stream

    async def add(self, *fields: str | bytes) -> str:
        return (await self.site.store.batcher.call("XADD", self.key, "*", *fields)).decode()

    async def empty(self) -> bool:
        return await self.site.store.batcher.call("XLEN", self.key) == 0

    async def receipts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            page, cursor = await self.site.store.triggers.list(None, 1000, cursor)
            found += [each for each in page if each["workflow"] == "listens"]
            if cursor is None:
                return found


@pytest.fixture
async def stream(site):
    (await site.http.put("/workflows/listens", json=DOCUMENT)).raise_for_status()
    made = Stream(site)
    await site.store.batcher.call("DEL", made.key)
    yield made
    await site.store.batcher.call("DEL", made.key)
    await site.http.delete("/workflows/listens")


async def test_what_is_added_before_a_listener_runs_becomes_a_trigger_when_one_does(site, stream: Stream):
    known = len(await stream.receipts())
    await stream.add("event", event(1))
    await stream.add(
        "ce-specversion",
        "1.0",
        "ce-id",
        "2",
        "ce-source",
        "/shop",
        "ce-type",
        "price.rise",
        "data",
        '{"n": 2}',
    )
    site.installation.listener()
    await site.until(stream.empty, "the stream is empty")
    found = await stream.receipts()
    assert len(found) == known + 2
    assert {each["source"] for each in found} == {"event:price"}


async def test_after_kill_9_another_listener_takes_over_and_no_event_fires_twice(site, stream: Stream):
    known = len(await stream.receipts())
    doomed = site.installation.listener()
    await stream.add("event", event(100))
    await site.until(stream.empty, "the listener reads")
    for number in range(101, 400):
        await stream.add("event", event(number))
        if number == 200:
            doomed.kill()
            doomed.wait()
    second = site.installation.listener()
    await site.until(stream.empty, "the second has taken over")
    for number in range(100, 400, 50):
        await stream.add("event", event(number))  # again
    await site.until(stream.empty, "the repeats are answered")
    assert len(await stream.receipts()) == known + 300
    second.send_signal(signal.SIGTERM)
    assert second.wait(15) == 0


async def test_what_is_no_event_is_kept_apart_and_the_next_one_flows(site, stream: Stream):
    known = len(await stream.receipts())
    place = await stream.add("event", "{")
    await stream.add("nothing", "at all")
    await stream.add("event", event(1000))
    site.installation.listener()
    await site.until(stream.empty, "the stream is empty")
    assert len(await stream.receipts()) == known + 1
    entries = await site.store.batcher.call("XRANGE", site.keys.refused, "-", "+")
    kept = [dict(zip(fields[::2], fields[1::2], strict=True)) for _, fields in entries]
    assert {each[b"id"].decode() for each in kept} >= {f"{stream.key}/{place}"}
    assert any(b"no CloudEvent" in each[b"reason"] for each in kept)


async def test_while_the_queue_is_full_a_message_is_tried_again_until_it_is_accepted(store, monkeypatch):
    document = {
        "name": "t",
        "nodes": {"a": {"type": "step@1"}},
        "triggers": [{"event": {"name": "e", "type": "*"}}],
    }
    await store.workflows.publish("t", document, by="test")
    refusals = [Backpressure(retry_after=0), Backpressure(retry_after=0)]
    accept = Triggers.accept

    async def full_at_first(self: Triggers, trigger: Trigger) -> Accepted:
        if refusals:
            raise refusals.pop()
        return await accept(self, trigger)

    monkeypatch.setattr(Triggers, "accept", full_at_first)
    intake = Intake(store.triggers, PublishedCache(store.workflows), Listeners(store.workflows))
    message = Message("here", STRUCTURED, {}, event(1))
    await Receiver(intake, store.triggers.keep_message).receive(message)
    assert refusals == []
    assert await store.batcher.call("XLEN", store.keys.triggers) == 1


async def test_a_message_that_would_fire_too_much_is_kept_as_one_that_cannot_be_taken(store, monkeypatch):
    for number in range(20):
        document = {"name": f"t{number}", "nodes": {"a": {"type": "step@1"}},
                    "triggers": [{"event": {"name": "e", "type": "*"}}]}  # fmt: skip
        await store.workflows.publish(f"t{number}", document, by="test")
    monkeypatch.setattr("app.intake.MOST_BYTES", 10_000)
    intake = Intake(store.triggers, PublishedCache(store.workflows), Listeners(store.workflows))
    await Receiver(intake, store.triggers.keep_message).receive(Message("here", STRUCTURED, {}, event(1)))
    ((_, fields),) = await store.batcher.call("XRANGE", store.keys.refused, "-", "+")
    assert b"would fire 20 triggers" in fields[3]
    assert await store.batcher.call("XLEN", store.keys.triggers) == 0


@pytest.mark.parametrize("listen", ["", "rabbit", "redis,rabbit", "kafka"])
async def test_settings_that_name_no_source_are_refused(store, settings, listen: str):
    settings.listen = listen
    with pytest.raises(UsageError):
        Listener(store, settings)
