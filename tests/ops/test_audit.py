"""The audit in the console"""

from __future__ import annotations

from flask import Flask

from mailer import dispatcher

from .conftest import SignIn, submit

PATH = "/ops/audit"


def test_who_did_what_is_shown_and_found(app: Flask, sign_in: SignIn) -> None:
    with app.app_context():
        dispatcher.pause("bulk", actor="<b>ann</b>")
    browser = sign_in("operator")
    submit(browser, "/ops/lanes/bulk/resume", at="/ops/transports")

    page = browser.get(PATH).text

    assert "&lt;b&gt;ann&lt;/b&gt;</a>" in page
    assert 'href="/ops/audit?actor=member+operator">member operator</a>' in page
    assert '<td data-label="To">lane bulk</td>' in page
    assert '<td data-label="Did">sign in</td>' in page
    found = browser.get(f"{PATH}?actor=member+operator&action=resume&since=1").text
    assert '<td data-label="Did">resume</td>' in found
    assert '<td data-label="Did">sign in</td>' not in found
    assert "Nobody did anything that matches." in browser.get(f"{PATH}?actor=nobody").text


def test_wrong_filters_are_named(sign_in: SignIn) -> None:
    browser = sign_in("viewer")
    answer = browser.get(f"{PATH}?action=dance&since=zzz")
    assert answer.status_code == 422
    assert "action: expected one of retry, " in answer.text
    assert "got &#39;dance&#39;. It was left out." in answer.text
    words = "since: expected one of 1, 24, 168 hours, got &#39;zzz&#39;. It was left out."
    assert words in answer.text
    assert answer.text.count('<select name="') == answer.text.count('aria-invalid="true"') == 2
    assert '<td data-label="Did">sign in</td>' in answer.text
    assert "after: expected a whole number" in browser.get(f"{PATH}?after=x").text
