"""Jobs: done step by step, once, resumed and stopped, on both databases."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from mailer import dispatch, dispatch_many, jobs, steering
from mailer.dev.catcher import Catcher
from mailer.errors import LedgerUnavailable, MailerError, NotFound
from mailer.ledger import failures
from mailer.ledger.jobs import NOTHING, Lost, Step
from mailer.models import AuditEntry, Delivery, Job
from mailer.state import of

from .conftest import AppFactory

Tell = Callable[[dict[str, Any]], None]


@pytest.fixture
def app(make_app: AppFactory, catcher: Catcher, database_url: str) -> Flask:
    """The service, sending within the call that dispatches: what the server refuses has failed."""
    return make_app(MAIL_PORT=catcher.smtp_port, MAILER_DATABASE_URL=database_url)


@pytest.fixture
def failed(app: Flask, catcher: Catcher) -> list[int]:
    """Seven failed deliveries of one reason, and one of another."""
    catcher.script("rcpt", "550 5.7.1 Blocked", address="*@blocked.example")
    catcher.script("rcpt", "552 5.2.2 Full", address="*@full.example")
    with app.app_context():
        dispatch(subject="s", text="t", to="one@full.example")
        dispatch_many(
            [{"subject": "s", "text": "t", "to": f"p{n}@blocked.example"} for n in range(7)]
        )
    with of(app).database.read() as connection:
        return list(
            connection.scalars(sa.select(Delivery.id).where(Delivery.code == 550).order_by("id"))
        )


def start(app: Flask, kind: str = "retry", **details: Any) -> str:
    """Store a job without a worker that would do it at once."""
    job_id = str(uuid.uuid4())
    of(app).ledger.add_job(job_id, kind, {"below": 10_000, **details}, actor="ann", total=7)
    return job_id


def run(app: Flask, job_id: str) -> tuple[Any, list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []
    with app.app_context():
        return jobs.run(of(app), job_id, told.append), told


def states(app: Flask) -> list[str]:
    with of(app).database.read() as connection:
        return list(connection.scalars(sa.select(Delivery.status).order_by(Delivery.id)))


def cause() -> str:
    return failures.cause_of("failed", 550, "5.7.1", "Blocked")


def test_a_job_does_all_of_a_reason_and_nothing_else(
    app: Flask, catcher: Catcher, failed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "AT_ONCE", 3)
    catcher.rules.clear()
    job, told = run(app, start(app, state="failed", cause=cause()))
    assert (job.status, job.done, job.changed) == ("done", 7, 7)
    assert [one["current"] for one in told] == [3, 6, 7]
    assert told[-1] == {"current": 7, "total": 7, "changed": 7, "status": "done"}
    assert states(app) == ["failed", *["sent"] * 7]
    with of(app).database.read() as connection:
        entries = connection.execute(
            sa.select(AuditEntry.actor, sa.func.count()).group_by(AuditEntry.actor)
        ).all()
    assert [tuple(entry) for entry in entries] == [("ann", 7)]


def test_what_fails_again_is_not_tried_again(
    app: Flask, catcher: Catcher, failed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "AT_ONCE", 3)
    job, _ = run(app, start(app, state="failed", cause=cause()))
    assert (job.status, job.changed) == ("done", 7)
    assert states(app) == ["failed"] * 8


def test_deliveries_can_be_named(app: Flask, catcher: Catcher, failed: list[int]) -> None:
    catcher.rules.clear()
    job, _ = run(app, start(app, ids=[failed[0], failed[5], 999]))
    assert (job.done, job.changed) == (3, 2)
    assert states(app).count("sent") == 2


def test_asking_twice_makes_one_job(app: Flask) -> None:
    job_id = start(app, ids=[])
    assert not of(app).ledger.add_job(job_id, "retry", {}, actor="ben", total=1)
    assert of(app).ledger.job(job_id).actor == "ann"


def test_a_job_is_one_workers_until_its_lease_ends(app: Flask) -> None:
    ledger, job_id = of(app).ledger, start(app, ids=[])
    assert ledger.claim_job(job_id, "first") is not None
    assert ledger.claim_job(job_id, "second") is None
    assert ledger.sweep().jobs_due == []
    with of(app).database.begin() as connection:
        connection.execute(sa.update(Job).values(lease_until=0.0))
    assert ledger.sweep().jobs_due == [job_id]
    assert ledger.claim_job(job_id, "second") is not None

    def never(connection: sa.Connection) -> Step:
        raise AssertionError("a step of a job that is another's")

    with pytest.raises(Lost):
        ledger.step_job(job_id, "first", never)


def test_a_step_that_breaks_off_is_done_by_the_next_worker(
    app: Flask, catcher: Catcher, failed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is counted, and nothing is done twice."""
    monkeypatch.setattr(steering, "AT_ONCE", 3)
    catcher.rules.clear()
    ledger, job_id = of(app).ledger, start(app, state="failed", cause=cause())
    job = ledger.claim_job(job_id, "first")
    assert job is not None
    apply = steering.prepare_retry(of(app), job)
    ledger.step_job(job_id, "first", apply)
    job = ledger.job(job_id)
    apply = steering.prepare_retry(of(app), job)

    def breaks_off(connection: sa.Connection) -> Step:
        apply(connection)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ledger.step_job(job_id, "first", breaks_off)
    assert ledger.job(job_id).done == 3
    with of(app).database.begin() as connection:
        connection.execute(sa.update(Job).values(lease_until=0.0))
    job, _ = run(app, job_id)
    assert (job.done, job.changed) == (7, 7)
    with of(app).database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(AuditEntry)) == 7


