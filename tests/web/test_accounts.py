from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import flask_mail
import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import TimestampSigner
from werkzeug.security import check_password_hash, generate_password_hash
from werkzeug.test import TestResponse

from mailer import notifications, signals, state, users
from mailer.errors import LedgerUnavailable
from mailer.models import Delivery, Email, User

EMAIL = "anna@example.com"
PASSWORD = "correct horse battery"
OTHER_PASSWORD = "another good password"

Drain = Callable[[], list[flask_mail.Message]]
Follow = Callable[[flask_mail.Message], str]
Rows = Callable[[type], list[Any]]
Submit = Callable[..., TestResponse]


def sign_up(client: FlaskClient, email: str = EMAIL, password: str = PASSWORD) -> TestResponse:
    return client.post("/signup", json={"email": email, "password": password})


def whole(response: TestResponse) -> tuple[str, list[tuple[str, str]], bytes]:
    """Return all of an answer, but for the id that each request gets."""
    headers = [(name, value) for name, value in response.headers if name != "X-Request-Id"]
    return response.status, headers, response.data


# Sign up


def test_signing_up_stores_a_user_and_an_email_to_confirm_the_address(
    client: FlaskClient, rows: Rows
) -> None:
    response = sign_up(client, " Anna@Example.com ")
    assert response.status_code == 202
    assert list(response.json or {}) == ["message"]
    (user,) = rows(User)
    assert user.email == EMAIL
    assert user.confirmed_at is None
    assert check_password_hash(user.password_hash, PASSWORD)
    (email,) = rows(Email)
    assert email.template == "confirm_email"
    assert [delivery.recipient for delivery in rows(Delivery)] == [EMAIL]


def test_signing_up_by_page_does_the_same_and_says_where_to_look(
    submit: Submit, rows: Rows
) -> None:
    response = submit("/signup", email=EMAIL, password=PASSWORD)
    assert response.status_code == 202
    assert "Check your inbox" in response.text
    assert EMAIL in response.text
    assert [user.email for user in rows(User)] == [EMAIL]
    assert [email.template for email in rows(Email)] == ["confirm_email"]


def test_a_confirmed_account_is_told_that_somebody_signed_up_with_its_address(
    client: FlaskClient, drain: Drain, follow: Follow, rows: Rows
) -> None:
    sign_up(client)
    client.post(follow(drain()[0]), json={})
    drain()
    (before,) = rows(User)
    sign_up(client, password=OTHER_PASSWORD)
    assert rows(User) == [before]
    (message,) = drain()
    assert rows(Email)[-1].template == "already_registered"
    assert message.recipients == [EMAIL]
    assert "http://app.example.com/reset\n" in (message.body or "")


def test_the_owner_of_an_address_is_never_asked_to_confirm_a_strangers_password(
    client: FlaskClient, rows: Rows
) -> None:
    sign_up(client)
    (before,) = rows(User)
    sign_up(client, "ANNA@example.com", OTHER_PASSWORD)
    assert rows(User) == [before]
    assert [email.template for email in rows(Email)] == ["confirm_email", "already_registered"]


def test_without_receivers_signing_up_works_and_sends_nothing(
    app: Flask, client: FlaskClient, rows: Rows
) -> None:
    signals.user_signed_up.disconnect(notifications.ask_to_confirm, sender=app)
    assert sign_up(client).status_code == 202
    assert [user.email for user in rows(User)] == [EMAIL]
    assert rows(Email) == []


def test_a_receiver_that_fails_leaves_neither_user_nor_email(
    app: Flask, client: FlaskClient, rows: Rows
) -> None:
    def fail(sender: Flask, **_: object) -> None:
        raise RuntimeError("no")

    # Receivers run in no given order: the email must go whether it was recorded before or after.
    with signals.user_signed_up.connected_to(fail, sender=app), pytest.raises(RuntimeError):
        sign_up(client)
    assert rows(User) == []
    assert rows(Email) == []
    assert rows(Delivery) == []


# The same for known and unknown addresses


@pytest.mark.parametrize("path", ["/signup", "/reset"])
def test_the_json_answer_is_equal_to_the_byte_for_a_known_and_an_unknown_address(
    client: FlaskClient, path: str
) -> None:
    sign_up(client, "known@example.com")
    answers = [
        whole(client.post(path, json={"email": email, "password": PASSWORD}))
        for email in ("known@example.com", "nobody@example.com")
    ]
    assert answers[0] == answers[1]
    assert answers[0][0] == "202 ACCEPTED"


@pytest.mark.parametrize("path", ["/signup", "/reset"])
def test_the_page_is_equal_but_for_the_address_for_a_known_and_an_unknown_address(
    client: FlaskClient, submit: Submit, path: str
) -> None:
    sign_up(client, "known@example.com")
    answers = []
    for email in ("known@example.com", "other@example.com"):
        status, headers, body = whole(submit(path, email=email, password=PASSWORD))
        answers.append((status, headers, body.replace(email.encode(), b"-")))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("path", ["/signup", "/reset"])
