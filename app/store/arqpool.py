"""The connection pool of arq: its own, with timeouts, so that a stopped server cannot hang the worker for ever."""

from __future__ import annotations

from typing import Any

import orjson
from arq.connections import ArqRedis
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.settings import Settings
from app.store.keys import Keys

RETRIES = 8
"""Tries of one of arq's calls, with back-off: it outlives a restart of the server."""


def arq_pool(settings: Settings) -> ArqRedis:
    """arq over JSON (its default is pickle), on the queue of this installation."""
    pool: Any = ConnectionPool.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=settings.redis_timeout,
        socket_connect_timeout=settings.redis_timeout,
        socket_keepalive=True,
        retry=Retry(ExponentialBackoff(cap=2, base=0.1), RETRIES),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
    )
    return ArqRedis(
        pool_or_conn=pool,
        job_serializer=orjson.dumps,
        job_deserializer=orjson.loads,
        default_queue_name=Keys(settings.prefix).arq_queue,
    )