def test_a_job_is_paused_goes_on_and_is_stopped(
    app: Flask, catcher: Catcher, failed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "AT_ONCE", 2)
    ledger, job_id = of(app).ledger, start(app, state="failed", cause=cause())

    def after_the_first(wanted: str) -> Tell:
        def ask(told: dict[str, Any]) -> None:
            ledger.ask_job(job_id, wanted, actor="test")

        return ask

    with app.app_context():
        job = jobs.run(of(app), job_id, after_the_first("paused"))
        assert job is not None
        assert (job.status, job.done) == ("paused", 2)
        assert jobs.run(of(app), job_id, after_the_first("paused")) is None
        assert ledger.sweep().jobs_due == []
        assert ledger.ask_job(job_id, "queued", actor="test")
        job = jobs.run(of(app), job_id, after_the_first("stopped"))
        assert job is not None
        assert (job.status, job.done) == ("stopped", 4)
    assert job.ended_at is not None
    for wanted in ("queued", "paused", "stopped"):
        assert not ledger.ask_job(job_id, wanted, actor="test")
    with pytest.raises(NotFound, match="there is no job 'x'"):
        ledger.ask_job("x", "stopped", actor="test")


def test_a_job_that_fails_says_why(app: Flask) -> None:
    job_id = start(app, kind="resolve", ids=[1])  # without what it is to say
    with pytest.raises(KeyError):
        run(app, job_id)
    job = of(app).ledger.job(job_id)
    assert job.status == "failed"
    assert re.fullmatch(r"KeyError in steering\.py:\d+: the worker's log says more", job.words)


