"""Files of an email over the HTTP API: listed, described, downloaded."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from mailer.state import of

Call = Callable[..., Any]
FILES = [
    {"filename": "invoice.pdf", "content": list(b"%PDF"), "content_type": "application/pdf"},
    {"filename": "logo.png", "content": "iVBORw==", "content_id": "logo"},
    {"filename": "page.html", "content": list(b"<script>alert(1)</script>")},
]


@pytest.fixture
def email_id(call: Call) -> str:
    body = {"to": "b@example.com", "subject": "s", "html": "<img src=cid:logo>"}
    found: str = call("POST", "/emails", {**body, "attachments": FILES})[1]["id"]
    return found


def test_the_files_of_an_email_are_listed_page_by_page(call: Call, email_id: str) -> None:
    status, found = call("GET", f"/emails/{email_id}/attachments")
    assert status == 200
    assert [one["filename"] for one in found["data"]] == ["invoice.pdf", "logo.png", "page.html"]
    assert [one["size"] for one in found["data"]] == [4, 4, 25]
    assert [one["content_disposition"] for one in found["data"]] == [
        "attachment",
        "inline",
        "attachment",
    ]
    ids = [one["id"] for one in found["data"]]
    path = f"/emails/{email_id}/attachments"
    pages = [
        (f"?after={ids[0]}", ids[1:], False),
        ("?limit=2", ids[:2], True),
        (f"?before={ids[2]}&limit=1", [ids[1]], True),
        (f"?before={ids[1]}", [ids[0]], False),
    ]
    for query, expected, more in pages:
        _, page = call("GET", path + query)
        assert ([one["id"] for one in page["data"]], page["has_more"]) == (expected, more)
    for name in ("after", "before"):
        status, refused = call("GET", f"{path}?{name}={email_id}")
        assert status == 422
        words = f"{name}: email {email_id} has no attachment '{email_id}'"
        assert refused["message"] == words


def test_a_file_is_downloaded_by_its_link_and_never_shown(
    app: Flask, call: Call, email_id: str
) -> None:
    for listed, data in itertools.zip_longest(
        call("GET", f"/emails/{email_id}/attachments")[1]["data"],
        [b"%PDF", b"\x89PNG", b"<script>alert(1)</script>"],
    ):
        _, one = call("GET", f"/emails/{email_id}/attachments/{listed['id']}")
        link = one["download_url"].removeprefix("http://app.example.com")
        assert link != one["download_url"]
        answer = app.test_client().get(link)
        assert answer.data == data
        assert answer.headers["Content-Disposition"] == f"attachment; filename={one['filename']}"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_link_is_good_for_an_hour_and_for_its_own_file(
    app: Flask, call: Call, email_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one, *_) = call("GET", f"/emails/{email_id}/attachments")[1]["data"]
    link = one["download_url"].removeprefix("http://app.example.com")
    client = app.test_client()
    assert client.get(link + "x").status_code == 404
    assert client.get("/api/attachments/x").get_json()["name"] == "not_found"
    later = time.time() + 3_700
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: later)
    assert client.get(link).status_code == 404


def test_a_link_outlives_its_key_among_the_fallbacks(app: Flask, call: Call, email_id: str) -> None:
    (one, *_) = call("GET", f"/emails/{email_id}/attachments")[1]["data"]
    link = one["download_url"].removeprefix("http://app.example.com")
    old = app.config["SECRET_KEY"]
    app.config["SECRET_KEY"] = "the next secret of the app"
    assert app.test_client().get(link).status_code == 404
    app.config["SECRET_KEY_FALLBACKS"] = ("another one", old)
    assert app.test_client().get(link).data == b"%PDF"


def test_what_is_not_there_is_not_found(app: Flask, call: Call, email_id: str) -> None:
    unknown = "00000000-0000-7000-8000-000000000000"
    assert call("GET", f"/emails/{unknown}/attachments")[0] == 404
    assert call("GET", f"/emails/{email_id}/attachments/{unknown}")[0] == 404
    (one, *_) = call("GET", f"/emails/{email_id}/attachments")[1]["data"]
    of(app).ledger.purge("b@example.com", actor="test")
    link = one["download_url"].removeprefix("http://app.example.com")
    assert app.test_client().get(link).status_code == 404
