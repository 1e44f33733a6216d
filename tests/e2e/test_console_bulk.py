"""The progress of a bulk send, in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from flask import Flask
from playwright.sync_api import Page, expect
from werkzeug.serving import make_server

from mailer import jobs, members
from mailer.dev.catcher import Catcher
from mailer.dev.ports import free_port
from mailer.state import of

from ..conftest import AppFactory
from .browser import PASSWORD, Watch, fits, upload
from .test_console import serious


@contextmanager
def serving(app: Flask, port: int) -> Iterator[None]:
    server = make_server("127.0.0.1", port, app, threaded=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def test_progress_is_shown_through_a_restart_and_without_a_worker(
    page: Page,
    make_app: AppFactory,
    catcher: Catcher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    app = make_app(MAIL_PORT=catcher.smtp_port, MAILER_BASE_URL=url, MAILER_SWEEP_SECONDS=0.5)
    state = of(app)
    monkeypatch.setattr(state.jobs_bell, "ring", lambda *of_what: False)
    members.add(state.database, "ada", "operator", PASSWORD, actor="test")
    people = tmp_path / "people.csv"
    rows = [f"p{number}@shop.example,https://a.example" for number in range(300)]
    people.write_text("\n".join(["email,start_url", *rows]))

    def work(tell: Callable[[dict[str, object]], None] = lambda told: None) -> None:
        with app.app_context():
            jobs.run(state, page.url.rpartition("/")[2], tell)

    watch = Watch(page)
    count = page.locator("[data-count]")
    with serving(app, port):
        upload(page, url, "ada", people)
        expect(page.get_by_text("no worker has taken it for")).to_be_visible(timeout=20_000)
        work()
        start = page.get_by_role("button", name="Start")
        expect(start).to_be_visible(timeout=20_000)
        expect(count).to_have_text("0 of 300", timeout=20_000)
        expect(page.get_by_text("no worker has taken it for")).to_be_hidden()
        preview = page.frame_locator("iframe").first.get_by_role("link").first
        expect(preview).to_be_visible(timeout=20_000)
        assert fits(page)
        start.click()
        expect(page.get_by_text("Started.")).to_be_visible(timeout=20_000)
        assert watch.complaints == []
    expect(page.get_by_text("The service does not answer; trying again.")).to_be_visible(
        timeout=30_000
    )
    with serving(app, port):
        work()
        expect(count).to_have_text("300 of 300", timeout=30_000)
        expect(page.get_by_text("The service does not answer; trying again.")).to_be_hidden()
        expect(page.get_by_text("300 of 300 rows were accepted")).to_be_visible(timeout=30_000)


def test_what_became_of_many_emails_is_counted_while_one_looks(
    page: Page,
    make_app: AppFactory,
    catcher: Catcher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mailer.bulk.COUNTED_AT_ONCE", 40)
    catcher.script("rcpt", "550 5.1.1 no such user", address="p7@shop.example")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    app = make_app(MAIL_PORT=catcher.smtp_port, MAILER_BASE_URL=url)
    members.add(of(app).database, "ada", "operator", PASSWORD, actor="test")
    people = tmp_path / "people.csv"
    rows = [f"p{number}@shop.example,https://a.example" for number in range(150)]
    people.write_text("\n".join(["email,start_url", *rows]))
    watch = Watch(page)
    with serving(app, port):
        upload(page, url, "ada", people)
        page.get_by_role("button", name="Start").click()
        expect(page.get_by_text("150 of 150 counted")).to_be_visible(timeout=20_000)
        expect(page.get_by_role("link", name="Sent 149")).to_be_visible()
        assert fits(page)
        assert serious(page) == []
        page.get_by_role("button", name="Count again").press("Enter")
        expect(page.get_by_text("counted so far")).to_have_count(0)
        expect(page.get_by_text("150 of 150 counted")).to_be_visible()
        page.get_by_role("link", name="Failed 1").press("Enter")
        expect(page.get_by_role("row")).to_have_count(2)
        expect(page.get_by_role("link", name="p7@shop.example")).to_be_visible()
        assert watch.complaints == []
