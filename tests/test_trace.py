"""Where an email came from: the id of its request, and who asked for it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from mailer import Mailer, delivery, dispatch, dispatch_many, trace
from mailer.db import Database
from mailer.ledger import Ledger
from mailer.state import of

HELLO: dict[str, Any] = {"to": "a@example.com", "subject": "Hello", "text": "Hello"}


@pytest.fixture
def foreign(database: Database, settings: dict[str, Any]) -> Iterator[Flask]:
    """Somebody's own app: it has the dispatcher, and nothing of the service."""
    app = Flask("shop")
    app.config.update(
        settings,
        CELERY={"broker_url": "memory://"},
        MAIL_SUPPRESS_SEND=True,
        MAILER_DATABASE_URL=database.url.render_as_string(hide_password=False),
    )
    Mailer(app)

    @app.post("/orders")
    def order() -> dict[str, str]:
        return {"id": dispatch(**HELLO).id}

    @app.post("/many")
    def many() -> list[str]:
        keyed = {**HELLO, "idempotency_key": "one"}
        return [email.id for email in dispatch_many([HELLO, keyed])]

    @app.post("/invites/<token>")
    def invite(token: str) -> dict[str, str]:
        return {"id": dispatch(**HELLO).id}

    def remind() -> str:
        return dispatch(**HELLO).id

    app.extensions["celery"].task(name="shop.remind")(remind)

    yield app
    of(app).close()


def stored(app: Flask, email_id: str) -> str | None:
    found: str | None = of(app).ledger.show(email_id).email.request_id
    return found


@pytest.mark.parametrize("given", ["shop-7", "a" * 64, "A.b_c-9"])
def test_the_id_of_a_request_to_somebodys_own_app_is_stored_with_the_email(
    foreign: Flask, given: str
) -> None:
    answer = foreign.test_client().post("/orders", headers={"X-Request-Id": given})
    assert answer.json
    assert stored(foreign, answer.json["id"]) == given


@pytest.mark.parametrize("given", ["", "a" * 65, "a b", "a\u00e9", "x=1", "status=200"])
def test_an_id_that_could_be_taken_for_something_else_is_not_kept(
    foreign: Flask, given: str
) -> None:
    answer = foreign.test_client().post("/orders", headers={"X-Request-Id": given})
    assert answer.json
    assert stored(foreign, answer.json["id"]) is None


def test_several_emails_of_a_request_have_its_id_with_and_without_a_key(foreign: Flask) -> None:
    answer = foreign.test_client().post("/many", headers={"X-Request-Id": "shop-8"})
    assert answer.json
    assert [stored(foreign, one) for one in answer.json] == ["shop-8", "shop-8"]


def test_the_same_email_with_the_same_key_may_come_from_another_request(foreign: Flask) -> None:
    first, second = (
        foreign.test_client().post("/many", headers={"X-Request-Id": given}).json
        for given in ("first", "second")
    )
    assert first
    assert second
    assert first[1] == second[1]
    assert stored(foreign, second[1]) == "first"


def test_outside_of_a_request_there_is_no_id(foreign: Flask) -> None:
    with foreign.app_context():
        assert trace.request_id() is None
        assert stored(foreign, dispatch(**HELLO).id) is None


def test_the_workers_line_about_a_delivery_names_the_request(
    foreign: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mailer.settling")
    foreign.test_client().post("/orders", headers={"X-Request-Id": "shop-9"})
    with foreign.app_context():
        dispatch(**HELLO)
        delivery.drain(of(foreign), "default")
    lines = [record.getMessage() for record in caplog.records if "delivery=" in record.message]
    assert sorted(line.split(" request=")[1].split()[0] for line in lines) == ["-", "shop-9"]


def test_a_claim_knows_the_request(ledger: Ledger, foreign: Flask) -> None:
    foreign.test_client().post("/orders", headers={"X-Request-Id": "shop-10"})
    (claimed,) = ledger.claim("default", 1).deliveries
    assert claimed.email.request_id == "shop-10"


def accepted_by(app: Flask, email_id: str) -> str | None:
    found: str | None = of(app).ledger.show(email_id).email.accepted_by
    return found


def test_an_email_tells_the_route_that_dispatched_it_and_no_token_of_its_path(
    foreign: Flask,
) -> None:
    browser = foreign.test_client()
    for path, route in (("/orders", "/orders"), ("/invites/s3cret", "/invites/<token>")):
        answer = browser.post(path)
        assert answer.json
        assert accepted_by(foreign, answer.json["id"]) == f"POST {route}"


def test_an_email_tells_the_task_that_dispatched_it(foreign: Flask) -> None:
    celery = foreign.extensions["celery"]
    email_id = celery.tasks["shop.remind"].apply(throw=True).get(disable_sync_subtasks=False)
    assert accepted_by(foreign, email_id) == "task shop.remind"


def test_what_an_email_came_from_is_cut_where_it_is_too_long_to_be_stored(foreign: Flask) -> None:
    route = "/" + "a" * 300
    foreign.add_url_rule(route, "long", lambda: dispatch(**HELLO).id, methods=["POST"])
    email_id = foreign.test_client().post(route).text
    assert accepted_by(foreign, email_id) == f"POST {route}"[:200]


def test_outside_of_requests_and_tasks_nothing_is_known(foreign: Flask) -> None:
    with foreign.app_context():
        assert accepted_by(foreign, dispatch(**HELLO).id) is None
