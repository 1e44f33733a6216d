from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from mailer.dev.redis import EmbeddedRedis
from mailer.rates import PAUSE_SECONDS, Rates
from mailer.web.limits import Limits, client_network

MakeApp = Callable[..., Flask]
SECRET = "a secret for tests only"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(server: EmbeddedRedis) -> str:
    with redis.Redis.from_url(server.url) as connection:
        connection.flushall()
    return server.url


def make_limits(
    redis_url: str | None,
    *,
    per_address: str = "2/hour",
    per_client: str = "100/hour",
    clock: Callable[[], float] = time.monotonic,
) -> Limits:
    return Limits(
        Rates(redis_url, clock=clock),
        secret_key=SECRET,
        per_address=per_address,
        per_client=per_client,
    )


def hits(limits: Limits, count: int, address: str = "anna@example.com") -> list[bool]:
    return [limits.hit(address=address, client="192.0.2.1") is None for _ in range(count)]


def test_more_requests_for_one_address_than_its_limit_are_refused_from_whatever_client(
    redis_url: str,
) -> None:
    limits = make_limits(redis_url)
    waits = [limits.hit(address="anna@example.com", client=f"192.0.2.{n}") for n in range(4)]
    assert waits[:2] == [None, None]
    for wait in waits[2:]:
        assert wait is not None
        assert 3590 <= wait <= 3600
    assert limits.hit(address="berta@example.com", client="192.0.2.1") is None


def test_more_requests_from_one_client_than_its_limit_are_refused_for_whatever_address(
    redis_url: str,
) -> None:
    limits = make_limits(redis_url, per_client="2/hour")
    answers = [limits.hit(address=f"{n}@example.com", client="192.0.2.1") for n in range(3)]
    assert [answer is None for answer in answers] == [True, True, False]
    assert limits.hit(address="0@example.com", client="192.0.2.2") is None


def test_a_refused_client_does_not_use_up_what_others_may_ask_for_an_address(
    redis_url: str,
) -> None:
    limits = make_limits(redis_url, per_client="1/hour", per_address="2/hour")
    for _ in range(5):
        limits.hit(address="anna@example.com", client="192.0.2.1")
    assert limits.hit(address="anna@example.com", client="192.0.2.2") is None


def test_the_window_moves_on(redis_url: str) -> None:
    limits = make_limits(redis_url, per_address="1/second")
    assert hits(limits, 2) == [True, False]
    deadline = time.monotonic() + 5
    while not all(hits(limits, 1)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_all_processes_count_together_in_redis(redis_url: str) -> None:
    assert hits(make_limits(redis_url), 1) == [True]
    assert hits(make_limits(redis_url), 2) == [True, False]


def test_without_redis_a_process_counts_for_itself() -> None:
    assert hits(make_limits(None), 3) == [True, True, False]


def test_neither_an_address_nor_a_client_can_be_read_in_redis(redis_url: str) -> None:
    hits(make_limits(redis_url), 1)
    with redis.Redis.from_url(redis_url) as connection:
        keys = [key.decode() for key in connection.keys("*")]
    assert len(keys) == 2
    for key in keys:
        assert key.startswith("mailer:limits:")
        assert "anna" not in key
        assert "192.0.2" not in key


def test_a_frozen_redis_costs_one_request_half_a_second_and_the_next_ones_nothing(
    server: EmbeddedRedis, redis_url: str
) -> None:
    now = [1000.0]
    limits = make_limits(redis_url, clock=lambda: now[0])
    assert hits(limits, 1, "berta@example.com") == [True]
    server.freeze()
    try:
        started = time.monotonic()
        assert hits(limits, 1) == [True]
        first = time.monotonic() - started
        started = time.monotonic()
        assert hits(limits, 3) == [True, False, False]  # still limited, in this process
        rest = time.monotonic() - started
        assert first < 0.8
        assert rest < 0.2
        now[0] += PAUSE_SECONDS
        started = time.monotonic()
        hits(limits, 2)
        assert time.monotonic() - started < 0.8
    finally:
        server.thaw()
    now[0] += PAUSE_SECONDS
    assert hits(limits, 2, "berta@example.com") == [True, False]  # Redis remembers the first one
    assert hits(limits, 1, "berta@example.com") == [False]


def test_a_dead_redis_costs_nothing_and_its_return_is_noticed(tmp_path: Path) -> None:
    now = [1000.0]
    server = EmbeddedRedis(tmp_path)
    server.start()
    try:
        limits = make_limits(server.url, clock=lambda: now[0])
        server.kill()
        started = time.monotonic()
        assert hits(limits, 3) == [True, True, False]
        assert time.monotonic() - started < 0.5
        server.start()
        now[0] += PAUSE_SECONDS
        assert hits(limits, 3) == [True, True, False]
        with redis.Redis.from_url(server.url) as connection:
            assert len(connection.keys("*")) == 2
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("client", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        (None, "unknown"),
        ("", "unknown"),
        ("not an address", "unknown"),
    ],
)
def test_a_client_is_an_ipv4_address_or_an_ipv6_network(client: str | None, network: str) -> None:
    assert client_network(client) == network


