"""Suppressions in the console"""

from __future__ import annotations

import re
from html import unescape

from flask import Flask

from mailer import dispatch
from mailer.dev.catcher import Catcher
from mailer.ops import parts
from mailer.state import of

from .conftest import SignIn, submit

PATH = "/ops/suppressions"


def test_an_address_is_suppressed_and_removed_again(
    app: Flask, sign_in: SignIn, catcher: Catcher
) -> None:
    browser = sign_in("operator")

    answer = submit(browser, PATH, address="Ann@Example.com")

    assert answer.status_code == 303
    page = browser.get(answer.location).text
    assert "gets no mail at all." in page
    assert "by member operator" in page
    assert 'href="/ops/emails?recipient=ann@example.com"' in page
    with app.app_context():
        dispatch(subject="One", text="x", to="ann@example.com")
    assert catcher.messages() == []
    (found,) = of(app).ledger.suppressions_of(["ann@example.com"])

    submit(browser, f"{PATH}/{found.id}/remove", at=PATH)

    assert of(app).ledger.suppressions_of(["ann@example.com"]) == []
    assert "ann@example.com gets mail again." in browser.get(PATH).text


def test_a_wrong_address_and_a_wrong_category_are_named(app: Flask, sign_in: SignIn) -> None:
    browser = sign_in("operator")
    wrong = submit(browser, PATH, address="<b>ann")
    assert wrong.status_code == 422
    assert "expected" in wrong.text
    assert 'value="&lt;b&gt;ann"' in wrong.text
    wrong = submit(browser, PATH, address="ann@example.com", category="News Letter")
    assert "category: expected " in wrong.text
    assert of(app).ledger.suppressions(10).suppressions == []


def test_they_are_found_by_address_origin_and_category(app: Flask, sign_in: SignIn) -> None:
    ledger = of(app).ledger
    ledger.suppress(["ann@example.com"], origin="bounce", words="550 no <i>such</i> user")
    ledger.suppress(["ben@example.com"], origin="unsubscribe", category="newsletter")
    browser = sign_in("viewer")

    def found(query: str) -> list[str]:
        page = browser.get(f"{PATH}?{query}").text
        return [name for name in ("ann", "ben") if f"{name}@example.com</a>" in page]

    assert found("") == ["ann", "ben"]
    assert found("address=BEN@example.com") == ["ben"]
    assert found("origin=bounce") == ["ann"]
    assert found("category=newsletter") == ["ben"]
    assert found("origin=bounce&category=newsletter") == []
    wrong = browser.get(f"{PATH}?origin=weather")
    page = wrong.text
    assert wrong.status_code == 422
    assert "origin: expected one of bounce, " in page
    assert "550 no &lt;i&gt;such&lt;/i&gt; user" in page
    assert (
        "carl@example.com is not suppressed."
        in browser.get(f"{PATH}?address=carl@example.com").text
    )


def test_links_lead_through_all_of_them_and_back(app: Flask, sign_in: SignIn) -> None:
    ledger = of(app).ledger
    number = parts.SHOWN * 2 + 1
    ledger.suppress([f"a{one:03}@example.com" for one in range(number)], origin="manual")
    browser, address, seen = sign_in("viewer"), f"{PATH}?origin=manual", []
    while address:
        page = browser.get(address).text
        seen.append(page.count("@example.com</a>"))
        address = _link(page, "next")
    assert seen == [parts.SHOWN, parts.SHOWN, 1]
    newer = _link(page, "prev")
    assert "origin=manual" in newer
    assert browser.get(newer).text.count("@example.com</a>") == parts.SHOWN


def _link(page: str, relation: str) -> str:
    found = re.search(rf'href="([^"]+)" rel="{relation}"', page)
    return unescape(found[1]) if found else ""
