"""Keys with a rate: emails are counted, in Redis, for all processes together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from mailer import Filters
from mailer.dev.redis import EmbeddedRedis
from mailer.errors import LedgerUnavailable
from mailer.ledger import Ledger
from mailer.rates import Rates
from mailer.state import of

Ask = Callable[..., TestResponse]


def email(**more: Any) -> dict[str, Any]:
    return {"from": "a@example.com", "to": "b@example.com", "subject": "s", "text": "t", **more}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def ask(app: Flask, key: Callable[..., str]) -> Ask:
    """Send with a key that may send five emails an hour."""
    token = key(rate="5/hour")

    def post(body: Any, path: str = "/emails", token: str = token, **more: str) -> TestResponse:
        headers = {"Authorization": f"Bearer {token}", **more}
        return app.test_client().post(f"/api{path}", json=body, headers=headers)

    return post


def stored(app: Flask) -> int:
    return len(of(app).ledger.list(Filters(), None))


def remaining(answer: TestResponse) -> int:
    assert answer.headers["ratelimit-limit"] == "5"
    assert 3590 <= int(answer.headers["ratelimit-reset"]) <= 3600
    return int(answer.headers["ratelimit-remaining"])


def test_over_its_rate_a_key_is_told_when_to_come_back_and_nothing_is_stored(
    app: Flask, ask: Ask
) -> None:
    for left in (4, 3, 2, 1, 0):
        answer = ask(email())
        assert (answer.status_code, remaining(answer)) == (200, left)
    refused = ask(email())
    assert refused.status_code == 429
    assert (refused.json or {})["name"] == "rate_limit_exceeded"
    assert "This API key may send 5/hour." in (refused.json or {})["message"]
    assert remaining(refused) == 0
    assert 3590 <= int(refused.headers["retry-after"]) <= 3600
    assert stored(app) == 5


def test_emails_are_counted_and_not_requests(app: Flask, ask: Ask) -> None:
    assert remaining(ask([email()] * 3, "/emails/batch")) == 2
    refused = ask([email()] * 3, "/emails/batch")
    assert (refused.status_code, remaining(refused)) == (429, 2)
    assert remaining(ask([email()] * 2, "/emails/batch")) == 0
    assert stored(app) == 5


def test_a_batch_that_would_never_be_let_in_is_not_told_to_come_back(app: Flask, ask: Ask) -> None:
    refused = ask([email()] * 6, "/emails/batch")
    assert refused.status_code == 422
    assert "6 at once would never be let in" in (refused.json or {})["message"]
    assert "retry-after" not in refused.headers
    assert stored(app) == 0
    assert remaining(ask(email())) == 4


def test_what_is_refused_for_another_reason_is_not_counted(ask: Ask) -> None:
    assert ask(email(to="nobody")).status_code == 422
    assert ask([email(), email(to="nobody")], "/emails/batch").status_code == 422
    permissive = {"x-batch-validation": "permissive"}
    answer = ask([email(), email(to="nobody")], "/emails/batch", **permissive)
    assert remaining(answer) == 4


def test_what_is_answered_from_the_ledger_is_not_counted_again(app: Flask, ask: Ask) -> None:
    once = {"Idempotency-Key": "once"}
    ids = set()
    for _ in range(7):
        answer = ask(email(), **once)
        assert (answer.status_code, remaining(answer)) == (200, 4)
        ids.add((answer.json or {})["id"])
    assert len(ids) == 1
    batch = {"Idempotency-Key": "batch"}
    for _ in range(3):
        assert remaining(ask([email()] * 4, "/emails/batch", **batch)) == 0
    assert ask(email(), **once).status_code == 200  # the window is full, and this is not new
    assert ask(email()).status_code == 429
    assert stored(app) == 5


def test_keys_are_counted_apart_and_those_without_a_rate_not_at_all(
    app: Flask, ask: Ask, key: Callable[..., str]
) -> None:
    ask([email()] * 5, "/emails/batch")
    assert ask(email()).status_code == 429
    assert remaining(ask(email(), token=key(rate="5/hour"))) == 4
    free = ask([email()] * 9, "/emails/batch", token=key())
    assert free.status_code == 200
    assert "ratelimit-limit" not in free.headers


def test_many_at_once_are_no_more_than_the_rate(
    app: Flask, ask: Ask, server: EmbeddedRedis
) -> None:
    # As in two processes: each has its own connections, and Redis counts for both.
    rates = [Rates(server.url), Rates(server.url)]

    def send(number: int) -> int:
        vars(of(app))["rates"] = rates[number % 2]
        return ask(email()).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(send, range(24)))
    assert sorted(statuses) == [200] * 5 + [429] * 19
    assert stored(app) == 5


@pytest.mark.parametrize("shared", [True, False])
def test_of_the_same_request_many_times_at_once_one_is_counted(
    app: Flask, key: Callable[..., str], ask: Ask, server: EmbeddedRedis, shared: bool
) -> None:
    if shared:
        vars(of(app))["rates"] = Rates(server.url)
    token = key(rate="60/hour")
    ledger, all_look = of(app).ledger, threading.Barrier(8)

    def look(keys: Sequence[str]) -> int:
        found = Ledger.count_keys(ledger, keys)
        all_look.wait(10)
        return found

    vars(ledger)["count_keys"] = look
    with ThreadPoolExecutor(8) as pool:
        send = partial(ask, token=token, **{"Idempotency-Key": "once"})
        answers = list(pool.map(send, [email()] * 16))
        batch = partial(send, path="/emails/batch")
        answers += pool.map(batch, [[email()] * 5] * 8)
    assert {answer.status_code for answer in answers} == {200}
    assert stored(app) == 6
    del vars(ledger)["count_keys"]
    assert ask(email(), token=token).headers["ratelimit-remaining"] == "53"


def test_what_could_not_be_stored_is_not_counted(app: Flask, ask: Ask) -> None:
    ledger = of(app).ledger
    lost = LedgerUnavailable("gone")

    def fail(drafts: Any) -> Any:
        raise lost

    vars(ledger)["accept"] = fail
    assert remaining(ask(email())) == 5
    lost.maybe_stored = True
    assert remaining(ask(email())) == 4
    del vars(ledger)["accept"]
    assert remaining(ask(email())) == 3


def test_a_frozen_redis_costs_a_moment_once_and_the_process_goes_on_counting(
    app: Flask, ask: Ask, server: EmbeddedRedis
) -> None:
    vars(of(app))["rates"] = Rates(server.url)
    assert remaining(ask(email())) == 4
    server.freeze()
    try:
        started = time.monotonic()
        assert ask(email()).status_code == 200
        first = time.monotonic() - started
        started = time.monotonic()
        statuses = [ask(email()).status_code for _ in range(6)]
        rest = time.monotonic() - started
    finally:
        server.thaw()
    assert statuses == [200] * 4 + [429] * 2
    assert first < 0.6
    assert rest < 0.3
