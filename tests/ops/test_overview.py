"""The first page of the console."""

from __future__ import annotations

import re

import pytest
from flask import Flask

from mailer import dispatch
from mailer.dev.catcher import Catcher
from mailer.state import of

from ..conftest import let_time_pass
from .conftest import SignIn


@pytest.fixture
def mail(app: Flask, catcher: Catcher) -> None:
    """Two that are sent, one that is refused."""
    of(app).ledger.sweep()
    catcher.script("rcpt", "550 5.1.1 No <b>such</b> user", address="gone@example.com")
    with app.app_context():
        for name in ("ada", "ben", "gone"):
            dispatch(subject="Hello", text="t", to=f"{name}@example.com")


@pytest.mark.usefixtures("mail")
def test_it_says_whether_mail_flows_and_what_happened(sign_in: SignIn) -> None:
    page = sign_in("viewer").get("/ops/")
    assert page.status_code == 200
    assert "Mail is flowing" in page.text
    tiles = dict(re.findall(r'class="label">([^<]+)</span><span class="value">([^<]+)<', page.text))
    assert (tiles["Accepted"], tiles["Sent"], tiles["Failed"]) == ("3", "2", "1")
    assert re.fullmatch(r"(\d+\.\d s( · )?){3}", tiles["Sent within: half, 95 %, 99 %"])
    assert page.text.count("<tr data-at=") == 60
    assert "No &lt;b&gt;such&lt;/b&gt; user" in page.text
    assert re.search(r'href="/ops/failed/failed/[0-9a-f]{12}"', page.text)


def test_a_reason_leads_to_where_it_is_mended(
    app: Flask, catcher: Catcher, sign_in: SignIn
) -> None:
    ledger = of(app).ledger
    ledger.pause_transport("default", actor="<ada>")
    ledger.pause("bulk", actor="ben")
    with app.app_context():
        dispatch(subject="Hello", text="t", to="ada@example.com", lane="critical")
    let_time_pass(of(app).database, "due_at", 90)
    page = sign_in("viewer").get("/ops/").text
    verdict, _ = page.split("</section>", 1)
    links = dict(re.findall(r'<small><a href="([^"]+)">([^<]+)</a>', verdict))
    assert links == {
        "/ops/transports/default": "transport default is paused by &lt;ada&gt;",
        "/ops/transports": "lane bulk is paused by ben",
        "/ops/emails?lane=critical&amp;state=queued": "lane critical: mail has been due for 90 s",
    }


@pytest.mark.parametrize(("over", "rows"), [("hour", 60), ("day", 144), ("week", 168)])
@pytest.mark.usefixtures("mail")
def test_its_range_is_in_its_address(sign_in: SignIn, over: str, rows: int) -> None:
    browser = sign_in("viewer")
    for headers in ({}, {"HX-Request": "true"}):
        page = browser.get(f"/ops/?range={over}", headers=headers)
        assert page.text.count("<tr data-at=") == rows
        assert f'/ops/?range={over}" aria-current="true"' in page.text


def test_a_wrong_range_is_told_which_there_are(sign_in: SignIn) -> None:
    page = sign_in().get("/ops/?range=<year>")
    assert page.status_code == 400
    assert "range: expected one of hour, day, week, got &#39;&lt;year&gt;&#39;" in page.text


def test_without_the_ledgers_mail_it_is_still_a_page(app: Flask, sign_in: SignIn) -> None:
    browser = sign_in()
    with of(app).database.begin() as connection:
        connection.exec_driver_sql("DROP TABLE mailer_attempts")
    page = browser.get("/ops/")
    assert page.status_code == 200
    assert "What it runs on" in page.text
