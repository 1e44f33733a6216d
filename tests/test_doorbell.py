"""Doorbells: coalesced, silent failures, never slow."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from flask import Flask

from mailer.dev.redis import EmbeddedRedis
from mailer.doorbell import LATER_STEP_SECONDS, Doorbell
from mailer.impatient import QUIET_SECONDS
from mailer.state import of

from .conftest import AppFactory


@pytest.fixture
def app(make_app: AppFactory, redis_url: str) -> Flask:
    return make_app(CELERY={"broker_url": redis_url})


@pytest.fixture
def doorbell(app: Flask) -> Doorbell:
    return of(app).doorbell


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as opened:
        yield opened


def published(client: redis.Redis, lane: str) -> list[str]:
    """Return the arguments of the tasks that wait in a lane's queue."""
    messages: Any = client.lrange(f"mailer.{lane}", 0, -1)
    return [json.loads(message)["headers"]["argsrepr"] for message in messages]


def test_a_ringing_bell_is_not_rung_again(doorbell: Doorbell, client: redis.Redis) -> None:
    assert doorbell.ring("default", "one") is True
    assert doorbell.ring("default", "two") is False
    assert published(client, "default") == ["('one',)"]


def test_an_answered_bell_rings_anew(doorbell: Doorbell, client: redis.Redis) -> None:
    doorbell.ring("default", "one")
    doorbell.answer("default")
    assert doorbell.ring("default", "two") is True
    assert len(published(client, "default")) == 2


def test_a_later_ring_is_one_task_for_then_and_keeps_others_silent(
    doorbell: Doorbell, client: redis.Redis
) -> None:
    while time.time() % LATER_STEP_SECONDS > LATER_STEP_SECONDS / 2:
        time.sleep(0.01)  # both are to be for the same quarter of a second
    doorbell.ring_later("default", "one", 2, alone=True)
    doorbell.ring_later("default", "two", 2, alone=True)
    assert doorbell.ring("default", "three") is False
    (message,) = cast(list[bytes], client.lrange("mailer.default", 0, -1))
    headers = json.loads(message)["headers"]
    assert headers["argsrepr"] == "('one',)"
    eta = datetime.fromisoformat(headers["eta"]).timestamp()
    assert eta == pytest.approx(time.time() + 2, abs=1)
    assert 2000 < client.pttl("mailer:bell:default") <= 3000


def test_a_later_ring_for_what_waits_lets_others_ring_for_what_comes(
    doorbell: Doorbell, client: redis.Redis
) -> None:
    doorbell.ring_later("default", "one", 2, alone=False)
    assert doorbell.ring("default", "two") is True
    assert len(published(client, "default")) == 2


def test_a_bell_is_passed_on_although_it_rings(doorbell: Doorbell, client: redis.Redis) -> None:
    doorbell.ring("default", "one")
    assert doorbell.pass_on("default", "two") is True
    assert published(client, "default") == ["('two',)", "('one',)"]


def test_two_ledgers_on_one_redis_have_bells_of_their_own(
    make_app: AppFactory, redis_url: str, client: redis.Redis
) -> None:
    one = make_app(CELERY={"broker_url": redis_url})
    two = make_app(CELERY={"broker_url": redis_url}, MAILER_NAMESPACE="two")
    assert of(one).doorbell.ring("default", "one") is True
    assert of(two).doorbell.ring("default", "two") is True
    assert published(client, "default") == ["('one',)"]
    assert client.llen("two.default") == 1


def test_lanes_have_bells_of_their_own(doorbell: Doorbell, client: redis.Redis) -> None:
    assert doorbell.ring("default", "one") is True
    assert doorbell.ring("critical", "two") is True
    assert published(client, "critical") == ["('two',)"]


def test_a_bell_whose_task_was_not_published_is_silent(
    doorbell: Doorbell, client: redis.Redis
) -> None:
    client.set("mailer.default", "not a queue")
    assert doorbell.ring("default", "one") is False
    assert not client.exists("mailer:bell:default")
    client.delete("mailer.default")
    assert doorbell.ring("critical", "two") is False  # for a while
    doorbell._quiet_until = 0
    assert doorbell.ring("bulk", "three") is True
    found = doorbell.rings(["default", "critical", "bulk"])
    assert found
    assert {of: number for of, number in found.items() if number} == {
        ("default", "missed"): 1, ("critical", "missed"): 1, ("bulk", "rung"): 1,
    }  # fmt: skip


