"""The page that links to unsubscribe lead to."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from mailer import Mailer
from mailer.errors import LedgerUnavailable
from mailer.state import of
from mailer.unsubscribe import Choice, mint
from mailer.web.unsubscribe import unsubscribe

ADA = Choice("ada@example.com", "weekly_news")


@pytest.fixture
def path(app: Flask) -> str:
    return f"/unsubscribe/{mint(app.config, ADA)}"


def suppressed(app: Flask) -> list[tuple[str, str, str]]:
    rows = of(app).ledger.suppressions(10).suppressions
    return [(row.address, row.category, row.origin) for row in rows]


def form(page: str) -> tuple[str, str]:
    """Return where the page's one form goes and what its button says."""
    ((action, words),) = re.findall(
        r'<form method="post" action="([^"]+)">\s*<button[^>]*>([^<]+)</button>', page
    )
    return action, words


def test_a_look_changes_nothing_and_asks(app: Flask, client: FlaskClient, path: str) -> None:
    for _ in range(2):
        answer = client.get(path)
        assert answer.status_code == 200
        assert client.head(path).status_code == 200
    assert (
        "Stop receiving <strong>weekly news</strong> mail at <strong>a…\u2060@example.com"
        in answer.text
    )
    assert "ada@" not in answer.text
    assert form(answer.text) == (path, "Unsubscribe")
    assert suppressed(app) == []


@pytest.mark.parametrize(
    "request_",
    [
        {"data": {"List-Unsubscribe": "One-Click"}},
        {"data": {"List-Unsubscribe": "One-Click"}, "content_type": "multipart/form-data"},
        {"data": b""},
        {"data": {}, "headers": {"Accept": "*/*"}},
    ],
)
def test_one_post_without_a_cookie_unsubscribes(
    app: Flask, path: str, request_: dict[str, Any]
) -> None:
    for _ in range(2):
        answer = app.test_client(use_cookies=False).post(path, **request_)
        assert (answer.status_code, "Set-Cookie" in answer.headers) == (200, False)
        assert "You are unsubscribed" in answer.text
    assert suppressed(app) == [("ada@example.com", "weekly_news", "unsubscribe")]


def test_a_person_unsubscribes_sees_so_and_subscribes_again(
    app: Flask, client: FlaskClient, path: str
) -> None:
    action, _ = form(client.get(path).text)
    done = client.post(action).text
    assert "Mail about other things is not affected." in done
    action, words = form(client.get(path).text)  # the link again, a week later
    assert (action, words) == (f"{path}/undo", "Subscribe again")
    again = client.post(action).text
    assert "gets <strong>weekly news</strong> mail again" in again
    assert suppressed(app) == []
    assert form(again) == (path, "Unsubscribe")


def test_the_link_undoes_nothing_that_others_put_there(
    app: Flask, client: FlaskClient, path: str
) -> None:
    of(app).ledger.suppress(["ada@example.com"], origin="complaint")
    assert "Unsubscribe" in form(client.get(path).text)
    client.post(path)
    answer = client.post(f"{path}/undo")
    assert "still gets no <strong>weekly news</strong> mail" in answer.text
    assert suppressed(app) == [("ada@example.com", "", "complaint")]


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("token", ["x", "a.b", "YSBi.YSBi", "%00", "%C3%A9"])
def test_a_wrong_token_is_answered_with_words(
    app: Flask, client: FlaskClient, method: str, token: str
) -> None:
    answer = getattr(client, method)(f"/unsubscribe/{token}")
    assert answer.status_code == 404
    assert "This link does not work" in answer.text
    assert "<form" not in answer.text
    assert client.post(f"/unsubscribe/{token}/undo").status_code == 404
    assert suppressed(app) == []


def test_a_ledger_that_is_away_is_said_and_when_to_come_back(
    app: Flask, client: FlaskClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise LedgerUnavailable("the ledger cannot be used: away")

    monkeypatch.setattr(of(app).ledger, "suppress", away)
    answer = client.post(path)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "nothing has changed" in answer.text


@pytest.mark.parametrize(
    ("address", "masked"),
    [("a@b.example", "…\u2060@b.example"), ("o'n<b>@x.example", "o…\u2060@x.example")],
)
def test_an_address_is_masked(app: Flask, client: FlaskClient, address: str, masked: str) -> None:
    page = client.get(f"/unsubscribe/{mint(app.config, Choice(address, 'news'))}").text
    assert f"<strong>{masked}</strong>" in page


def test_the_page_keeps_its_token_to_itself(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_a_page_has_a_language_a_title_one_heading_and_its_style(
    client: FlaskClient, path: str
) -> None:
    for page in (client.get(path).text, client.post(path).text, client.get("/unsubscribe/x").text):
        assert '<html lang="en">' in page
        assert page.count("<h1>") == 1
        title = re.search(r"<title>(.+) – Mailer</title>", page)
        assert title is not None
        assert f"<h1>{title[1]}</h1>" in page
        assert all('alt=""' in image for image in re.findall("<img[^>]*>", page))
        assert_styled(client, page)
        assert "style=" not in page


def assert_styled(client: FlaskClient, page: str) -> None:
    sheets = re.findall(r'<link rel="stylesheet" href="([^"]+)">', page)
    assert len(sheets) == 2
    for address in sheets:
        with client.get(address) as sheet:
            assert sheet.mimetype == "text/css"


def test_a_foreign_app_with_a_page_of_that_name_has_ours(settings: dict[str, Any]) -> None:
    app = Flask("foreign", template_folder="/nowhere", static_folder=None)
    app.config.update(settings)
    Mailer(app)
    app.register_blueprint(unsubscribe)
    of(app).database.upgrade()
    client = app.test_client()
    path = f"/unsubscribe/{mint(app.config, ADA)}"
    page = client.get(path)
    assert (page.status_code, form(page.text)) == (200, (path, "Unsubscribe"))
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert_styled(client, page.text)
    assert client.post(path).status_code == 200
    assert suppressed(app) == [("ada@example.com", "weekly_news", "unsubscribe")]
    of(app).close()
