"""Many requests at once, through gunicorn with two workers."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mailer import Filters, grants, keys
from mailer.db import Database
from mailer.dev.redis import EmbeddedRedis
from mailer.ledger import Ledger
from mailer.values import database_url as typed_database_url
from tests.faults.service import service
from tests.worker import environment

AT_ONCE = 50


class Answer(NamedTuple):
    status: int
    body: dict[str, Any]
    headers: dict[str, str]
    seconds: float


class Api:
    """The API on two processes, and its ledger."""

    def __init__(self, port: int, database: Database) -> None:
        self._port = port
        self.database = database
        self.ledger = Ledger(database, lease_seconds=60, attempts_allowed=3)

    def send(self, token: str, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        body = {"from": "a@example.com", "to": "b@example.com", "subject": "s", "text": "t"}
        given = {"Content-Type": "application/json", "Authorization": f"Bearer {token}", **headers}
        began = time.monotonic()
        try:
            connection.request("POST", "/api/emails", json.dumps(body), given)
            answer = connection.getresponse()
            told = json.loads(answer.read())
        finally:
            connection.close()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, told, names, time.monotonic() - began)

    def send_at_once(self, token: str, **headers: str) -> list[Answer]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda _: self.send(token, **headers), range(AT_ONCE)))

    def stored(self) -> list[str]:
        return [row.email_id for row in self.ledger.list(Filters(), None)]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def api(
    settings: dict[str, Any], database_url: str, redis: EmbeddedRedis, tmp_path: Path
) -> Iterator[Api]:
    database = Database(typed_database_url(database_url))
    database.upgrade()
    given = {
        **settings,
        "MAILER_DATABASE_URL": database_url,
        "CELERY": {"broker_url": redis.url, "result_backend": "disabled"},
    }
    environ = environment(given) | {"GUNICORN_CMD_ARGS": "--workers 2 --threads 8"}
    with service(environ, tmp_path / "gunicorn.log") as running:
        yield Api(running.port, database)
    database.close()


@pytest.mark.parametrize("frozen", [False, True], ids=["redis answers", "redis is frozen"])
def test_fifty_requests_with_one_idempotency_key_are_one_email(
    api: Api, redis: EmbeddedRedis, frozen: bool
) -> None:
    _, token = keys.create(api.database, "shop", grants.checked(rate="100/min"), actor="test")
    if frozen:
        redis.freeze()
    try:
        answers = api.send_at_once(token, **{"Idempotency-Key": "order-7"})
        again = api.send(token, **{"Idempotency-Key": "order-7"})
    finally:
        if frozen:
            redis.thaw()
    assert {one.status for one in answers} == {200}, answers
    ids = {one.body["id"] for one in [*answers, again]}
    assert sorted(ids) == api.stored()
    assert again.seconds < 2
    assert max(one.seconds for one in answers) < 10


def test_fifty_requests_of_a_key_with_a_rate_are_no_more_emails_than_that(api: Api) -> None:
    _, token = keys.create(api.database, "shop", grants.checked(rate="20/hour"), actor="test")
    answers = api.send_at_once(token)
    assert sorted(one.status for one in answers) == [200] * 20 + [429] * 30
    assert {int(one.headers["ratelimit-limit"]) for one in answers} == {20}
    assert all("retry-after" in one.headers for one in answers if one.status == 429)
    assert len(api.stored()) == 20
    refused = api.send(token)
    assert (refused.status, refused.headers["ratelimit-remaining"]) == (429, "0")


def test_a_revoked_key_is_good_for_nothing_in_every_process_from_the_next_request_on(
    api: Api,
) -> None:
    key_id, token = keys.create(api.database, "shop", grants.checked(), actor="test")
    assert {one.status for one in api.send_at_once(token)} == {200}
    keys.revoke(api.database, key_id, actor="test")
    assert {one.body["name"] for one in api.send_at_once(token)} == {"invalid_api_key"}
    assert len(api.stored()) == AT_ONCE
