"""Redis killed, emptied, frozen or fed with junk while emails are dispatched and sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import redis

from mailer.dev.redis import EmbeddedRedis

from ..worker import wait_until
from .conftest import COMMON
from .stand import Stand
from .verdict import judge, resumed_after

RESUMES_WITHIN = 30


def _killed(server: EmbeddedRedis, long: bool) -> None:
    server.kill()
    time.sleep(1)  # how long it is away
    server.start()


def _emptied(server: EmbeddedRedis, long: bool) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.flushall()


def _frozen(server: EmbeddedRedis, long: bool) -> None:
    server.freeze()
    time.sleep(60 if long else 3)
    server.thaw()


def _fed_with_junk(server: EmbeddedRedis, long: bool) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.lpush("mailer.default", "this is not JSON")


FAULTS = {
    "kill -9 and restart": (_killed, 20),
    "FLUSHALL": (_emptied, 20),
    "frozen": (_frozen, 2),
    "junk on the queue": (_fed_with_junk, 5),
}
"""Each with how often the long form repeats it."""


def test_redis_faults_lose_nothing_and_cost_a_request_little(
    tmp_path: Path, publish: Callable[..., None], long: bool
) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server:
        settings = {
            **COMMON,
            "MAILER_DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.sqlite3'}",
            "CELERY": {"broker_url": server.url},
        }
        with Stand(settings, tmp_path / "stand") as stand:
            for number, (fault, (inject, times)) in enumerate(FAULTS.items()):
                recovery = [
                    _resume(stand, server, inject, f"f{number}-{time_}-", long)
                    for time_ in range(times if long else 1)
                ]
                stand.wait_until_over(f"f{number}-", seconds=60)
                verdict = judge(stand, [], f"f{number}-")
                verdict.recovery = recovery
                publish("Redis", fault, "sqlite", verdict)
                assert not verdict.lost
                assert not verdict.failed
                assert not verdict.unexplained
                assert verdict.once == verdict.accepted
                assert verdict.request_p99 < 1.5
                assert max(recovery) < RESUMES_WITHIN


def _resume(
    stand: Stand,
    server: EmbeddedRedis,
    inject: Callable[[EmbeddedRedis, bool], None],
    name: str,
    long: bool,
) -> float:
    """Return seconds from the end of the fault until an email dispatched later arrived."""
    with stand.client("load", name, 125, 25):
        wait_until(lambda: len(stand.told(name)) > 20, 20, stand.words)
        inject(server, long)
        over_at = time.time()
        if long:  # the load of before may end during a long fault
            with stand.client("load", f"{name}later", 1, 25):
                pass
    wait_until(lambda: resumed_after(stand, over_at, name) is not None, 60, stand.words)
    return resumed_after(stand, over_at, name) or 0
