"""Hostile emails in the console, in a real browser."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from threading import Thread

import pytest
from flask import Flask
from playwright.sync_api import Browser, expect
from werkzeug.serving import make_server

from mailer import dispatch, members
from mailer.content import Attachment
from mailer.dev.catcher import Catcher
from mailer.state import of

from ..conftest import AppFactory
from ..ops.hostile import PAYLOADS
from ..ops.ways_in import Say, World, email
from ..receiver import receiver
from .browser import PASSWORD, Watch, sign_in
from .test_browser import HTML
from .test_console import serious


@pytest.fixture
def console(
    make_app: AppFactory, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Flask, str]]:
    """The service over HTTP, sending within the call that dispatches; and its address."""
    monkeypatch.setattr(logging.getLogger("werkzeug"), "level", logging.ERROR)
    server = make_server("127.0.0.1", 0, Flask("reserves a port"), threaded=True)
    url = f"http://127.0.0.1:{server.server_port}"
    app = make_app(MAIL_PORT=catcher.smtp_port, MAILER_BASE_URL=url)
    server.app = app
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield app, url
    server.shutdown()
    thread.join()
    server.server_close()


def test_hostile_emails_run_nothing_in_the_console(
    console: tuple[Flask, str], catcher: Catcher, browser: Browser
) -> None:
    app, url = console
    members.add(of(app).database, "ann", "operator", PASSWORD, actor="test")
    said = [Say(payload) for payload in PAYLOADS[:20]]
    with receiver() as told:
        for say in said:
            email(World(app, catcher, told), say)
    paths = [say.addresses[0].partition("?")[0] for say in said]
    catcher.rules.clear()
    with app.app_context():
        picture = Attachment(
            filename="x.svg", content_id="x", content_type="image/svg+xml",
            data=b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        )  # fmt: skip
        html = f'{HTML}<img src="cid:x">'
        framed = dispatch(to="ada@example.com", subject="x", html=html, attachments=[picture]).id
    page = browser.new_page()
    page.set_default_timeout(10_000)
    watch = Watch(page)
    sign_in(page, url, "ann", "/ops/emails")
    expect(page.get_by_role("row")).to_have_count(2 * len(paths) + 2)
    assert serious(page) == []
    for path in paths:
        page.goto(f"{url}{path}?tab=text")
        expect(page.get_by_text("What happened")).to_be_visible()
    for payload in PAYLOADS[:5]:
        page.get_by_role("link", name="Emails", exact=True).click()
        page.get_by_label("Search").fill(payload)
        page.keyboard.press("Enter")
        expect(page.get_by_label("Search")).to_have_value(payload)
    page.goto(f"{url}{paths[0]}?tab=attachments")
    assert serious(page) == []
    assert watch.complaints == []

    page.goto(f"{url}/ops/emails/{framed}")
    frame = page.frame_locator("iframe")
    frame.get_by_text("click").click()
    expect(page.get_by_text("What happened")).to_be_visible()
    # The policy's own refusals are reported on the console: they show that it holds.
    refused = ("Content Security Policy", "sandboxed", "Blocked", "ERR_BLOCKED")
    assert [line for line in watch.complaints if not any(words in line for words in refused)] == []
    assert page.url == f"{url}/ops/emails/{framed}"
