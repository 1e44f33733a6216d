"""The access log, the ids of requests, and what is logged of a bug."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from mailer import grants, keys
from mailer.models import Email
from mailer.state import of
from mailer.web.lines import Lines

MakeApp = Callable[..., Flask]
PASSWORD = "correct horse battery"
EMAIL = {"from": "a@example.com", "to": "b@example.com", "subject": "Hello", "text": "Hello"}


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mailer")


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, str]]:
    """Return the fields of each line of the access log."""
    said = [record.getMessage() for record in caplog.records if record.name == "mailer.web.access"]
    return [dict(field.split("=", 1) for field in line.split()) for line in said]


def key(app: Flask) -> tuple[str, dict[str, str]]:
    """Return a key's id and the header that has it."""
    key_id, token = keys.create(
        of(app).database, "test", grants.checked(scopes=keys.SCOPES), actor="test"
    )
    return key_id, {"Authorization": f"Bearer {token}"}


def request_ids(app: Flask) -> list[str | None]:
    with of(app).database.read() as connection:
        return list(connection.execute(sa.select(Email.request_id)).scalars())


def test_a_request_has_one_line_with_what_happened(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    key_id, header = key(app)
    answer = client.post("/api/emails", json=EMAIL, headers={**header, "X-Request-Id": "shop-1"})
    (line,) = lines(caplog)
    assert float(line.pop("ms")) > 0
    assert line == {
        "request": "shop-1",
        "method": "POST",
        "route": "/api/emails",
        "status": "200",
        "bytes": str(len(answer.data)),
        "key": key_id,
        "email": answer.get_json()["id"],
    }
    assert answer.headers["X-Request-Id"] == "shop-1"
    assert request_ids(app) == ["shop-1"]


def test_of_a_batch_the_line_has_the_number(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    _, header = key(app)
    client.post("/api/emails/batch", json=[EMAIL] * 3, headers=header)
    (line,) = lines(caplog)
    assert line["emails"] == "3"
    assert "email" not in line
    assert set(request_ids(app)) == {line["request"]}


def test_a_page_has_an_id_too_which_its_email_keeps(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    fields = {"email": "anna@example.com", "password": PASSWORD}
    answer = client.post("/signup", json=fields, headers={"X-Request-Id": "proxy-1"})
    assert answer.headers["X-Request-Id"] == "proxy-1"
    assert request_ids(app) == ["proxy-1"]
    (line,) = lines(caplog)
    assert (line["route"], line["key"]) == ("/signup", "-")


@pytest.mark.parametrize("given", [None, "", "a" * 65, "two words", "a=b"])
def test_a_request_without_an_id_that_can_be_kept_gets_one(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture, given: str | None
) -> None:
    headers = {} if given is None else {"X-Request-Id": given}
    first, second = (client.get("/healthz", headers=headers).headers["X-Request-Id"] for _ in "12")
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert first != second
    assert [line["request"] for line in lines(caplog)] == [first, second]


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("GET", "/confirm/secret-token", "/confirm/<token>", "410"),
        ("GET", "/reset/secret-token?x=secret-token", "/reset/<token>", "410"),
        ("GET", "/secret-token", "-", "404"),
        ("DELETE", "/reset/secret-token", "-", "405"),
        ("GET", "/api/secret-token", "-", "404"),
        ("GET", "/api/emails?after=secret-token", "/api/emails", "401"),
    ],
)
def test_no_path_query_or_token_is_in_the_line(
    client: FlaskClient,
    caplog: pytest.LogCaptureFixture,
    *,
    method: str,
    path: str,
    route: str,
    status: str,
) -> None:
    client.open(path, method=method)
    (line,) = lines(caplog)
    assert (line["route"], line["status"]) == (route, status)
    assert "secret-token" not in caplog.text


def test_no_address_is_in_the_line(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    _, header = key(app)
    client.post("/api/emails", json=EMAIL, headers=header)
    client.post("/api/emails", json={**EMAIL, "to": "no address"}, headers=header)
    client.post("/reset", json={"email": "anna@example.com"})
    assert len(lines(caplog)) == 3
    assert "@" not in caplog.text
    assert "127.0.0.1" not in caplog.text
    assert "no address" not in caplog.text


@pytest.mark.parametrize("path", ["/reset/secret-token", "/api/emails"])
def test_a_bug_is_logged_with_the_request_and_without_its_path(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(PROPAGATE_EXCEPTIONS=False)

    def broken(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError("a bug")

    for endpoint in ("accounts.new_password", "api.emails_send"):
        monkeypatch.setitem(app.view_functions, endpoint, broken)
    method = "POST" if path == "/api/emails" else "GET"
    answer = app.test_client().open(path, method=method, headers={"X-Request-Id": "shop-2"})
    assert answer.status_code == 500
    bug, line = (record for record in caplog.records if record.name == "mailer.web.access")
    assert bug.getMessage().startswith(f"request=shop-2 method={method} route=/")
    assert bug.exc_text
    assert "ZeroDivisionError: a bug" in bug.exc_text
    assert line.getMessage().startswith("request=shop-2 ")
    assert "secret-token" not in caplog.text
    if path == "/api/emails":
        assert answer.get_json() == {
            "statusCode": 500,
            "name": "internal_server_error",
            "message": "That was our fault. It has been recorded as request shop-2.",
        }


def test_what_others_log_during_a_request_names_it_too(app: Flask) -> None:
    record = logging.LogRecord("somebody", logging.WARNING, "x.py", 1, "odd", None, None)
    form = r"\[[0-9-]+ [0-9:,]+: WARNING/[0-9]+\] odd"
    assert re.fullmatch(form, Lines().format(record))
    with app.test_request_context(headers={"X-Request-Id": "shop-3"}):
        assert re.fullmatch(form + " request=shop-3", Lines().format(record))
        record.msg = "request=shop-3 odd"
        assert Lines().format(record).count("shop-3") == 1