# In the service


@pytest.mark.parametrize("path", ["/signup", "/reset"])
def test_over_the_limit_known_and_unknown_addresses_get_the_same_429(
    make_app: MakeApp, redis_url: str, path: str
) -> None:
    app = make_app(MAILER_REDIS_URL=redis_url, MAILER_LIMIT_PER_ADDRESS="2/hour")
    client = app.test_client()
    body = {"email": "known@example.com", "password": "correct horse battery"}
    client.post("/signup", json=body)
    answers = {}
    for email, allowed in (("known@example.com", 1), ("nobody@example.com", 2)):
        statuses = [
            client.post(path, json={**body, "email": email}).status_code for _ in range(allowed)
        ]
        assert statuses == [202] * allowed
        refused = client.post(path, json={**body, "email": email.upper()})
        assert refused.status_code == 429
        assert 3500 <= int(refused.headers["Retry-After"]) <= 3600
        answers[email] = refused.json
    assert answers["known@example.com"] == answers["nobody@example.com"]
    assert set(answers["known@example.com"] or {}) == {"error", "fields"}


def test_a_page_over_the_limit_says_when_to_come_back(
    make_app: MakeApp,
) -> None:
    client = make_app(MAILER_LIMIT_PER_CLIENT="1/hour").test_client()
    _ask(client)
    refused = client.post("/reset", json={"email": "b@example.com"}, headers={"Accept": "*/*"})
    assert refused.status_code == 429
    assert "try again in 60 min" in refused.text


def test_a_request_with_wrong_fields_is_not_counted(make_app: MakeApp) -> None:
    client = make_app(MAILER_LIMIT_PER_CLIENT="1/hour").test_client()
    for _ in range(3):
        assert client.post("/reset", json={"email": "nonsense"}).status_code == 422
    assert _ask(client) == 202
    assert _ask(client) == 429


def test_a_client_behind_a_trusted_proxy_is_who_the_proxy_says_and_not_who_it_claims_to_be(
    make_app: MakeApp,
) -> None:
    client = make_app(MAILER_LIMIT_PER_CLIENT="1/hour", MAILER_TRUSTED_PROXIES=1).test_client()
    assert _ask(client, "198.51.100.7, 192.0.2.1") == 202
    assert _ask(client, "198.51.100.8, 192.0.2.1") == 429
    assert _ask(client, "192.0.2.2") == 202


def test_without_a_trusted_proxy_a_client_cannot_claim_to_be_another_one(
    make_app: MakeApp,
) -> None:
    client = make_app(MAILER_LIMIT_PER_CLIENT="1/hour").test_client()
    assert _ask(client, "192.0.2.1") == 202
    assert _ask(client, "192.0.2.2") == 429


def _ask(client: FlaskClient, forwarded_for: str | None = None) -> int:
    headers = {"X-Forwarded-For": forwarded_for} if forwarded_for else {}
    response = client.post("/reset", json={"email": "anna@example.com"}, headers=headers)
    return response.status_code
