"""Test keys: all is checked, recorded and answered as ever, and no recipient gets anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from mailer import Filters, dispatch, grants, keys
from mailer.delivery import drain
from mailer.dev.catcher import Catcher
from mailer.health import alerts, lanes_without_transport
from mailer.state import of
from mailer.traffic import Known
from mailer.traffic import key as traffic_key
from mailer.values import database_url as typed_database_url
from tests.conftest import AppFactory, let_time_pass

Ask = Callable[..., tuple[int, dict[str, Any]]]


def email(**more: Any) -> dict[str, Any]:
    return {"from": "a@example.com", "to": "b@example.com", "subject": "s", "text": "t", **more}


@pytest.fixture
def test_catcher() -> Iterator[Catcher]:
    with Catcher() as server:
        yield server


@pytest.fixture
def app(make_app: AppFactory, catcher: Catcher, test_catcher: Catcher, database_url: str) -> Flask:
    """The service with a server for the world and one for test mail; the test drains."""
    return make_app(
        MAILER_DATABASE_URL=typed_database_url(database_url),
        MAILER_TRANSPORTS=(
            f"world=smtp://127.0.0.1:{catcher.smtp_port},"
            f"catcher=smtp://127.0.0.1:{test_catcher.smtp_port}?for=test"
        ),
        CELERY={"broker_url": "memory://", "result_backend": "disabled"},
    )


@pytest.fixture
def ask(app: Flask) -> Ask:
    """Ask as a key: ``ask("test", "POST", "/emails", {...})``, or ``"live"``."""
    tokens = {
        name: keys.create(
            of(app).database,
            name,
            grants.checked(scopes=grants.SCOPES, is_test=name == "test"),
            actor="test",
        )[1]
        for name in ("test", "live")
    }

    def call(who: str, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {tokens[who]}"}
        answer = app.test_client().open(f"/api{path}", method=method, json=body, headers=headers)
        return answer.status_code, answer.get_json()

    return call


def send(ask: Ask, who: str, **more: Any) -> str:
    status, answer = ask(who, "POST", "/emails", email(**more))
    assert status == 200, answer
    email_id: str = answer["id"]
    return email_id


def subjects(catcher: Catcher) -> list[str]:
    return sorted(
        line.removeprefix("Subject: ")
        for one in catcher.messages()
        for line in one.raw.decode().splitlines()
        if line.startswith("Subject: ")
    )


def command(app: Flask, *words: str) -> Result:
    return app.test_cli_runner().invoke(args=["mailer", *words])


def let_circuits_be(app: Flask, *, open_for: float) -> None:
    """Let every circuit that is open be so for that many seconds more."""

    def change(value: Any, now: float) -> tuple[Any, None]:
        known = Known.read(value)
        if not known.circuit.trips:
            return value, None
        circuit = known.circuit._replace(open_until=now + open_for)
        return known._replace(circuit=circuit).written(), None

    for name in of(app).traffic.dsns:
        of(app).traffic.shared.update(traffic_key(name), change)


def test_test_mail_goes_to_the_catcher_and_all_other_mail_never_does(
    app: Flask, ask: Ask, catcher: Catcher, test_catcher: Catcher
) -> None:
    test = send(ask, "test", subject="for test")
    send(ask, "live", subject="for the world")
    batch = [email(subject=f"test {number}") for number in range(3)]
    assert ask("test", "POST", "/emails/batch", batch)[0] == 200
    with app.app_context():
        dispatch(None, to="b@example.com", subject="dispatched", text="t")
    assert drain(of(app), "default") == 6
    assert subjects(catcher) == ["dispatched", "for the world"]
    assert subjects(test_catcher) == ["for test", "test 0", "test 1", "test 2"]
    assert {row.status for row in of(app).ledger.list(Filters(), None)} == {"sent"}

    status, shown = ask("test", "GET", f"/emails/{test}")
    assert (status, shown["test"], shown["last_event"]) == (200, True, "sent")
    (delivery,) = ask("test", "GET", f"/emails/{test}/deliveries")[1]["data"]
    (attempt,) = delivery["attempts"]
    assert (attempt["transport"], attempt["code"]) == ("catcher", 250)


def test_a_server_for_test_mail_that_is_away_holds_up_no_other_mail(
    app: Flask, ask: Ask, catcher: Catcher, test_catcher: Catcher
) -> None:
    test_catcher.script("connect", "554 5.3.2 Away")
    test = send(ask, "test")
    send(ask, "live", subject="for the world")
    drain(of(app), "default")
    assert subjects(catcher) == ["for the world"]
    let_circuits_be(app, open_for=25)
    for _ in range(3):  # it is not even tried
        let_time_pass(of(app).database, "due_at", 3600)
        assert drain(of(app), "default") == 1
    history = of(app).ledger.show(test)
    (delivery,) = history.deliveries
    assert (delivery.status, delivery.attempts) == ("queued", 0)
    assert delivery.reason == "no transport for test mail can be used now"
    assert lanes_without_transport(of(app), of(app).ledger.counts()) == []

    test_catcher.rules.clear()
    let_time_pass(of(app).database, "due_at", 3600)
    let_circuits_be(app, open_for=0)
    drain(of(app), "default")
    assert subjects(test_catcher) == ["s"]
    assert subjects(catcher) == ["for the world"]


def test_a_server_for_test_mail_that_refuses_alarms_nobody(
    app: Flask, ask: Ask, test_catcher: Catcher
) -> None:
    test_catcher.script("rcpt", "550 5.1.1 No such user here")
    for _ in range(25):
        send(ask, "test")
    drain(of(app), "default")
    assert of(app).ledger.figures()[0]["catcher"].alarming
    assert alerts(of(app)) == []


def test_what_a_server_for_test_mail_says_of_an_address_suppresses_it_for_nobody(
    app: Flask, ask: Ask, catcher: Catcher, test_catcher: Catcher
) -> None:
    test_catcher.script("rcpt", "550 5.1.1 No such user here")
    send(ask, "test")
    drain(of(app), "default")
    assert {row.code for row in of(app).ledger.list(Filters(), None)} == {550}
    assert ask("live", "GET", "/suppressions")[1]["data"] == []
    send(ask, "live")
    drain(of(app), "default")
    assert subjects(catcher) == ["s"]


def test_without_a_server_for_it_test_mail_is_composed_and_handed_to_none(
    make_app: AppFactory, catcher: Catcher
) -> None:
    app = make_app(MAIL_PORT=catcher.smtp_port)  # eager: what is dispatched is drained at once
    _, token = keys.create(of(app).database, "test", grants.checked(is_test=True), actor="test")
    headers = {"Authorization": f"Bearer {token}"}
    client = app.test_client()
    sent = client.post("/api/emails", json=email(), headers=headers).get_json()
    (row,) = of(app).ledger.list(Filters(), None)
    assert row.status == "sent"
    (attempt,) = of(app).ledger.show(sent["id"]).attempts[row.delivery_id]
    assert (attempt.words, attempt.transport, attempt.code) == (
        "test key: not handed to a server", None, None,
    )  # fmt: skip
    assert (
        "no server has it, because it was sent with a test key"
        in command(app, "show", sent["id"]).output
    )
    wrong = {"to": "b@example.com", "template": {"id": "password_changed", "variables": {}}}
    assert client.post("/api/emails", json=wrong, headers=headers).status_code == 422
    with app.app_context():
        dispatch(None, to="b@example.com", subject="real", text="t")
    assert subjects(catcher) == ["real"]


def test_a_test_key_sees_and_changes_test_mail_alone(app: Flask, ask: Ask) -> None:
    later = {"scheduled_at": "in 1 hour"}
    test, live = send(ask, "test", **later), send(ask, "live", **later)
    sooner = {"scheduled_at": "in 5 minutes"}
    routes: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("GET", "/deliveries", None),
        ("PATCH", "", sooner),
        ("POST", "/cancel", None),
        ("POST", "/retry", None),
    ]
    before = of(app).ledger.list(Filters(email_id=live), None)
    for method, path, body in routes:
        status, answer = ask("test", method, f"/emails/{live}{path}", body)
        assert (status, answer["name"]) == (404, "not_found")
        assert answer["message"] == f"there is no email {live!r}"
    assert of(app).ledger.list(Filters(email_id=live), None) == before
    for method, path, body in routes:
        status, answer = ask("test", method, f"/emails/{test}{path}", body)
        assert status == 200, answer

    assert [one["id"] for one in ask("test", "GET", "/emails")[1]["data"]] == [test]
    seen = {one["id"]: one["test"] for one in ask("live", "GET", "/emails")[1]["data"]}
    assert seen == {test: True, live: False}
    assert ask("live", "POST", f"/emails/{test}/cancel")[0] == 200


def test_a_filter_tells_test_mail_from_other(app: Flask, ask: Ask) -> None:
    test, live = send(ask, "test"), send(ask, "live")
    ledger = of(app).ledger
    assert [row.email_id for row in ledger.list(Filters(is_test=True), None)] == [test]
    assert [row.email_id for row in ledger.list(Filters(is_test=False), None)] == [live]
    assert [one.id for one in ledger.page(10, is_test=False).emails] == [live]
    moved = ledger.cancel(Filters(is_test=True), actor="t")
    assert [one.email_id for one in moved] == [test]


def test_the_same_idempotency_key_is_another_one_for_a_test_key(app: Flask) -> None:
    # And stays itself for mail that was accepted before there were test keys.
    with app.app_context():
        arguments: Any = {"to": "b@example.com", "subject": "s", "text": "t"}
        first = dispatch(None, idempotency_key="once", **arguments)
        assert dispatch(None, idempotency_key="once", **arguments).id == first.id
    assert "is_test" not in str(first.fingerprint)
    ids = set()
    for is_test in (True, False):
        _, token = keys.create(of(app).database, "k", grants.checked(is_test=is_test), actor="test")
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "once"}
        answers = [
            app.test_client().post("/api/emails", json=email(), headers=headers).get_json()["id"]
            for _ in range(2)
        ]
        assert len(set(answers)) == 1
        ids |= set(answers)
    assert len(ids) == 2


def test_the_command_line_shows_what_is_test_mail(app: Flask, ask: Ask) -> None:
    test = send(ask, "test", subject="Hello")
    assert 'test: "Hello"' in command(app, "list").output
    assert "it goes to no recipient" in command(app, "show", test).output
    assert '"is_test": true' in command(app, "list", "--json").output
    assert "only test mail" in command(app, "transports").output