def test_a_bell_that_nobody_answers_is_forgotten(doorbell: Doorbell, client: redis.Redis) -> None:
    doorbell.ring("default", "one")
    remaining: Any = client.pttl("mailer:bell:default")
    assert 0 < remaining <= 10_000


def test_the_task_carries_its_time_limit(doorbell: Doorbell, client: redis.Redis) -> None:
    doorbell.ring("default", "one")
    message: Any = client.lindex("mailer.default", 0)
    assert json.loads(message)["headers"]["timelimit"] == [360, None]


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_a_redis_that_does_not_answer_costs_little_once_and_then_nothing(
    fault: str, make_app: AppFactory, tmp_path: Path
) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server:
        doorbell = of(make_app(CELERY={"broker_url": server.url})).doorbell
        assert doorbell.ring("default", "one") is True
        getattr(server, fault)()
        started = time.monotonic()
        assert doorbell.ring("critical", "two") is False
        assert time.monotonic() - started < 1
        started = time.monotonic()
        for _ in range(100):
            assert doorbell.ring("bulk", "three") is False
        assert time.monotonic() - started < 0.1
        assert doorbell.missed == {"critical": 1, "bulk": 100}
        if fault == "freeze":
            server.thaw()


def test_after_a_quiet_while_the_bell_is_tried_again(
    make_app: AppFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server:
        doorbell = of(make_app(CELERY={"broker_url": server.url})).doorbell
        server.kill()
        assert doorbell.ring("default", "one") is False
        server.start()
        assert doorbell.ring("default", "one") is False
        later = time.monotonic() + QUIET_SECONDS + 1
        monkeypatch.setattr("mailer.doorbell.time.monotonic", lambda: later)
        assert doorbell.ring("default", "one") is True


def test_rings_are_counted_for_whoever_asks(
    make_app: AppFactory, redis_url: str, doorbell: Doorbell
) -> None:
    for _ in range(3):
        doorbell.ring("default", "one")
    doorbell.pass_on("default", "two")
    doorbell.ring("bulk", "three")
    asked = of(make_app(CELERY={"broker_url": redis_url})).doorbell
    assert asked.rings(["default", "bulk"]) == {
        ("default", "rung"): 2, ("default", "ringing"): 2, ("default", "missed"): 0,
        ("bulk", "rung"): 1, ("bulk", "ringing"): 0, ("bulk", "missed"): 0,
    }  # fmt: skip


def test_what_was_missed_is_counted_once_redis_is_back(
    make_app: AppFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server:
        doorbell = of(make_app(CELERY={"broker_url": server.url})).doorbell
        server.kill()
        for _ in range(4):
            doorbell.ring("default", "one")
        assert doorbell.rings(["default"]) is None
        server.start()
        later = time.monotonic() + QUIET_SECONDS + 1
        monkeypatch.setattr("mailer.doorbell.time.monotonic", lambda: later)
        assert doorbell.ring("default", "one") is True
        assert doorbell.ring("default", "one") is False
        assert doorbell.rings(["default"]) == {
            ("default", "rung"): 1, ("default", "ringing"): 1, ("default", "missed"): 4,
        }  # fmt: skip


def test_a_count_that_cannot_be_kept_costs_no_ring(doorbell: Doorbell, client: redis.Redis) -> None:
    client.set("mailer:rings", "not a hash")
    assert doorbell.ring("default", "one") is True
    assert doorbell.rings(["default"]) is None
    client.delete("mailer:rings")
    client.hset("mailer:rings", "default:rung", "not a number")
    assert doorbell.pass_on("default", "two") is True
    assert doorbell.rings(["default"]) is None


def test_a_forked_child_rings_over_connections_of_its_own(
    doorbell: Doorbell, client: redis.Redis
) -> None:
    doorbell.ring("default", "parent")
    if (child := os.fork()) == 0:
        doorbell.answer("default")
        os._exit(0 if doorbell.ring("default", "child") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    doorbell.answer("default")
    assert doorbell.ring("default", "parent again") is True
    assert len(published(client, "default")) == 3


def test_a_broker_that_is_no_redis_gets_a_task_for_every_ring(make_app: AppFactory) -> None:
    app = make_app(CELERY={"broker_url": "memory://"})
    assert of(app).redis_url is None
    assert [of(app).doorbell.ring("default", str(n)) for n in range(3)] == [True, True, True]
    assert of(app).doorbell.rings(["default"]) is None
