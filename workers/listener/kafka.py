"""Events from a Kafka topic, in both modes of its CloudEvents binding: binary (headers `ce_id`, ...) and structured.

Offsets are committed once everything up to them is accepted; what is delivered again after a crash or a rebalance is answered
by the idempotency keys. aiokafka is an extra: `pip install "headrace[kafka]"`.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import structlog

from app.core.cloudevents import STRUCTURED
from app.errors import UsageError
from app.settings import Settings
from workers.listener.receiver import Message, Receiver

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

log = structlog.get_logger("headrace.listener")

AT_ONCE = 500
"""Messages in hand at most."""
POLL_MS = 1_000
PAUSE = 2.0
"""Seconds between tries to reach the brokers."""


def message_of(record: ConsumerRecord[Any, Any]) -> Message:
    """What a record says. One without headers is taken for a structured event."""
    headers = {name.lower(): (value or b"").decode(errors="replace") for name, value in record.headers}
    attributes = {name[3:]: value for name, value in headers.items() if name.startswith("ce_")}
    content_type = headers.get("content-type") or (None if attributes else STRUCTURED)
    place = f"{record.topic}/{record.partition}/{record.offset}"
    return Message(place, content_type, attributes, record.value or b"")


class KafkaSource:
    """One consumer of the group that all listeners of an installation share: partitions are divided among them."""

    def __init__(self, receiver: Receiver, settings: Settings) -> None:
        self._receiver = receiver
        self._settings = settings
        self._draining = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Consume until draining. Raises UsageError without aiokafka, KafkaError for what trying again cannot mend."""
        consumer = await self._connected()
        try:
            while not self._draining.is_set():
                await self._consume(consumer)
        finally:
            await consumer.stop()
            self._ended.set()

    async def _connected(self) -> AIOKafkaConsumer:
        try:
            from aiokafka.errors import KafkaConnectionError
        except ImportError:
            raise UsageError('the Kafka listener needs aiokafka: pip install "headrace[kafka]"') from None
        while True:
            consumer = _consumer(self._settings)
            try:
                await consumer.start()
            except KafkaConnectionError:
                await consumer.stop()
                log.warning("no Kafka broker answers", servers=self._settings.kafka_servers)
                await asyncio.sleep(PAUSE)
            except BaseException:
                await consumer.stop()
                raise
            else:
                log.info("Kafka consumer started", topic=self._settings.kafka_topic)
                return consumer

    async def _consume(self, consumer: AIOKafkaConsumer) -> None:
        batch = await consumer.getmany(timeout_ms=POLL_MS, max_records=AT_ONCE)
        records = [record for part in batch.values() for record in part]
        if not records:
            return
        await asyncio.gather(*(self._receiver.receive(message_of(record)) for record in records))
        await _commit(consumer, {partition: part[-1].offset + 1 for partition, part in batch.items() if part})

    async def drain(self) -> None:
        """Take nothing further; return when what is in hand is accepted and its offsets are committed."""
        self._draining.set()
        await self._ended.wait()


async def _commit(consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
    """Where that fails the records come again, here or at whoever has the partition now, and are duplicates."""
    from aiokafka.errors import IllegalStateError, KafkaError

    try:
        await consumer.commit(offsets)
    except (KafkaError, IllegalStateError) as error:
        log.warning("offsets were not committed", reason=type(error).__name__)


def _consumer(settings: Settings) -> AIOKafkaConsumer:
    from aiokafka import AIOKafkaConsumer

    secure = settings.kafka_security.endswith("SSL")
    password = settings.kafka_password.get_secret_value()
    return AIOKafkaConsumer(
        settings.kafka_topic,
        bootstrap_servers=settings.kafka_servers,
        group_id=settings.kafka_group or settings.prefix,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        security_protocol=settings.kafka_security,
        ssl_context=ssl.create_default_context(cafile=settings.kafka_ca or None) if secure else None,
        sasl_mechanism=settings.kafka_mechanism,
        sasl_plain_username=settings.kafka_username or None,
        sasl_plain_password=password or None,
    )
