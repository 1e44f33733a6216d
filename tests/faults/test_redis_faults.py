"""Redis killed, frozen, emptied, full, read-only or fed with junk while mail is sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mailer.dev.ports import HOST
from mailer.dev.redis import EmbeddedRedis

from ..worker import wait_until
from .conftest import COMMON
from .gateway import gateway
from .redis_faults import REDIS_FAULTS
from .stand import Stand
from .verdict import judge, resumed_after

RESUMES_WITHIN = 30
WORKS_WITHIN = 60
"""Seconds after which a worker that has sent nothing is stuck, or dead for good."""
PER_SECOND = 25


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A Redis of one's own, to be broken."""
    with EmbeddedRedis(tmp_path / "redis") as running:
        yield running


def test_redis_faults_lose_nothing_cost_a_request_little_and_leave_no_worker_stuck(
    server: EmbeddedRedis, tmp_path: Path, publish: Callable[..., None], long: bool
) -> None:
    settings = {
        **COMMON,
        "MAILER_DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.sqlite3'}",
        "CELERY": {"broker_url": server.url},
    }
    with Stand(settings, tmp_path / "stand", workers=2) as stand:
        for number, fault in enumerate(REDIS_FAULTS):
            seconds = fault.long_seconds if long else fault.seconds
            recovery = []
            inject = partial(fault.inject, server, seconds)
            for time_ in range(fault.times if long else 1):
                recovery.append(_recover(stand, f"f{number}-{time_}-", inject, seconds))
            _check(stand, fault.name, f"f{number}-", recovery, publish)


def test_connections_that_are_lost_without_a_word_stop_no_worker_for_good(
    server: EmbeddedRedis, tmp_path: Path, publish: Callable[..., None], long: bool
) -> None:
    with gateway(server.port) as way:
        settings = {
            **COMMON,
            "MAILER_DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.sqlite3'}",
            "CELERY": {"broker_url": f"redis://{HOST}:{way.port}/0"},
        }
        with Stand(settings, tmp_path / "stand", workers=2) as stand:

            def deafen() -> None:
                assert way.deafen() > 10, "who was connected?"

            recovery = [
                _recover(stand, f"deaf-{time_}-", deafen, 0) for time_ in range(10 if long else 1)
            ]
            _check(stand, "connections lost unnoticed", "deaf-", recovery, publish)


def _check(
    stand: Stand, fault: str, name: str, recovery: list[float], publish: Callable[..., None]
) -> None:
    stand.wait_until_over(name, seconds=60)
    verdict = judge(stand, [], name)
    verdict.recovery = recovery
    publish("Redis", fault, "sqlite", verdict)
    assert not verdict.lost
    assert not verdict.failed
    assert not verdict.unexplained
    assert verdict.once == verdict.accepted
    assert verdict.request_p99 < 1.5
    assert max(recovery) < RESUMES_WITHIN


def _recover(stand: Stand, name: str, inject: Callable[[], None], seconds: float) -> float:
    """Return seconds from the end of the fault until an email dispatched later arrived.

    Returns once each worker has sent mail after that.
    """
    number = int((seconds + 2 * WORKS_WITHIN) * PER_SECOND)
    with stand.client("load", name, number, PER_SECOND):
        wait_until(lambda: len(stand.told(name)) > PER_SECOND, 20, stand.words)
        inject()
        over_at = time.time()
        wait_until(lambda: resumed_after(stand, over_at, name) is not None, 60, stand.words)
        _let_each_worker_send(stand)
        stand.enough(name)
    return resumed_after(stand, over_at, name) or 0


def _let_each_worker_send(stand: Stand) -> None:
    before = [len(one.output) for one in stand.workers]

    def idle() -> list[int]:
        # Received and then sent: what it had in hand before says nothing about the loop.
        news = [one.output[at:] for one, at in zip(stand.workers, before, strict=True)]
        return [n for n, new in enumerate(news) if "status=sent" not in _after_a_task(new)]

    wait_until(
        lambda: not idle(), WORKS_WITHIN, lambda: f"workers {idle()} are stuck\n{stand.words()}"
    )


def _after_a_task(log: str) -> str:
    return log.partition("Task mailer.send_email[")[2]
