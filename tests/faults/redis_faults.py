"""What can happen to a Redis. Each function returns when Redis is well again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import redis
from celery import Celery

from mailer.dev.ports import HOST, free_port
from mailer.dev.redis import EmbeddedRedis

QUEUE = "mailer.default"


class RedisFault(NamedTuple):
    """One way to fail."""

    name: str
    inject: Callable[[EmbeddedRedis, float], None]
    seconds: float
    """How long it lasts in the short form."""
    long_seconds: float
    times: int
    """How often the long form repeats it."""


def _kill(server: EmbeddedRedis, seconds: float) -> None:
    server.kill()
    time.sleep(seconds)
    server.start()


def _freeze(server: EmbeddedRedis, seconds: float) -> None:
    server.freeze()
    time.sleep(seconds)
    server.thaw()


def _empty(server: EmbeddedRedis, seconds: float) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.flushall()


def _kill_clients(server: EmbeddedRedis, seconds: float) -> None:
    with redis.Redis.from_url(server.url) as client:
        assert client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


def _fill(server: EmbeddedRedis, seconds: float) -> None:
    message = _messages(server, 1)[0]
    with redis.Redis.from_url(server.url) as client:
        # A worker that takes one of these cannot note it any more.
        with client.pipeline() as pipe:
            pipe.lpush(QUEUE, *[message] * 10)
            pipe.execute_command("CONFIG", "SET", "maxmemory", 1)
            pipe.execute()
        time.sleep(seconds)
        client.config_set("maxmemory", 0)


def _make_replica(server: EmbeddedRedis, seconds: float) -> None:
    """Of a primary that is not there: READONLY to every write, then MASTERDOWN to everything."""
    with redis.Redis.from_url(server.url) as client:
        client.replicaof(HOST, str(free_port()))
        time.sleep(seconds / 2)
        client.config_set("replica-serve-stale-data", "no")
        time.sleep(seconds / 2)
        client.replicaof("NO", "ONE")
        client.config_set("replica-serve-stale-data", "yes")


def _feed_junk(server: EmbeddedRedis, seconds: float) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.lpush(QUEUE, "this is not JSON", "{}")


def _ask_for_an_unknown_task(server: EmbeddedRedis, seconds: float) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.lpush(QUEUE, *_messages(server, 10))


def _messages(server: EmbeddedRedis, number: int) -> list[Any]:
    """Return tasks as they are on a queue; nobody knows their name."""
    with Celery(broker=server.url, set_as_current=False) as celery_app:
        for _ in range(number):
            celery_app.send_task("mailer.nobody_knows", queue="aside")
    with redis.Redis.from_url(server.url) as client:
        found: Any = client.lrange("aside", 0, -1)
        client.delete("aside")
    return list(found)


REDIS_FAULTS = (
    RedisFault("kill -9 and restart", _kill, 1, 1, 20),
    RedisFault("away for a while", _kill, 5, 60, 1),
    RedisFault("frozen (SIGSTOP)", _freeze, 6, 60, 2),
    RedisFault("FLUSHALL", _empty, 0, 0, 20),
    RedisFault("CLIENT KILL of all", _kill_clients, 0, 0, 20),
    RedisFault("out of memory", _fill, 4, 30, 3),
    RedisFault("read-only replica", _make_replica, 4, 30, 3),
    RedisFault("junk on the queue", _feed_junk, 0, 0, 5),
    RedisFault("unknown task", _ask_for_an_unknown_task, 0, 0, 5),
)
