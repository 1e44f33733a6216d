"""Every page of the console with hostile words on it, in a real browser: nothing runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest
from flask import Flask
from playwright.sync_api import Browser
from werkzeug.serving import make_server

from mailer import members
from mailer.dev.catcher import Catcher
from mailer.ops.blueprint import VIEWS
from mailer.state import of

from ..ops.conftest import submit
from ..ops.crawler import Visited, crawl
from ..ops.hostile import KINDS
from ..ops.ways_in import World, hostile_app, plant
from ..receiver import receiver
from .browser import PASSWORD, Watch, sign_in

POLYGLOT = "'\"></title></textarea></select><img src=x onerror=alert(1)>"
WORDS = (POLYGLOT, *KINDS[:2])


NOTE_VIOLATIONS = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => violations.push(event.blockedURI));
"""


class Site(NamedTuple):
    """The service over HTTP, and what of it there is to be opened."""

    url: str
    visited: list[Visited]


@pytest.fixture
def site(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The service over HTTP, with words planted in every way."""
    monkeypatch.setattr(logging.getLogger("werkzeug"), "level", logging.ERROR)
    server = make_server("127.0.0.1", 0, Flask("reserves a port"), threaded=True)
    with ExitStack() as running:
        catcher, told = running.enter_context(Catcher()), running.enter_context(receiver())
        app, _ = hostile_app(tmp_path, redis_url, "browser", WORDS, catcher.smtp_port)
        monkeypatch.setattr(of(app).jobs_bell, "ring", lambda *of_what: False)
        _, addresses = plant(World(app, catcher, told), WORDS)
        members.add(of(app).database, "ann", "admin", PASSWORD, actor="test")
        client = app.test_client()
        submit(client, "/ops/sign-in", name="ann", password=PASSWORD)
        visited = list(crawl(app, client, "/ops/", *addresses))
        server.app = app
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield Site(f"http://127.0.0.1:{server.server_port}", visited)
        server.shutdown()
        thread.join()
        server.server_close()
        of(app).close()


def test_no_page_runs_what_somebody_wrote(site: Site, browser: Browser) -> None:
    page = browser.new_page()
    page.set_default_timeout(15_000)
    page.add_init_script(NOTE_VIOLATIONS)
    watch = Watch(page)
    opened: list[str] = []
    page.on("framenavigated", lambda frame: opened.append(frame.url))
    sign_in(page, site.url, "ann")
    addresses = {one.address: one.endpoint for one in site.visited if one.page.shapes}
    for address in addresses:
        page.goto(f"{site.url}{address}")
        assert page.locator("h1").count() == 1, address
        assert page.evaluate("violations") == [], address
    shown = {one.endpoint for one in VIEWS if one.method == "GET"}
    assert shown - set(addresses.values()) == {
        # Saved, read by a script, part of a page, or framed and so opened with it.
        "ops.email_source", "ops.email_attachment", "ops.bulk_report", "ops.result",
        "ops.bulk_became",
        "ops.email_html", "ops.bulk_preview", "ops.template_html", "ops.sign_in",
    }  # fmt: skip
    frames = [one for one in opened if one.endswith("/html") or "/preview/" in one]
    assert len(frames) > len(WORDS)
    # In a frame the policy's own refusals are reported on the console: they show that it holds.
    # An address that asks for what cannot be has a status of its own.
    expected = ("Blocked script execution", "violates the following", "status of 4")
    assert [one for one in watch.complaints if not any(words in one for words in expected)] == []
    page.close()