def test_the_words_of_a_bug_are_in_the_log_only(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[Exception] = [
        RuntimeError("a\0b \ud800 ann@shop.example"),
        MailerError("its file is\0 not there \ud800"),
    ]

    def fails(*of_what: Any) -> Any:
        raise raised[0]

    monkeypatch.setitem(jobs.KINDS, "retry", fails)
    words = []
    for one in list(raised):
        job_id = start(app, ids=[])
        with pytest.raises(type(one)):
            run(app, job_id)
        words.append(of(app).ledger.job(job_id).words)
        raised.pop(0)
    assert words[0].startswith("RuntimeError in test_jobs.py:")
    assert "ann@" not in words[0]
    assert words[1] == "its file is not there"


def test_a_job_that_kills_its_workers_is_given_up(app: Flask) -> None:
    ledger, job_id = of(app).ledger, start(app, ids=[])

    def is_lost(claim: str) -> Any:
        job = ledger.claim_job(job_id, claim)
        with of(app).database.begin() as connection:
            connection.execute(sa.update(Job).values(lease_until=0.0))
        return job

    assert [is_lost(claim).status for claim in "ab"] == ["running", "running"]
    ledger.step_job(job_id, "b", lambda connection: NOTHING)
    with of(app).database.begin() as connection:
        connection.execute(sa.update(Job).values(lease_until=0.0))
    assert [is_lost(claim).status for claim in "cd"] == ["running", "running"]
    job, _ = run(app, job_id)
    assert job.status == "failed"
    assert job.words.startswith("given up: 3 workers in a row were lost")
    assert ledger.sweep().jobs_due == []
    assert ledger.ask_job(job_id, "queued", actor="ann")
    job, _ = run(app, job_id)
    assert (job.status, job.words, job.crashes) == ("done", None, 0)


def test_a_pause_holds_though_the_job_is_passed_on(
    app: Flask, failed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "AT_ONCE", 2)
    ledger, job_id = of(app).ledger, start(app, state="failed", cause=cause())
    monkeypatch.setattr("mailer.jobs.shutdown.announced", lambda: True)

    def pause(told: dict[str, Any]) -> None:
        ledger.ask_job(job_id, "paused", actor="test")

    with app.app_context():
        job = jobs.run(of(app), job_id, pause)
    assert job is not None
    assert (job.status, job.done) == ("paused", 2)


def test_a_resume_just_before_the_pause_holds(
    app: Flask, failed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "AT_ONCE", 2)
    ledger, job_id = of(app).ledger, start(app, state="failed", cause=cause())
    rung: list[str] = []
    monkeypatch.setattr(of(app).jobs_bell, "ring", lambda bell, about: rung.append(about))
    wanted = iter(["paused", "queued"])

    def ask(told: dict[str, Any]) -> None:
        assert ledger.ask_job(job_id, next(wanted), actor="test")

    with app.app_context():
        assert jobs.run(of(app), job_id, ask) is None
    assert (ledger.job(job_id).status, rung) == ("queued", [job_id])


def test_a_ledger_that_is_away_for_a_moment_fails_no_job(
    app: Flask, failed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, job_id = of(app).ledger, start(app, ids=failed)
    with monkeypatch.context() as patch:

        def away(*of_what: Any) -> Any:
            raise LedgerUnavailable("the ledger cannot be used: database is locked")

        patch.setattr(ledger, "step_job", away)
        with pytest.raises(LedgerUnavailable):
            run(app, job_id)
    assert ledger.job(job_id).status == "queued"
    job, _ = run(app, job_id)
    assert (job.status, job.changed) == ("done", 7)


def test_unknown_ones_are_resolved(app: Flask, failed: list[int]) -> None:
    with of(app).database.begin() as connection:
        connection.execute(sa.update(Delivery).values(status="unknown"))
    job, _ = run(app, start(app, kind="resolve", ids=failed[:2], sent=True))
    assert job.changed == 2
    assert sorted(states(app)) == ["sent"] * 2 + ["unknown"] * 6


def test_jobs_are_listed_the_newest_first(app: Flask) -> None:
    ids = [start(app, ids=[]) for _ in range(3)]
    with of(app).database.begin() as connection:
        for number, job_id in enumerate(ids):
            at = sa.update(Job).where(Job.id == job_id).values(created_at=float(number // 2))
            connection.execute(at)
    ids[:2] = sorted(ids[:2])
    rows, more = of(app).ledger.jobs(2, kind="retry")
    assert ([row.id for row in rows], more) == ([ids[2], ids[1]], True)
    rows, more = of(app).ledger.jobs(2, after=ids[1])
    assert ([row.id for row in rows], more) == ([ids[0]], False)
    rows, more = of(app).ledger.jobs(1, before=ids[0])
    assert ([row.id for row in rows], more) == ([ids[1]], True)
    assert of(app).ledger.jobs(2, kind="cancel") == ([], False)
