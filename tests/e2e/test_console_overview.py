"""The chart of the console's first page, in a real browser."""

from __future__ import annotations

import re
from threading import Thread

from flask import Flask
from playwright.sync_api import Browser, expect
from werkzeug.serving import make_server

from mailer import delivery, dispatch, members
from mailer.dev.catcher import Catcher
from mailer.state import of

from ..conftest import AppFactory
from .browser import PASSWORD, Watch, sign_in


def send(app: Flask) -> None:
    with app.app_context():
        dispatch(subject="Hello", text="t", to="ada@example.com")
        delivery.drain(of(app), "default")


def test_the_chart_is_drawn_and_goes_on_by_itself(
    browser: Browser,
    make_app: AppFactory,
    catcher: Catcher,
) -> None:
    server = make_server("127.0.0.1", 0, Flask("later"), threaded=True)
    url = f"http://127.0.0.1:{server.server_port}"
    server.app = app = make_app(
        MAIL_PORT=catcher.smtp_port, MAILER_BASE_URL=url, CELERY={"broker_url": "memory://"}
    )
    members.add(of(app).database, "ada", "viewer", PASSWORD, actor="test")
    send(app)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        page = browser.new_page()
        watch = Watch(page)
        sign_in(page, url, "ada")
        chart = page.locator("[data-chart=flow] canvas")
        expect(chart).to_be_visible()
        expect(page.locator("#flow tbody tr")).to_have_count(60)
        page.evaluate("document.querySelector('[data-chart=flow] canvas').dataset.same = 'yes'")
        send(app)
        sent = page.locator(".tile", has_text="Sent").first.locator(".value")
        expect(sent).to_have_text("2", timeout=15_000)
        expect(chart).to_have_attribute("data-same", "yes")  # the same chart, with new numbers
        expect(chart).to_be_visible()
        legend = page.locator("[data-chart=flow] .u-legend")
        # Of the newest minute, as no pointer is there.
        expect(legend).to_contain_text(re.compile(r"From\w.*Accepted\dSent\d"))
        assert watch.complaints == []
        page.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
