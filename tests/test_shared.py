"""Values that workers share in a real Redis, and each worker's own while it is away."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import redis

from mailer.dev.redis import EmbeddedRedis
from mailer.shared import Shared

from .worker import wait_until


def add(value: Any, now: float) -> tuple[Any, int]:
    number = (value or 0) + 1
    return number, number


def test_a_change_by_one_is_seen_by_another(redis_url: str) -> None:
    assert Shared(redis_url, namespace="x").update("key", add) == 1
    assert Shared(redis_url, namespace="x").update("key", add) == 2
    assert Shared(redis_url, namespace="x").read(["key", "none"]).values == {"key": 2}
    assert Shared(redis_url, namespace="y").read(["key"]).values == {}


def test_no_change_is_lost_when_many_change_at_once(redis_url: str) -> None:
    def work() -> None:
        shared = Shared(redis_url, namespace="x")
        for _ in range(50):
            shared.update("key", add)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Shared(redis_url, namespace="x").read(["key"]).values == {"key": 400}


def test_the_clock_is_redis_s(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailer.shared.time.time", lambda: 0.0)
    assert Shared(redis_url, namespace="x").read([]).now > 1e9
    seen = Shared(redis_url, namespace="x").update("key", lambda value, now: (None, now))
    assert seen > 1e9


def test_without_redis_the_values_are_our_own() -> None:
    shared = Shared(None, namespace="x")
    assert [shared.update("key", add), shared.update("key", add)] == [1, 2]
    assert shared.read(["key"]).values == {"key": 2}
    assert not shared.away


def test_junk_and_what_others_left_there_is_replaced(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("x:key", b"\xff{junk")
        shared = Shared(redis_url, namespace="x")
        assert shared.read(["key"]).values.get("key") is None
        assert shared.update("key", add) == 1
        assert shared.read(["key"]).values == {"key": 1}
        assert 0 < client.ttl("x:key") <= 3600


def test_while_redis_is_away_work_goes_on_and_afterwards_values_are_shared_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mailer.shared.QUIET_SECONDS", 0.05)
    with EmbeddedRedis(tmp_path / "redis") as server:
        shared = Shared(server.url, namespace="x")
        assert shared.update("key", lambda value, now: (10, 10)) == 10
        server.stop()
        assert [shared.update("key", add), shared.update("key", add)] == [1, 2]
        assert shared.away
        assert caplog.text.count("redis=away") == 1
        server.start()
        wait_until(lambda: shared.read(["key"]).values.get("key") == 10, 10)
        assert "redis=back" in caplog.text
        assert shared.update("key", add) == 11


def test_a_redis_that_takes_nothing_more_is_away_until_it_does_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mailer.shared.QUIET_SECONDS", 0.05)
    with EmbeddedRedis(tmp_path / "redis") as server:
        shared = Shared(server.url, namespace="x")
        with redis.Redis.from_url(server.url) as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", "1")
            for number in range(1, 6):
                assert shared.update("key", add) == number
                shared.read(["key"])
                wait_until(lambda: shared._ask() is None, 1)
            assert caplog.text.count("redis=away") == 1
            assert "redis=back" not in caplog.text
            client.config_set("maxmemory", "0")
        wait_until(lambda: shared.update("key", add) == 1, 5)
        assert caplog.text.count("redis=back") == 1


def test_a_value_of_another_type_is_replaced(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.rpush("x:key", "element")
    shared = Shared(redis_url, namespace="x")
    assert shared.update("key", add) == 1
    assert not shared.away
