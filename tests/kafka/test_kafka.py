"""The Kafka consumer of `headrace listener`, with a real broker: each event fires once, whoever dies (M8)."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app.core.cloudevents import BATCH
from app.embedded import die_with_parent
from app.settings import Settings
from app.store.store import Store
from app.store.triggers import read_trigger

ROOT = Path(__file__).parents[2]
PARTITIONS = 3
PATIENCE = 60.0


def event(number: int, **more: Any) -> dict[str, Any]:
    fields = {
        "specversion": "1.0",
        "id": str(number),
        "source": "/shop",
        "type": "price.drop",
        "data": {"n": number},
    }
    return fields | more


@pytest.fixture
async def producer(servers: str, topic: str) -> AsyncIterator[AIOKafkaProducer]:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    await admin.close()
    made = AIOKafkaProducer(bootstrap_servers=servers, acks="all")
    await made.start()
    yield made
    await made.stop()


class Place:
    """A store with a workflow that listens, and listener processes."""

    def __init__(self, store: Store, settings: Settings, servers: str, topic: str) -> None:
        self.store = store
        self.servers, self.topic, self.group = servers, topic, settings.prefix
        self.log = Path(settings.log_dir) / "listener.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._env = {
            "PATH": os.environ["PATH"], "HEADRACE_REDIS_URL": settings.redis_url.get_secret_value(),
            "HEADRACE_PREFIX": settings.prefix, "HEADRACE_LISTEN": "kafka", "HEADRACE_KAFKA_SERVERS": servers,
            "HEADRACE_KAFKA_TOPIC": topic,
        }  # fmt: skip
        self.processes: list[subprocess.Popen[bytes]] = []

    def listener(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "app.cli.main", "listener"], cwd=ROOT, env=self._env, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, preexec_fn=die_with_parent,
            )  # fmt: skip
        self.processes.append(process)
        return process

    async def numbers(self) -> list[int]:
        """What was accepted, in its order."""
        entries = await self.store.batcher.call("XRANGE", self.store.keys.triggers, "-", "+")
        fields = [dict(zip(flat[::2], flat[1::2], strict=True)) for _, flat in entries]
        return [read_trigger("0-0", each).record["p"]["n"] for each in fields]

    async def committed(self) -> int:
        """Messages up to the committed offsets, over all partitions."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.servers, group_id=self.group, enable_auto_commit=False
        )
        await consumer.start()
        try:
            parts = [TopicPartition(self.topic, number) for number in range(PARTITIONS)]
            return sum([await consumer.committed(part) or 0 for part in parts])
        finally:
            await consumer.stop()

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not await condition():
            assert time.monotonic() < deadline, f"not seen: {what}\n{self.log.read_text()[-4000:]}"
            await asyncio.sleep(0.05)

    async def accepted(self, count: int) -> None:
        async def enough() -> bool:
            return len(set(await self.numbers())) >= count

        await self.until(enough, f"{count} events are accepted")


@pytest.fixture
async def place(store: Store, settings: Settings, servers: str, topic: str) -> AsyncIterator[Place]:
    document = {
        "name": "listens", "nodes": {"a": {"type": "step@1"}},
        "triggers": [{"event": {"name": "price", "type": "price.*"}}],
    }  # fmt: skip
    await store.workflows.publish("listens", document, by="test")
    made = Place(store, settings, servers, topic)
    yield made
    for process in made.processes:
        process.kill()
        process.wait()


async def test_events_of_both_modes_and_batches_become_triggers(
    place: Place, producer: AIOKafkaProducer, topic: str
):
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"1"),
        ("ce_source", b"/shop"),
        ("ce_type", b"price.rise"),
    ]
    await producer.send_and_wait(
        topic, b'{"n": 1}', headers=[*headers, ("content-type", b"application/json")]
    )
    structured = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
    await producer.send_and_wait(topic, orjson.dumps(event(2)), headers=structured)
    await producer.send_and_wait(topic, orjson.dumps(event(3)))
    batch = orjson.dumps([event(4), event(5, type="other")])
    await producer.send_and_wait(topic, batch, headers=[("content-type", BATCH.encode())])
    place.listener()
    await place.accepted(4)
    assert sorted(await place.numbers()) == [1, 2, 3, 4]


async def test_what_is_no_event_is_kept_apart_and_does_not_block_its_partition(
    place: Place, producer: AIOKafkaProducer, topic: str
):
    for value in (b"\xff", None, b"[]"):
        await producer.send_and_wait(topic, value, key=b"k", partition=0)
    await producer.send_and_wait(topic, orjson.dumps(event(1)), partition=0)
    place.listener()
    await place.accepted(1)
    assert await place.store.batcher.call("XLEN", place.store.keys.refused) == 3


async def test_offsets_are_committed_after_acceptance_and_a_new_listener_goes_on_there(
    place: Place, producer: AIOKafkaProducer, topic: str
):
    for number in range(50):
        await producer.send_and_wait(topic, orjson.dumps(event(number)), partition=number % PARTITIONS)
    first = place.listener()
    await place.accepted(50)

    async def all_committed() -> bool:
        return await place.committed() == 50

    await place.until(all_committed, "the offsets are committed")
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0
    await place.store.batcher.call("DEL", place.store.keys.triggers)
    await producer.send_and_wait(topic, orjson.dumps(event(50)), partition=0)
    place.listener()
    await place.accepted(1)
    assert await place.numbers() == [50]


async def test_after_kill_9_of_listeners_every_event_has_fired_once(
    place: Place, producer: AIOKafkaProducer, topic: str
):
    doomed = place.listener()
    for number in range(600):
        await producer.send(topic, orjson.dumps(event(number)), partition=number % PARTITIONS)
        if number == 200:
            await producer.flush()
            await place.accepted(50)
            doomed.kill()
            doomed.wait()
            doomed = place.listener()
        if number == 400:
            await producer.flush()
            place.listener()
            doomed.kill()
            doomed.wait()
    await producer.flush()
    await place.accepted(600)
    numbers = await place.numbers()
    assert len(numbers) == len(set(numbers)) == 600
