"""The console as the person on call uses it, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from playwright.sync_api import Browser, Page, expect

from mailer import dispatch, members
from mailer.db import Database
from mailer.dev.catcher import Catcher
from mailer.models import Act, Delivery

from .. import javascript
from ..worker import wait_until
from .browser import DESKTOP, PASSWORD, PHONE, Watch, fits, sign_in, upload

AXE = javascript.FOLDER / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = {"serious", "critical"}


@pytest.fixture
def database(stack: dict[str, Any], site: str) -> Iterator[Database]:
    """The site's ledger, with a member who may do everything."""
    opened = Database(stack["MAILER_DATABASE_URL"])
    members.add(opened, "ann", "admin", PASSWORD, actor="test")
    yield opened
    opened.close()


@pytest.fixture
def console(page: Page, site: str, database: Database) -> str:
    """Sign in as a person does; return the console's address."""
    sign_in(page, site, "ann", "/ops/failed")
    expect(page.get_by_role("heading", level=1)).to_have_text("Failed")
    return f"{site}/ops"


def serious(page: Page) -> list[str]:
    """Return what axe finds that keeps people out."""
    javascript.require()
    page.evaluate(Path(AXE).read_text())  # the policy lets no script in; the debugger may
    found = page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{one['id']}: {node['html'][:200]}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]


def test_a_failure_appears_is_retried_and_seen_sent(
    page: Page, console: str, app: Flask, catcher: Catcher
) -> None:
    watch = Watch(page)
    rule = catcher.script("rcpt", "550 5.7.1 We take no <b>mail</b> from you", address="b*")
    expect(page.get_by_text("Nothing failed")).to_be_visible()
    with app.app_context():
        for recipient in ("ben@example.com", "bea@example.com"):
            dispatch(subject="Hello", text="Hello.", to=recipient)
    # It comes by itself.
    reason = page.get_by_role("link", name="We take no <b>mail</b> from you")
    expect(reason).to_be_visible(timeout=15_000)
    assert fits(page)
    assert serious(page) == []

    reason.click()
    expect(page.get_by_role("checkbox")).to_have_count(2)
    assert fits(page)
    assert serious(page) == []
    catcher.rules.remove(rule.id)
    page.get_by_role("button", name="Retry…").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Retry: 2 deliveries")
    assert serious(page) == []
    assert catcher.messages() == []
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("Done in")).to_be_visible(timeout=15_000)
    assert fits(page)
    assert serious(page) == []
    catcher.wait_for(2)
    page.get_by_role("link", name="What failed").click()
    expect(page.get_by_role("link", name="Retry 2 deliveries")).to_be_visible()
    assert watch.complaints == []


def test_an_unknown_delivery_is_resolved_with_the_keyboard_alone(
    page: Page, console: str, app: Flask, database: Database
) -> None:
    watch = Watch(page)
    with app.app_context():
        dispatch(subject="Hello", text="Hello.", to="ada@example.com")
    wait_until(lambda: _status(database) == "sent", 10, lambda: str(_status(database)))
    with database.begin() as connection:
        connection.execute(sa.update(Delivery).values(status="unknown", reason="lost"))
    page.goto(f"{console}/failed")
    _tab_to(page, "lost")
    page.keyboard.press("Enter")
    expect(page.get_by_text("nobody heard whether the server took it")).to_be_visible()
    _tab_to(page, "The server has it…")
    page.keyboard.press("Enter")
    expect(page.get_by_text("They count as sent")).to_be_visible()
    _tab_to(page, "The server has it")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Done in")).to_be_visible(timeout=15_000)
    assert _status(database) == "sent"
    assert watch.complaints == []


def test_the_console_says_that_the_service_is_gone_and_comes_back(page: Page, console: str) -> None:
    expect(page.locator("#lost")).to_be_hidden()
    page.route("**/ops/failed", lambda route: route.abort())
    expect(page.locator("#lost")).to_be_visible(timeout=15_000)
    page.unroute("**/ops/failed")
    expect(page.locator("#lost")).to_be_hidden(timeout=15_000)


def test_every_page_of_the_menu_is_fit_for_everybody(page: Page, console: str) -> None:
    watch = Watch(page)
    links = page.get_by_role("navigation").get_by_role("link")
    for address in [one.get_attribute("href") for one in links.all()]:
        page.goto(f"{console.removesuffix('/ops')}{address}")
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        assert fits(page), address
        page.emulate_media(color_scheme="dark")
        assert serious(page) == [], address
        page.emulate_media(color_scheme="light")
        assert serious(page) == [], address
    page.context.clear_cookies()
    page.goto(f"{console}/sign-in")
    assert serious(page) == []
    assert watch.complaints == []


def test_an_instant_has_its_zone_and_says_what_it_is_in_utc(
    browser: Browser, site: str, database: Database
) -> None:
    with database.begin() as connection:
        at = datetime(2026, 11, 30, 9, 15, 56, tzinfo=UTC).timestamp()
        connection.execute(sa.update(Act).values(at=at))
    page = browser.new_context(
        viewport=PHONE, locale="en-US", timezone_id="America/New_York"
    ).new_page()
    sign_in(page, site, "ann", "/ops/audit")
    shown = page.locator("time").last
    # Chromium has a narrow space before AM.
    expect(shown).to_have_text(re.compile(r"^Nov 30, 2026, 4:15:56.AM EST$"))
    expect(shown).to_have_attribute("title", "2026-11-30 09:15:56 UTC")
    assert fits(page)
    page.context.close()


def test_the_address_of_a_row_that_is_left_out_stands_in_a_line(
    browser: Browser, site: str, database: Database, tmp_path: Path
) -> None:
    address = "somebody.with.a.long.name@department.shop.example"
    people = tmp_path / "people.csv"
    people.write_text("email,start_url\n" + f"{address},https://a.example\n" * 2)
    page = browser.new_context(viewport=DESKTOP).new_page()
    upload(page, site, "ann", people)
    cell = page.get_by_role("cell", name=address)
    expect(cell).to_be_visible(timeout=20_000)
    line = page.get_by_role("rowheader", name="3", exact=True)
    assert cell.evaluate("one => one.getBoundingClientRect().height") < 60
    assert line.evaluate("one => one.getBoundingClientRect().width") < 100
    page.context.close()


def test_what_is_not_there_leads_back_into_the_console(page: Page, console: str) -> None:
    page.goto(f"{console}/transports/default/test")
    expect(page.get_by_role("heading", level=1)).to_have_text("Transport default")
    page.goto(f"{console}/emails/none")
    expect(page.get_by_role("alert")).to_contain_text("There is no email 'none'.")
    assert fits(page)
    assert serious(page) == []
    expect(page.get_by_role("navigation").get_by_role("link", name="Emails")).to_be_visible()
    page.get_by_role("link", name="To the overview").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


def _status(database: Database) -> str | None:
    with database.read() as connection:
        return connection.scalar(sa.select(Delivery.status))


def _tab_to(page: Page, name: str) -> None:
    """Move the focus as a keyboard does, until it is on what is called so."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.innerText || ''")
        if focused.strip().endswith(name):
            return
    raise AssertionError(f"the keyboard does not get to {name!r}")
