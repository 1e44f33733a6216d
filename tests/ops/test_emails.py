"""The list of emails: what it shows, finds and refuses."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from mailer import dispatch
from mailer.dev.catcher import Catcher
from mailer.inbound.told import Told
from mailer.ledger import Filters, search
from mailer.ops.routes import emails
from mailer.state import of

from .conftest import SignIn


@pytest.fixture
def browser(app: Flask, catcher: Catcher, sign_in: SignIn) -> FlaskClient:
    """A viewer's, with a few emails in the ledger."""
    catcher.script("rcpt", "550 5.1.1 No such user here", address="gone*")
    with app.app_context():
        send("ada@example.com", subject="Your invoice 7", tags={"kind": "invoice"})
        send("gone@example.com", subject="Your order", lane="bulk")
        dispatch("welcome", to="Ben <ben@example.com>", context={"start_url": "https://a.example"})
    return sign_in("viewer")


def send(to: str, **more: Any) -> str:
    return dispatch(to=to, text="Hello.", **more).id


def recipients(page: str) -> list[str]:
    return re.findall(r'<th scope="row"><a href="[^"]+">([^<]+)</a>', page)


def test_a_row_says_who_got_what_and_what_was_said(browser: FlaskClient) -> None:
    page = browser.get("/ops/emails").text

    assert recipients(page) == ["ben@example.com", "gone@example.com", "ada@example.com"]
    assert '<span class="state bad">failed</span>' in page
    assert '<span class="state good">sent</span>' in page
    assert ">Your order</td>" in page
    assert '<span class="mono">welcome</span>' in page
    assert ">550 5.1.1 No such user here</td>" in page


def test_what_was_reported_is_the_state(app: Flask, browser: FlaskClient) -> None:
    (row,) = of(app).ledger.list(Filters(recipient="ada@example.com"), 1)
    bounced = Told(
        kind="bounced", source="ses", source_id="1", once=None, email_id=row.email_id,
        reference=None, recipients=("ada@example.com",), occurred_at=None, permanent=True,
        code=550, enhanced="5.1.1", words="gone",
    )  # fmt: skip
    of(app).ledger.report([bounced], suppress_bounces=False)

    page = browser.get("/ops/emails?state=bounced").text

    assert recipients(page) == ["ada@example.com"]
    assert '<span class="state bad">bounced</span>' in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=failed", ["gone"]), ("template=welcome", ["ben"]), ("lane=bulk", ["gone"]),
        ("recipient=ada@example.com", ["ada"]), ("recipient=Ada+%3Cada@example.com%3E", ["ada"]),
        ("tag=kind", ["ada"]), ("tag=kind=invoice", ["ada"]), ("tag=kind=order", []),
        ("transport=default", ["ben", "gone", "ada"]), ("transport=other", []),
        ("code=550", ["gone"]), ("since=1h", ["ben", "gone", "ada"]), ("until=1h", []),
        ("since=2020-01-01&until=2020-01-02", []), ("q=invoice", ["ada"]),
        ("q=YOUR", ["gone", "ada"]), ("q=gone@example.com", ["gone"]), ("q=7", ["ada"]),
        ("q=your&state=failed", ["gone"]), ("q=cafe", []),
        ("state=&lane=&q=", ["ben", "gone", "ada"]),
    ],
)  # fmt: skip
def test_filters_stand_in_the_address(browser: FlaskClient, query: str, found: list[str]) -> None:
    answer = browser.get(f"/ops/emails?{query}")

    assert answer.status_code == 200
    assert recipients(answer.text) == [f"{name}@example.com" for name in found]


def test_an_id_its_beginning_and_a_message_id_lead_to_the_email(
    app: Flask, browser: FlaskClient
) -> None:
    (row,) = of(app).ledger.list(Filters(recipient="ada@example.com"), 1)
    email_id = row.email_id
    for text in (email_id, email_id[:30].upper(), f"<{email_id}@acme.example>"):
        answer = browser.get("/ops/emails", query_string={"q": text})
        assert (answer.status_code, answer.location) == (303, f"/ops/emails/{email_id}")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("state", "lost", "expected one of queued, sending, sent"),
        ("lane", "fast", "expected one of critical, default, bulk, got"),
        ("recipient", "nobody", "expected one address such as"),
        ("tag", "=x", "expected a name, or name=value, got"),
        ("code", "lots", "expected an SMTP code such as 451, got"),
        ("code", "²50", "expected an SMTP code such as 451, got"),
        ("since", "soon", "expected a time such as 2026-11-24T09:30, or 10m, 2h, 3d ago, got"),
        ("until", "9" * 99 + "w", "expected a time such as"),
        ("template", "x" * 400, "expected at most 320 characters, got 400"),
        ("q", "01020304-0506-7708-890a-0b0c0d0e0f10", "there is no email"),
        ("q", "a@b@c", "expected one address such as"),
    ],
)
def test_a_wrong_filter_is_named_with_its_value_and_left_out(
    browser: FlaskClient, field: str, value: str, expected: str
) -> None:
    answer = browser.get("/ops/emails", query_string={field: value})

    assert answer.status_code == 422
    (words,) = re.findall(rf'id="problem-{field}" role="alert">([^<]+)<', answer.text)
    assert words.startswith(f"{field}: {expected}")
    assert len(recipients(answer.text)) == 3
    assert 'class="live"' not in answer.text


@pytest.mark.parametrize("wrong", ["x", "9" * 19, "9" * 5000, "-1"])
def test_a_wrong_place_in_the_list_is_refused(browser: FlaskClient, wrong: str) -> None:
    for name in ("after", "before"):
        answer = browser.get(f"/ops/emails?{name}={wrong}")
        assert answer.status_code == 400
        assert f"{name}: expected a whole number, got" in answer.text


def test_pages_lead_to_older_and_newer_ones(
    app: Flask, browser: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emails, "_PAGE", 2)
    with app.app_context():
        for number in range(2):
            send(f"n{number}@example.com", subject=f"Your number {number}")

    first = browser.get("/ops/emails?since=1h").text
    assert recipients(first) == ["n1@example.com", "n0@example.com"]
    assert 'class="live"' in first
    assert 'rel="prev"' not in first
    second = browser.get(link(first, "next")).text
    assert recipients(second) == ["ben@example.com", "gone@example.com"]
    assert 'class="live"' not in second
    third = browser.get(link(second, "next")).text
    assert recipients(third) == ["ada@example.com"]
    assert 'rel="next"' not in third
    again = browser.get(link(third, "prev")).text
    assert recipients(again) == recipients(second)
    assert "since=1h" in link(again, "prev")
    assert recipients(browser.get(link(again, "prev")).text) == recipients(first)


def link(page: str, rel: str) -> str:
    (found,) = re.findall(rf'href="([^"]+)" rel="{rel}"', page)
    return str(found).replace("&amp;", "&")


def test_what_there_was_no_time_for_is_looked_for_further_back(
    browser: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_FIRST_WINDOW", 1)
    monkeypatch.setattr(search, "_GROWTH", 1)
    monkeypatch.setitem(search.search.__kwdefaults__ or {}, "seconds", 0)

    page = browser.get("/ops/emails?q=invoice").text

    assert "Nothing was found among what was accepted since" in page
    for _ in range(2):
        assert "Look further back" in page
        page = browser.get(link(page, "next")).text
    assert recipients(page) == ["ada@example.com"]


def test_an_empty_list_says_so(sign_in: SignIn) -> None:
    browser = sign_in()
    assert "No emails yet." in browser.get("/ops/emails").text
    assert "No emails match." in browser.get("/ops/emails?state=failed").text