@pytest.mark.parametrize("confirmed", [True, False])
def test_a_known_and_an_unknown_address_cost_the_same_statements(
    app: Flask, client: FlaskClient, path: str, confirmed: bool
) -> None:
    sign_up(client, "known@example.com")
    database = state.of(app).database
    if confirmed:
        with database.begin() as connection:
            connection.execute(sa.update(User).values(confirmed_at=1.0))
    statements: list[str] = []

    def note(statement: str) -> None:
        words = re.sub(r"(WHERE|VALUES|SET).*", r"\1 ...", statement, flags=re.DOTALL)
        statements.append(words)

    def trace(connection: sqlite3.Connection, *_: object) -> None:
        connection.set_trace_callback(note)

    sa.event.listen(database.engine, "checkout", trace)
    client.post(path, json={"email": "known@example.com", "password": PASSWORD})
    known = statements.copy()
    statements.clear()
    client.post(path, json={"email": "nobody@example.com", "password": PASSWORD})
    assert known == statements
    assert any("INSERT INTO mailer_emails" in statement for statement in known)


@pytest.mark.parametrize("path", ["/signup", "/reset"])
def test_a_known_and_an_unknown_address_take_about_the_same_time(
    client: FlaskClient, path: str
) -> None:
    sign_up(client, "known@example.com")
    times: dict[bool, list[float]] = {True: [], False: []}
    for number in range(4):
        for known in (True, False):
            email = "known@example.com" if known else f"nobody{number}@example.com"
            started = time.thread_time()  # other processes' load does not count
            client.post(path, json={"email": email, "password": PASSWORD})
            times[known].append(time.thread_time() - started)
    ratio = min(times[True]) / min(times[False])
    # If one of them did not hash the password, it would take a tenth of the other's time.
    assert 0.5 < ratio < 2, times


# Confirm


def test_opening_the_link_confirms_nothing_until_the_button_is_pressed(
    client: FlaskClient, submit: Submit, drain: Drain, follow: Follow, rows: Rows
) -> None:
    sign_up(client)
    link = follow(drain()[0])
    page = client.get(link)
    assert page.status_code == 200
    assert EMAIL in page.text
    client.head(link)
    assert rows(User)[0].confirmed_at is None
    assert submit(link).status_code == 200
    assert rows(User)[0].confirmed_at is not None
    (welcome,) = drain()
    assert welcome.recipients == [EMAIL]
    assert rows(Email)[-1].template == "welcome"


def test_a_confirmation_link_works_once(client: FlaskClient, drain: Drain, follow: Follow) -> None:
    sign_up(client)
    link = follow(drain()[0])
    assert client.post(link, json={}).status_code == 200
    again = client.post(link, json={})
    assert again.status_code == 410
    assert set(again.json or {}) == {"error", "fields"}
    assert client.get(link).status_code == 410


# Reset


def test_a_reset_changes_the_password_once_and_tells_the_user(
    client: FlaskClient, drain: Drain, follow: Follow, rows: Rows
) -> None:
    sign_up(client)
    drain()
    assert client.post("/reset", json={"email": "ANNA@example.com"}).status_code == 202
    (message,) = drain()
    link = follow(message)
    assert client.get(link).status_code == 200
    assert client.post(link, json={"password": OTHER_PASSWORD}).status_code == 200
    assert check_password_hash(rows(User)[0].password_hash, OTHER_PASSWORD)
    (told,) = drain()
    assert rows(Email)[-1].template == "password_changed"
    assert told.recipients == [EMAIL]
    assert client.get(link).status_code == 410
    assert client.post(link, json={"password": PASSWORD}).status_code == 410
    assert check_password_hash(rows(User)[0].password_hash, OTHER_PASSWORD)


def test_a_reset_by_page_works_and_refuses_a_short_password_on_the_way(
    client: FlaskClient, submit: Submit, drain: Drain, follow: Follow, rows: Rows
) -> None:
    sign_up(client)
    drain()
    assert submit("/reset", email=EMAIL).status_code == 202
    link = follow(drain()[0])
    refused = submit(link, password="short")
    assert refused.status_code == 422
    assert "at least 12 characters" in refused.text
    assert submit(link, password=EMAIL).status_code == 422
    assert submit(link, password=OTHER_PASSWORD).status_code == 200
    assert check_password_hash(rows(User)[0].password_hash, OTHER_PASSWORD)


def test_a_reset_for_an_unknown_address_is_cancelled_by_the_worker(
    client: FlaskClient, drain: Drain, rows: Rows
) -> None:
    client.post("/reset", json={"email": "nobody@example.com"})
    assert drain() == []
    assert [delivery.status for delivery in rows(Delivery)] == ["cancelled"]


