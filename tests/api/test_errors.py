"""Whatever is asked of the API in whatever way: what it refuses, it refuses in JSON."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from mailer import create_app, keys
from mailer.db import Database
from mailer.grants import SCOPES, checked
from mailer.state import of

SMALL = {"from": "a@example.com", "to": "b@example.com", "subject": "Hello", "text": "Hello"}


def refused(answer: Any, status: int, name: str) -> str:
    """Check the form of an answer; return its message."""
    assert answer.status_code == status, answer.data
    assert answer.mimetype == "application/json"
    assert answer.headers["X-Request-Id"]
    document = answer.get_json()
    assert set(document) == {"statusCode", "name", "message"}
    assert (document["statusCode"], document["name"]) == (status, name)
    assert isinstance(document["message"], str)
    assert document["message"]
    return str(document["message"])


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/",
        "/api/nothing",
        "/api/emails/",
        "/api//emails",
        "//api/emails/x",
        "/api/emails/%00",
        "/api/emails/a%2Fb",
        "/api/emails%2F",
        "/api/emails/..%2f..%2fetc",
        "/api/\u00e9",
        "/api/%ff%fe",
        "/api/emails/x/nothing",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data"])
def test_an_address_that_is_none(app: Flask, path: str, method: str, kind: str) -> None:
    answer = app.test_client().open(path, method=method, content_type=kind, data=b"x")
    if not path.startswith("/api"):
        assert answer.status_code == 404
        return
    if answer.status_code == 405:
        refused(answer, 405, "method_not_allowed")
        assert answer.headers["Allow"]
    else:
        refused(answer, 404, "not_found")


def test_a_head_is_answered_as_the_get_would_be_but_without_a_body(app: Flask) -> None:
    client = app.test_client()
    for path, status in (("/api/nothing", 404), ("/api/emails", 401)):
        answer = client.head(path)
        assert (answer.status_code, answer.data) == (status, b"")
        assert answer.mimetype == "application/json"


def test_options_says_what_may_be_asked_and_of_nothing_that_there_is_nothing(app: Flask) -> None:
    client = app.test_client()
    answer = client.options("/api/emails")
    assert answer.status_code == 200
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST", "OPTIONS"}
    assert (answer.data, answer.content_length) == (b"", 0)
    assert "Content-Type" not in answer.headers
    refused(client.options("/api/nothing"), 404, "not_found")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "BREW"])
def test_a_method_that_an_address_does_not_have(app: Flask, method: str) -> None:
    answer = app.test_client().open("/api/emails", method=method, data=b"x")
    message = refused(answer, 405, "method_not_allowed")
    assert message == f"/api/emails: expected GET, HEAD, OPTIONS, POST, got {method}."
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST", "OPTIONS"}


@pytest.mark.parametrize("kind", [None, "text/plain", "text/html", "multipart/form-data", "x"])
def test_a_body_that_is_not_json(app: Flask, key: Any, kind: str | None) -> None:
    answer = app.test_client().post(
        "/api/emails",
        data=b"{}",
        content_type=kind,
        headers={"Authorization": f"Bearer {key()}"},
    )
    assert "application/json" in refused(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("path", ["/templates", "/templates/welcome", "/templates/welcome/render"])
def test_templates_are_not_written_here(app: Flask, path: str) -> None:
    answer = app.test_client().delete(f"/api{path}")
    assert refused(answer, 405, "method_not_allowed").startswith(f"/api{path}: expected ")
    assert answer.headers["Allow"]


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "gzip, identity", "x" * 8_000])
@pytest.mark.parametrize("path", ["/emails", "/emails/batch", "/suppressions"])
def test_a_body_that_is_packed(app: Flask, key: Any, path: str, encoding: str) -> None:
    answer = app.test_client().post(
        f"/api{path}",
        data=gzip.compress(b"{}"),
        content_type="application/json",
        headers={"Authorization": f"Bearer {key()}", "Content-Encoding": encoding},
    )
    message = refused(answer, 415, "unsupported_media_type")
    assert message == f"Content-Encoding: expected identity or none, got {encoding[:64]!r}"
    assert answer.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
def test_a_body_that_says_that_it_is_plain(app: Flask, key: Any, encoding: str) -> None:
    headers = {"Authorization": f"Bearer {key()}", "Content-Encoding": encoding}
    assert app.test_client().post("/api/emails", json=SMALL, headers=headers).status_code == 200


@pytest.mark.parametrize("known", [True, False])
def test_a_body_that_is_too_large_whether_its_length_is_said_or_not(
    app: Flask, key: Any, known: bool
) -> None:
    app.config.update(MAILER_MAX_ATTACHMENT_BYTES=0, MAILER_MAX_BODY_BYTES=100)
    body = b'"' + b"x" * 900 + b'"'
    length = {} if known else {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    answer = app.test_client().post(
        "/api/emails",
        data=body,
        content_type="application/json",
        headers={"Authorization": f"Bearer {key()}"},
        environ_overrides=length,
    )
    assert "800 bytes" in refused(answer, 413, "payload_too_large")


@pytest.fixture
def on_each(database: Database) -> Iterator[Flask]:
    """The service on SQLite, and on PostgreSQL, which takes no NUL in a text."""
    made = create_app(
        {
            "SECRET_KEY": "a secret for tests only",
            "MAILER_DATABASE_URL": database.url.render_as_string(hide_password=False),
            "MAILER_BASE_URL": "http://app.example.com",
            "MAIL_DEFAULT_SENDER": "service@example.com",
            "CELERY": {"broker_url": "memory://"},
        }
    )
    yield made
    of(made).close()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/emails/%00", None, 404),
        ("GET", "/emails/a%00b/deliveries", None, 404),
        ("POST", "/emails/%00/cancel", None, 404),
        ("PATCH", "/emails/%00", {"scheduled_at": "in 1 hour"}, 404),
        ("GET", "/emails?after=%00", None, 422),
        ("POST", "/emails", {**SMALL, "subject": "a\0b"}, 422),
        ("POST", "/emails", {**SMALL, "text": "a\0b"}, 422),
        ("POST", "/emails", {**SMALL, "html": "a\0b"}, 422),
        ("POST", "/emails", {**SMALL, "to": "a\0b@example.com"}, 422),
        ("POST", "/emails", {**SMALL, "locale": "\0"}, 422),
        ("POST", "/emails", {**SMALL, "headers": {"X-A": "\0"}}, 422),
        ("POST", "/emails", {**SMALL, "headers": {"X\0": "a"}}, 422),
        ("POST", "/emails", {**SMALL, "tags": [{"name": "a", "value": "\0"}]}, 422),
        (
            "POST",
            "/emails",
            {**SMALL, "attachments": [{"filename": "a\0b", "content": "aGk="}]},
            422,
        ),
        ("POST", "/emails", {"to": "b@example.com", "template": {"id": "a\0b"}}, 422),
    ],
)
def test_a_nul_anywhere_is_refused_and_no_bug(
    on_each: Flask, method: str, path: str, body: Any, status: int
) -> None:
    _, token = keys.create(of(on_each).database, "test", checked(scopes=SCOPES), actor="test")
    answer = on_each.test_client().open(
        f"/api{path}", method=method, json=body, headers={"Authorization": f"Bearer {token}"}
    )
    refused(answer, status, "not_found" if status == 404 else "validation_error")


@pytest.mark.parametrize(
    "token",
    [
        "\u00e9",
        "a\0b",
        "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
        "x" * 8000,
    ],
)
def test_a_key_of_odd_characters_is_not_known(on_each: Flask, token: str) -> None:
    raw = f"Bearer {token}".encode().decode("latin-1")
    answer = on_each.test_client().get("/api/emails", environ_overrides={"HTTP_AUTHORIZATION": raw})
    refused(answer, 403, "invalid_api_key")


def test_a_ledger_that_is_away_is_said_with_when_to_come_back(on_each: Flask, key: Any) -> None:
    _, token = keys.create(of(on_each).database, "test", checked(scopes=SCOPES), actor="test")
    header = {"Authorization": f"Bearer {token}"}
    of(on_each).close()
    of(on_each).database = Database("sqlite:////nowhere/at/all.sqlite3")
    answer = on_each.test_client().post("/api/emails", json=SMALL, headers=header)
    refused(answer, 503, "service_unavailable")
    assert answer.headers["Retry-After"] == "5"


@pytest.mark.parametrize("path", ["/nothing", "/healthz/", "/reset//x"])
def test_beside_the_api_a_person_gets_a_page(app: Flask, path: str) -> None:
    answer = app.test_client().get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert answer.mimetype == "text/html"
