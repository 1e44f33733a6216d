"""The scheduler is missed within a minute, and a worker sweeps in its place."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask import Flask

from mailer import dispatch, watch
from mailer.db import Database
from mailer.ledger import Ledger
from mailer.models import Sweeps
from mailer.state import of
from mailer.tasks import send_email, sweep

from .conftest import AppFactory, let_time_pass
from .test_ledger import accept, draft, statuses
from .worker import wait_until, worker


def nobody_sweeps_for(database: Database, seconds: float) -> None:
    """Shift both instants into the past."""
    columns = Sweeps.__table__.c
    with database.begin() as connection:
        connection.execute(
            sa.update(Sweeps).values(
                {
                    name: sa.type_coerce(columns[name], sa.Double) - seconds
                    for name in ("swept_at", "scheduled_at")
                }
            )
        )


def with_lapsed_lease(ledger: Ledger) -> None:
    accept(ledger, draft())
    ledger.claim("default", 1)
    let_time_pass(ledger.database, "lease_until", 3600)


def test_a_sweep_is_remembered(ledger: Ledger) -> None:
    nobody_sweeps_for(ledger.database, 300)
    assert (ledger.counts().scheduler_seconds or 0) == pytest.approx(300, abs=10)
    ledger.sweep()
    assert (ledger.counts().scheduler_seconds or 99) < 10


def test_nobody_stands_in_while_the_scheduler_sweeps(ledger: Ledger) -> None:
    with_lapsed_lease(ledger)
    nobody_sweeps_for(ledger.database, 50)
    assert ledger.stand_in(after_seconds=60) is None
    assert statuses(ledger) == ["sending"]


def test_one_of_many_workers_at_once_stands_in(ledger: Ledger) -> None:
    with_lapsed_lease(ledger)
    nobody_sweeps_for(ledger.database, 70)
    start = threading.Barrier(6)
    swept = []

    def work() -> None:
        start.wait()
        swept.append(ledger.stand_in(after_seconds=60))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (one,) = [found for found in swept if found]
    assert one.crashed == 1
    assert statuses(ledger) == ["queued"]


def test_a_worker_that_stands_in_is_not_taken_for_the_scheduler(ledger: Ledger) -> None:
    nobody_sweeps_for(ledger.database, 70)
    assert ledger.stand_in(after_seconds=60) is not None
    assert (ledger.counts().scheduler_seconds or 0) >= 70


def test_several_schedulers_at_once_are_harmless(ledger: Ledger) -> None:
    for _ in range(20):
        accept(ledger, draft())
    ledger.claim("default", 20)
    let_time_pass(ledger.database, "lease_until", 3600)
    start = threading.Barrier(4)
    crashed: list[int] = []
    failed: list[Exception] = []

    def beat() -> None:
        start.wait()
        try:
            crashed.extend(ledger.sweep().crashed for _ in range(10))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=beat) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sum(crashed) == 20


@pytest.fixture
def app(make_app: AppFactory) -> Flask:
    return make_app(MAIL_SUPPRESS_SEND=True, CELERY={"broker_url": "memory://"})


def test_a_task_stands_in_for_a_missing_scheduler_and_says_so_once(
    app: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    state, rung = of(app), []
    monkeypatch.setattr(state.doorbell, "ring_for_commit", lambda *args: None)
    monkeypatch.setattr(state.doorbell, "ring", lambda lane, id: rung.append((lane, id)))
    with app.app_context():
        other = dispatch(None, to="ada@example.com", subject="A", text="A", lane="bulk").id
        email = dispatch(None, to="ada@example.com", subject="B", text="B").id
        send_email.run(email)
        assert rung == []
        nobody_sweeps_for(state.database, 61)
        with caplog.at_level(logging.WARNING):
            send_email.run(email)
            send_email.run(email)
    assert rung == [("bulk", other)]
    assert [record.getMessage()[:17] for record in caplog.records] == ["scheduler=missing"]


def test_the_scheduler_is_not_missed_sooner_than_it_is_to_come(make_app: AppFactory) -> None:
    assert watch.missing_after(make_app().config) == 60
    assert watch.missing_after(make_app(MAILER_SWEEP_SECONDS=60).config) == 120


def test_the_sweep_task_is_what_shows_the_scheduler(app: Flask) -> None:
    nobody_sweeps_for(of(app).database, 300)
    with app.app_context():
        sweep.run()
    assert (of(app).ledger.counts().scheduler_seconds or 99) < 10


def test_an_idle_worker_without_beat_sweeps_also_once_it_has_lost_redis(
    settings: dict[str, Any], redis_url: str, tmp_path: Path, make_app: AppFactory
) -> None:
    stack = {**settings, "MAIL_SUPPRESS_SEND": True, "CELERY": {"broker_url": redis_url}}
    app = make_app(MAIL_SUPPRESS_SEND=True, CELERY={"broker_url": "memory://"})
    ledger = of(app).ledger
    with app.app_context():
        dispatch(None, to="ada@example.com", subject="Hello", text="Hello")
    ledger.claim("default", 1)
    let_time_pass(ledger.database, "lease_until", 3600)
    with worker(stack, tmp_path / "worker.log", "--concurrency", "1") as process:
        with redis.Redis.from_url(redis_url) as client:
            client.client_kill_filter(_type="normal", skipme=True)
        wait_until(lambda: process.output.count("Connected to") == 2, 20, lambda: process.output)
        nobody_sweeps_for(ledger.database, 70)
        wait_until(lambda: statuses(ledger) == ["sent"], 20, lambda: process.output)
        assert process.output.count("scheduler=missing") == 1
