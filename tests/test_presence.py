"""Workers say that they are there, and whoever asks is told when they last did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from mailer import presence
from mailer.dev.redis import EmbeddedRedis
from mailer.shared import Shared
from mailer.state import of

from .conftest import AppFactory
from .worker import wait_until, worker


def test_workers_are_seen_until_they_leave(redis_url: str) -> None:
    one, other = Shared(redis_url, namespace="x"), Shared(redis_url, namespace="x")
    presence.announce(one, "a@host")
    presence.announce(other, "b@host")
    seen = presence.workers(one)
    assert seen is not None
    assert list(seen) == ["a@host", "b@host"]
    assert max(seen.values()) < 5
    presence.leave(other, "a@host")
    assert list(presence.workers(one) or ()) == ["b@host"]
    assert presence.workers(Shared(redis_url, namespace="y")) == {}


def test_a_worker_that_has_long_said_nothing_is_forgotten(redis_url: str) -> None:
    shared = Shared(redis_url, namespace="x")
    shared.update("workers", lambda _, now: ({"old@host": now - 900, "odd": "x"}, None))
    presence.announce(shared, "new@host")
    assert list(presence.workers(shared) or ()) == ["new@host"]


def test_without_redis_nobody_knows(tmp_path: Path) -> None:
    alone = Shared(None, namespace="x")
    presence.announce(alone, "a@host")
    assert presence.workers(alone) is None
    with EmbeddedRedis(tmp_path) as server:
        shared = Shared(server.url, namespace="x")
        presence.announce(shared, "a@host")
    assert presence.workers(shared) is None


@pytest.mark.parametrize("value", ["[]", "1", '{"a": null}', "no JSON"])
def test_what_is_not_ours_tells_nothing(redis_url: str, value: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.set("x:workers", value)
    assert presence.workers(Shared(redis_url, namespace="x")) == {}


def test_a_real_worker_is_seen_from_its_start_to_its_end(
    settings: dict[str, Any], redis_url: str, tmp_path: Path, make_app: AppFactory
) -> None:
    stack = {**settings, "MAIL_SUPPRESS_SEND": True, "CELERY": {"broker_url": redis_url}}
    shared = of(make_app(**stack)).traffic.shared
    with worker(stack, tmp_path / "worker.log", "--concurrency", "1") as process:
        wait_until(lambda: presence.workers(shared), 20, lambda: process.output)
        assert ["@" in name for name in presence.workers(shared) or ()] == [True]
    assert presence.workers(shared) == {}