def test_changing_the_password_makes_every_earlier_link_void(
    client: FlaskClient, drain: Drain, follow: Follow
) -> None:
    sign_up(client)
    links = [follow(message) for message in drain()]
    for _ in range(2):
        client.post("/reset", json={"email": EMAIL})
    links += [follow(message) for message in drain()]
    assert len(links) == 3
    assert client.post(links[-1], json={"password": OTHER_PASSWORD}).status_code == 200
    for link in links:
        assert client.get(link).status_code == 410
        assert client.post(link, json={"password": PASSWORD}).status_code == 410


@pytest.mark.parametrize(
    ("age", "status", "words"), [(3500, 200, "new password"), (3700, 410, "has expired")]
)
def test_a_reset_link_expires(
    client: FlaskClient,
    drain: Drain,
    follow: Follow,
    monkeypatch: pytest.MonkeyPatch,
    *,
    age: int,
    status: int,
    words: str,
) -> None:
    sign_up(client)
    drain()
    client.post("/reset", json={"email": EMAIL})
    with monkeypatch.context() as patch:
        patch.setattr(TimestampSigner, "get_timestamp", lambda self: int(time.time()) - age)
        link = follow(drain()[0])
    page = client.get(link)
    assert page.status_code == status
    assert words in page.text
    assert client.post(link, json={"password": OTHER_PASSWORD}).status_code == status


def test_of_two_resets_at_once_with_one_link_the_second_is_refused(
    client: FlaskClient,
    drain: Drain,
    follow: Follow,
    rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sign_up(client)
    drain()
    client.post("/reset", json={"email": EMAIL})
    link = follow(drain()[0])
    meanwhile: list[int] = []

    def hash_slowly(password: str, method: str) -> str:
        # The outer request has read the token, and is about to store its password.
        monkeypatch.undo()
        response = client.post(link, json={"password": "the first of two passwords"})
        meanwhile.append(response.status_code)
        return generate_password_hash(password, method)

    monkeypatch.setattr(users, "generate_password_hash", hash_slowly)
    outer = client.post(link, json={"password": "the second of two passwords"})
    assert meanwhile == [200]
    assert outer.status_code == 410
    assert check_password_hash(rows(User)[0].password_hash, "the first of two passwords")
    assert [email.template for email in rows(Email)].count("password_changed") == 1


# Secrets


def test_no_token_and_no_password_is_in_the_ledger_or_the_log(
    app: Flask,
    client: FlaskClient,
    drain: Drain,
    follow: Follow,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    sign_up(client)
    client.post("/reset", json={"email": EMAIL})
    tokens = [follow(message).rsplit("/", 1)[1] for message in drain()]
    client.post(f"/reset/{tokens[1]}", json={"password": OTHER_PASSWORD})
    drain()
    path = state.of(app).database.url.database
    assert path
    with sqlite3.connect(path) as ledger:
        dump = "\n".join(ledger.iterdump())
    ledger.close()
    assert EMAIL in dump  # it is the ledger
    for secret in (*tokens, PASSWORD, OTHER_PASSWORD):
        assert secret not in dump
        assert secret not in caplog.text


def test_a_link_leads_to_the_configured_address_whatever_host_the_request_names(
    client: FlaskClient, drain: Drain, follow: Follow
) -> None:
    sign_up(client)
    drain()
    client.post("/reset", json={"email": EMAIL}, headers={"Host": "evil.example"})
    assert follow(drain()[0]).startswith("/reset/")  # `follow` knows no other host


# Bad input


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        ("/signup", {}, {"email", "password"}),
        ("/signup", {"email": "anna", "password": PASSWORD}, {"email"}),
        ("/signup", {"email": "Anna <a@example.com>", "password": PASSWORD}, {"email"}),
        ("/signup", {"email": "a@example.com\r\nBcc: b@x.com", "password": PASSWORD}, {"email"}),
        ("/signup", {"email": EMAIL, "password": "short"}, {"password"}),
        ("/signup", {"email": EMAIL, "password": "x" * 1001}, {"password"}),
        ("/signup", {"email": EMAIL, "password": EMAIL.upper()}, {"password"}),
        ("/signup", {"email": EMAIL, "password": "\ud800" * 12}, {"password"}),
        ("/signup", {"email": [EMAIL], "password": {"a": 1}}, {"email", "password"}),
        ("/signup", {"email": None, "password": 123456789012}, {"email", "password"}),
        ("/reset", {"email": ""}, {"email"}),
        ("/reset", {"email": "a@example.com, b@example.com"}, {"email"}),
    ],
)  # fmt: skip
def test_wrong_fields_are_named_and_nothing_is_stored(
    client: FlaskClient, rows: Rows, path: str, body: dict[str, object], fields: set[str]
) -> None:
    response = client.post(path, json=body)
    assert response.status_code == 422
    assert response.json
    assert set(response.json) == {"error", "fields"}
    assert set(response.json["fields"]) == fields
    assert rows(User) == []
    assert rows(Email) == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"text"', b"null", b"\xff\xfe", b"[" * 10_000, b'{"a":' * 2000]
)
def test_a_body_that_is_no_json_object_is_a_bad_request(client: FlaskClient, body: bytes) -> None:
    response = client.post("/signup", data=body, content_type="application/json")
    assert response.status_code == 400
    assert response.json == {"error": "The body is not a JSON object.", "fields": {}}


