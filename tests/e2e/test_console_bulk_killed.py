"""A bulk send whose worker and web server are killed, as the open page shows it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from playwright.sync_api import Browser, Page, expect

from mailer import members
from mailer.db import Database
from mailer.dev.catcher import Catcher
from mailer.dev.ports import free_port
from mailer.dev.services import answers_http
from mailer.ledger.jobs import LEASE_SECONDS
from mailer.models import BulkRow, Delivery, Job
from mailer.state import of

from ..worker import Process, beat, environment, wait_until, worker
from .browser import PASSWORD, Watch, upload
from .test_production import started

ROWS = 3_000
TOTAL = "3\u202f000"


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def stack(stack: dict[str, Any], port: int) -> dict[str, Any]:
    return {**stack, "MAILER_BASE_URL": f"http://127.0.0.1:{port}"}


@pytest.fixture
def opened(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.set_default_timeout(30_000)
    expect.set_options(timeout=30_000)
    yield page
    expect.set_options(timeout=5_000)
    page.close()


@contextmanager
def serving(stack: dict[str, Any], port: int, log: Path) -> Iterator[Process]:
    """Run the web server of the Procfile; yield once it answers."""
    bind = f"127.0.0.1:{port}"
    with started("web", environment(stack), log, "--bind", bind, "--workers", "1") as process:
        wait_until(lambda: answers_http(port)(process.output), 30, lambda: process.output)
        yield process


def accepted(database: Database) -> int:
    with database.read() as connection:
        return connection.scalar(sa.select(Job.changed)) or 0


@contextmanager
def killed_midway(process: Process, database: Database) -> Iterator[None]:
    """Kill a worker once it has accepted some rows, however quick it is."""

    def kill() -> None:
        wait_until(lambda: accepted(database), 60, lambda: process.output)
        process.kill()

    thread = Thread(target=kill)
    thread.start()
    yield
    thread.join()
    assert process.exit_code == -9
    assert 0 < accepted(database) < ROWS


def test_the_page_tells_of_a_dead_worker_and_goes_on_with_the_next(  # noqa: PLR0917
    app: Flask, stack: dict[str, Any], port: int, catcher: Catcher, opened: Page, tmp_path: Path
) -> None:
    page, database, url = opened, of(app).database, stack["MAILER_BASE_URL"]
    members.add(database, "ada", "operator", PASSWORD, actor="test")
    people = tmp_path / "people.csv"
    rows = [f"p{number}@shop.example,https://a.example" for number in range(ROWS)]
    people.write_text("\n".join(["email,start_url", *rows]))
    count, words = page.locator("[data-count]"), page.locator("[data-words]")
    options = ("--queues", "mailer.jobs", "--concurrency", "1")

    with serving(stack, port, tmp_path / "web.log") as web:
        with worker(stack, tmp_path / "killed.log", *options) as process:
            watch = Watch(page)
            upload(page, url, "ada", people)
            start = page.get_by_role("button", name="Start")
            expect(start).to_be_visible()
            with killed_midway(process, database):
                start.click()
        page.evaluate("window.isSame = true")
        expect(words).to_contain_text("nothing was heard of its worker for")
        expect(page.locator("[data-pace]")).to_have_text("")
        expect(count).not_to_contain_text(f"{TOTAL} of")
        assert watch.complaints == []
        web.kill()
    expect(words).to_have_text("The service does not answer; trying again.")
    with database.begin() as connection:  # as time would
        lease = sa.type_coerce(Job.lease_until, sa.Double) - LEASE_SECONDS
        connection.execute(sa.update(Job).values(lease_until=lease))
    with serving(stack, port, tmp_path / "web.log"), beat(stack, tmp_path / "beat.log"):
        expect(words).to_contain_text("no worker has taken it for")
        with worker(stack, tmp_path / "next.log", "--concurrency", "1") as process:
            expect(count).to_have_text(f"{TOTAL} of {TOTAL}", timeout=90_000)
            expect(words).to_be_hidden()
            expect(page.get_by_text("rows were accepted as emails in")).to_be_visible()
            assert page.evaluate("window.isSame"), "the page was loaded again"
            wait_until(lambda: len(catcher.messages()) >= ROWS, 120, lambda: process.output[-2000:])
        with page.expect_download() as download:
            page.get_by_role("link", name="Report").click()
    with download.value.path().open(newline="") as file:
        report = list(csv.DictReader(file))
    with database.read() as connection:
        emails = list(connection.scalars(sa.select(Delivery.email_id)))
        told = set(connection.scalars(sa.select(BulkRow.email_id)))
    assert [int(row["line"]) for row in report] == list(range(2, ROWS + 2))
    assert {row["state"] for row in report} == {"sent"}
    assert len(emails) == ROWS
    assert set(emails) == told == {row["email_id"] for row in report}
    recipients = [one for message in catcher.messages() for one in message.recipients]
    assert sorted(recipients) == sorted(f"p{number}@shop.example" for number in range(ROWS))
