"""What goes wrong in the console is said in the console."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from mailer import members, overview
from mailer.errors import LedgerUnavailable
from mailer.state import of

from .conftest import PASSWORD, SignIn, submit, token


def is_in_frame(answer: TestResponse) -> bool:
    """Say whether a refusal has the console's menu, and leads nowhere else."""
    links = re.findall(r'<a [^>]*href="(/[^"]*)"', answer.text)
    return 'aria-label="Console"' in answer.text and all(one.startswith("/ops/") for one in links)


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/ops/keys", 403, "This takes the role admin or more; viewer is viewer."),
        ("/ops/emails/0193", 404, "There is no email &#39;0193&#39;."),
        ("/ops/no-such-page", 404, "There is no page at this address."),
        ("/ops/emails/x/y/z", 404, "There is no page at this address."),
        ("/ops/?range=year", 400, "range: expected one of hour, day, week, got &#39;year&#39;"),
    ],
)
def test_a_refusal_keeps_the_menu(sign_in: SignIn, address: str, status: int, words: str) -> None:
    answer = sign_in("viewer").get(address)
    assert answer.status_code == status
    assert words in answer.text
    assert is_in_frame(answer)


def test_a_form_that_is_refused_keeps_the_menu(sign_in: SignIn) -> None:
    browser = sign_in("viewer")
    answer = browser.post("/ops/lanes/bulk/pause", data={"csrf_token": "x"})
    assert answer.status_code == 400
    assert is_in_frame(answer)
    csrf = token(browser.get("/ops/").text)
    answer = browser.post("/ops/lanes/bulk/pause", data={"csrf_token": csrf})
    assert answer.status_code == 403
    assert is_in_frame(answer)


def test_a_bug_is_shown_with_the_request_that_the_log_names(
    app: Flask,
    sign_in: SignIn,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    browser = sign_in("viewer")

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    app.config["PROPAGATE_EXCEPTIONS"] = False
    monkeypatch.setattr(overview, "look", fail)
    answer = browser.get("/ops/")
    assert answer.status_code == 500
    said = re.search("It has been recorded as request ([0-9a-f]{32})[.]", answer.text)
    assert said
    assert is_in_frame(answer)
    assert any(f"request={said[1]} " in line and "ZeroDivision" in line for line in caplog.messages)


def test_without_the_ledger_the_console_says_so(
    app: Flask, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = sign_in("viewer")

    def fail(*_: object, **__: object) -> None:
        raise LedgerUnavailable("the database is locked")

    monkeypatch.setattr(members, "visitor", fail)
    answer = browser.get("/ops/audit")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "nothing was stored" in answer.text
    assert 'href="/ops/"' in answer.text
    assert 'href="/"' not in answer.text


@pytest.mark.parametrize(
    ("form", "around"),
    [
        ("/ops/transports/main/test", "/ops/transports/main"),
        ("/ops/emails/0193/retry", "/ops/emails/0193"),
        ("/ops/webhooks/1/events/2/replay", "/ops/webhooks/1/events/2"),
        ("/ops/keys/1/revoke", "/ops/keys"),
        ("/ops/lanes/bulk/pause", "/ops/"),
        ("/ops/jobs", "/ops/"),
        ("/ops/sign-out", "/ops/"),
    ],
)
def test_the_address_of_a_form_leads_to_the_page_around_it(
    sign_in: SignIn, form: str, around: str
) -> None:
    answer = sign_in("viewer").get(form)
    assert (answer.status_code, answer.location) == (303, around)


def test_who_has_to_sign_in_again_comes_back_to_the_page_of_the_form(app: Flask) -> None:
    members.add(of(app).database, "ann", "operator", PASSWORD, actor="test")
    browser = app.test_client()
    answer = submit(browser, "/ops/transports/main/test", at="/ops/sign-in")
    assert answer.location == "/ops/sign-in?next=/ops/transports/main/test"
    words = "Your visit had ended: nothing was done."
    assert words in browser.get(answer.location).text
    assert words not in browser.get(answer.location).text
    assert words not in browser.get("/ops/transports", follow_redirects=True).text
    answer = submit(browser, answer.location, name="ann", password=PASSWORD)
    answer = browser.get(answer.location)
    assert answer.location == "/ops/transports/main"