def test_a_page_with_wrong_fields_says_so_beside_them_and_keeps_the_address_alone(
    submit: Submit,
) -> None:
    response = submit("/signup", email="<anna>@x", password="secret-11ch")
    assert response.status_code == 422
    inputs = _inputs(response.text)
    assert inputs["email"]["value"] == "<anna>@x"
    assert "secret-11ch" not in response.text
    for name in ("email", "password"):
        assert inputs[name]["aria-invalid"] == "true"
        assert f"{name}-error" in (inputs[name]["aria-describedby"] or "").split()
        assert f'id="{name}-error"' in response.text
    assert "autofocus" in inputs["email"]
    assert "autofocus" not in inputs["password"]


@pytest.mark.parametrize("path", ["/signup", "/reset"])
def test_every_field_of_a_page_has_a_label_and_says_what_to_fill_in(
    client: FlaskClient, path: str
) -> None:
    page = client.get(path).text
    shown = {name: field for name, field in _inputs(page).items() if field["type"] != "hidden"}
    assert shown
    for name, field in shown.items():
        assert f'<label for="{field["id"]}">' in page
        assert field["autocomplete"] == {"email": "email", "password": "new-password"}[name]


def test_a_page_loads_nothing_from_elsewhere_and_runs_nothing(client: FlaskClient) -> None:
    for path in ("/", "/signup", "/reset", "/nothing"):
        page = client.get(path).text
        assert "<script" not in page
        assert "style=" not in page
        assert "<style" not in page
        for address in re.findall(r'(?:href|src|action)="([^"]*)"', page):
            assert address.startswith("/"), address
            assert client.get(address, buffered=True).status_code == 200, address


@pytest.mark.parametrize("headers", [{"Accept": "application/json"}, {}])
def test_an_unknown_address_and_a_wrong_method_are_answered_in_the_form_that_was_asked_for(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    missing = client.get("/nothing", headers=headers)
    wrong = client.put("/signup", json={}) if headers else client.delete("/signup")
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert set(re.split(r", ?", wrong.headers["Allow"])) >= {"GET", "POST"}
    for response in (missing, wrong):
        assert response.is_json == bool(headers)
        assert response.mimetype == ("application/json" if headers else "text/html")


def test_a_ledger_that_is_locked_answers_503_and_stores_nothing_by_halves(
    app: Flask, client: FlaskClient, submit: Submit, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = state.of(app).database
    database.close()
    sa.event.listen(database.engine, "connect", lambda c, _: c.execute("PRAGMA busy_timeout = 50"))
    with database.begin():  # another process writes, and does not end
        response = sign_up(client)
        page = submit("/signup", email=EMAIL, password=PASSWORD)
    assert response.status_code == page.status_code == 503
    assert "nothing was stored" in (response.json or {})["error"]
    assert "nothing was stored" in page.text
    assert response.headers["Retry-After"] == "5"
    assert rows(User) == []
    assert sign_up(client).status_code == 202


def test_a_commit_that_was_cut_off_is_not_answered_as_if_nothing_was_stored(
    app: Flask, client: FlaskClient
) -> None:
    def fail(sender: Flask, **_: object) -> None:
        lost = LedgerUnavailable("the connection was lost during the commit")
        lost.maybe_stored = True
        raise lost

    with signals.user_signed_up.connected_to(fail, sender=app):
        response = sign_up(client)
    assert response.status_code == 503
    assert "could not find out" in (response.json or {})["error"]
    assert "nothing was stored" not in response.text


def test_a_bug_is_answered_without_its_details(app: Flask, client: FlaskClient) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False

    def fail(sender: Flask, **_: object) -> None:
        raise RuntimeError("internal detail")

    with signals.user_signed_up.connected_to(fail, sender=app):
        response = sign_up(client)
    assert response.status_code == 500
    assert set(response.json or {}) == {"error", "fields"}
    assert "internal detail" not in response.text


def _inputs(page: str) -> dict[str, dict[str, str | None]]:
    """The attributes of the inputs of a page, by name."""
    found: dict[str, dict[str, str | None]] = {}

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag == "input":
                attributes = dict(attrs)
                found[attributes["name"] or ""] = attributes

    Parser().feed(page)
    return found
