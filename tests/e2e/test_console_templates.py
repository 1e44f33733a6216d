"""A template's page in a real browser: shown while one types, and nothing runs in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from flask import Flask
from playwright.sync_api import Browser, expect
from werkzeug.serving import make_server

from mailer import members
from mailer.state import of

from ..conftest import AppFactory
from .browser import DESKTOP, PASSWORD, Watch, sign_in


@pytest.fixture
def site(make_app: AppFactory, tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "emails" / "hostile"
    folder.mkdir(parents=True)
    (folder / "subject.txt").write_text("Hostile")
    (folder / "body.html").write_text(
        "<style>p { color: rgb(1, 2, 3) }</style><p>{{ name }}</p><script>alert(1)</script>"
        '<img src="https://tracker.example/x.png" onerror="alert(2)">'
        '<form action="https://tracker.example/"><button>Go</button></form>'
    )
    (folder / "sample.json").write_text('{"name": "Ada"}')
    server = make_server("127.0.0.1", 0, Flask("reserves a port"), threaded=True)
    url = f"http://127.0.0.1:{server.server_port}"
    app = make_app(MAILER_BASE_URL=url, MAILER_TEMPLATES=str(tmp_path / "emails"))
    members.add(of(app).database, "ann", "viewer", PASSWORD, actor="test")
    server.app = app
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield url
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_template_is_shown_while_one_types_and_nothing_of_it_runs(
    browser: Browser, site: str
) -> None:
    page = browser.new_context(viewport=DESKTOP).new_page()
    watch = Watch(page)
    sign_in(page, site, "ann", "/ops/templates/hostile")
    frame = page.frame_locator("iframe[name=preview]")
    expect(frame.locator("p")).to_have_text("Ada")
    expect(frame.locator("p")).to_have_css("color", "rgb(1, 2, 3)")
    shown = page.locator("iframe[name=preview]").bounding_box()
    assert shown is not None
    assert shown["y"] < DESKTOP["height"] / 2  # beside the form, not below it

    page.get_by_label("As JSON").fill(json.dumps({"name": "Ben <script>alert(3)</script>"}))
    expect(frame.locator("p")).to_have_text("Ben <script>alert(3)</script>")

    # Too long for an address: the form sends it into the frame, as often as one likes.
    for letter in "xy":
        page.get_by_label("As JSON").fill(json.dumps({"name": letter * 5000}))
        expect(page.get_by_text("too long to be shown")).to_be_visible()
        page.get_by_role("button", name="Preview").click()
        expect(frame.locator("p")).to_have_text(letter * 5000)

    page.get_by_label("phone").check()
    width = page.locator("iframe[name=preview]").bounding_box()
    assert width is not None
    assert width["width"] == 360
    frame.get_by_role("button", name="Go").click()
    expect(frame.locator("p")).to_have_text("y" * 5000)
    blocked = ("Blocked script execution", "Blocked form submission", "violates the following")
    assert [one for one in watch.complaints if not any(words in one for words in blocked)] == []
    page.context.close()
