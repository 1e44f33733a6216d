"""Whether mail flows, in one sentence, with the reasons."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from redis import Redis

from mailer import delivery, dispatch, overview, presence, trial, webhooks
from mailer.circuit import Circuit
from mailer.db import Database
from mailer.dev.catcher import Catcher
from mailer.expressions import now
from mailer.ledger import Filters, Ledger
from mailer.models import LANES, Event, EventAttempt, Job, Webhook
from mailer.outcome import Kind, Outcome
from mailer.overview import Overview
from mailer.state import State, of
from mailer.traffic import Known, key

from .conftest import AppFactory, let_time_pass
from .plans import plans, prefer_indexes
from .test_watch import nobody_sweeps_for


@pytest.fixture
def app(make_app: AppFactory, catcher: Catcher, redis_url: str) -> Flask:
    """The service with a Redis, whose workers are the tests themselves."""
    app = make_app(
        MAIL_PORT=catcher.smtp_port,
        MAILER_BACKOFF_BASE_SECONDS=600,
        MAILER_BACKOFF_CAP_SECONDS=600,
        CELERY={"broker_url": "memory://"},
        MAILER_REDIS_URL=redis_url,
        MAILER_WEBHOOK_ALLOW="127.0.0.0/8",
    )
    of(app).ledger.sweep()
    presence.announce(of(app).traffic.shared, "tests@host")
    return app


def look(app: Flask, over: str = "hour") -> Overview:
    with app.app_context():
        return overview.look(of(app), over)


def send(app: Flask, number: int = 1, **email: Any) -> State:
    state = of(app)
    with app.app_context():
        for index in range(number):
            dispatch(**{"to": f"u{index}@example.com", "subject": "Hello", "text": "t", **email})
        for lane in LANES:
            delivery.drain(state, lane)
    return state


def said(app: Flask) -> tuple[str, list[str]]:
    """The level of the verdict, and the words of its reasons."""
    verdict = look(app).verdict
    return verdict.level, [one.words for one in verdict.reasons]


def test_all_is_well(app: Flask) -> None:
    send(app, 3)
    found = look(app)
    assert found.verdict == ("good", "Mail is flowing.", [])
    assert found.flow is not None
    assert (found.flow.total("accepted"), found.flow.total("sent")) == (3, 3)
    assert all(seconds is not None and seconds < 60 for seconds in found.latency)
    assert [lane.name for lane in found.lanes] == list(LANES)
    assert [(one.name, one.state) for one in found.transports] == [("default", "closed")]
    assert list(found.workers or ()) == ["tests@host"]
    assert found.failures == []


@pytest.mark.parametrize("over", ["hour", "day", "week"])
def test_every_range_ends_with_what_just_happened(app: Flask, over: str) -> None:
    send(app, 2)
    flow = look(app, over).flow
    assert flow is not None
    assert len(flow.begins) == overview.RANGES[over][1]
    assert sum(flow.numbers["sent"][-2:]) == 2


def test_without_a_worker_mail_does_not_flow(app: Flask) -> None:
    presence.leave(of(app).traffic.shared, "tests@host")
    assert said(app) == ("bad", ["no worker is running"])


def test_a_worker_that_has_not_been_seen_lately_is_none(app: Flask) -> None:
    of(app).traffic.shared.update("workers", lambda _, now: ({"tests@host": now - 60}, None))
    assert said(app) == ("bad", ["no worker is running"])


def test_without_a_scheduler_mail_does_not_flow_as_it_should(app: Flask) -> None:
    nobody_sweeps_for(of(app).database, 300)
    level, reasons = said(app)
    assert level == "bad"
    assert reasons[0].startswith("scheduler: not seen for 300 s")


def test_late_mail_is_worth_a_look_and_very_late_mail_is_trouble(app: Flask) -> None:
    with app.app_context():
        dispatch(to="ada@example.com", subject="Hello", text="t", lane="critical")
    let_time_pass(of(app).database, "due_at", 90)
    assert look(app).verdict[:2] == ("wait", "Mail is flowing; somebody should look.")
    let_time_pass(of(app).database, "due_at", 90)
    level, reasons = said(app)
    assert (level, reasons[0]) == ("bad", "lane critical: mail is due and nobody sends it")


def test_what_is_paused_is_worth_a_look(app: Flask) -> None:
    ledger = of(app).ledger
    ledger.pause("bulk", actor="ada")
    ledger.pause_transport("default", actor="ben")
    level, reasons = said(app)
    assert level == "bad"  # no transport is left
    assert reasons[1:] == [
        "lane bulk is paused by ada",
        "transport default is paused by ben",
    ]
    ledger.resume_transport("default", actor="ben")
    assert said(app) == ("wait", ["lane bulk is paused by ada"])


def test_growing_deferrals_are_worth_a_look(app: Flask, catcher: Catcher) -> None:
    catcher.script("rcpt", "451 4.7.1 Greylisted")
    send(app, 20)
    found = look(app)
    assert said(app) == (
        "wait",
        ["deferrals grow: 20 in the last 10 minutes, 0 before"],
    )
    assert [(one.state, one.code, one.number) for one in found.failures] == [("deferred", 451, 20)]
    assert [lane.deferred for lane in found.lanes if lane.name == "default"] == [20]


def test_without_its_ledger_it_says_just_that(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    with of(app).database.begin() as connection:
        connection.exec_driver_sql("DROP TABLE mailer_deliveries")
    found = look(app)
    assert found.verdict.level == "bad"
    assert found.verdict.reasons[0].words.startswith("database: ")
    assert (found.flow, found.lanes, found.transports) == (None, [], [])


def test_without_redis_the_workers_are_not_known(app: Flask, redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.config_set("maxclients", 1)
        try:
            of(app).traffic.shared.close()
            found = look(app)
        finally:
            client.config_set("maxclients", 1000)
    assert found.workers is None
    assert any(one.words.startswith("redis: not reachable") for one in found.verdict.reasons)


def test_a_transport_that_nobody_tries_again_is_worth_a_look_until_it_is_tested(app: Flask) -> None:
    state = of(app)
    state.traffic.note("default", Outcome(Kind.UNAVAILABLE, "connect", words="refused"))
    long_ago = Known(Circuit(trips=1, opened_at=9, open_until=10, failed_at=9)).written()
    state.traffic.shared.update(key("default"), lambda _, now: (long_ago, None))
    assert said(app) == (
        "wait",
        [
            "transport default could not be used when last tried; the next email finds out,"
            " or a test of it"
        ],
    )
    with app.app_context():
        list(trial.converse(state, trial.named(state, None)))
    assert look(app).verdict.level == "good"


def test_much_that_failed_is_worth_a_look(app: Flask, catcher: Catcher) -> None:
    catcher.script("rcpt", "550 5.7.1 No", times=10)
    send(app, 20)
    assert said(app) == ("wait", ["10 of 20 emails failed in the last hour"])


def test_what_is_unknown_is_worth_a_look_until_somebody_decides(
    app: Flask, catcher: Catcher
) -> None:
    catcher.script("dot", "drop")
    state = send(app, on_unknown="hold")
    assert said(app) == (
        "wait", ["somebody has to say whether the server has 1 email"]
    )  # fmt: skip
    state.ledger.resolve(Filters(), sent=True, actor="ada")
    assert look(app).verdict.level == "good"


@pytest.mark.parametrize("seconds", [50, 70])
def test_a_job_that_no_worker_takes_is_worth_a_look(app: Flask, seconds: int) -> None:
    ledger = of(app).ledger
    ledger.add_job("waits", "retry", {"ids": [], "below": 9}, actor="ann", total=0)
    ledger.add_job("ended", "retry", {"ids": [], "below": 9}, actor="ann", total=0)
    ledger.ask_job("ended", "stopped", actor="ann")
    ledger.add_job("runs", "retry", {"ids": [], "below": 9}, actor="ann", total=0)
    let_time_pass(of(app).database, "lease_until", seconds, model=Job)
    level, reasons = said(app)
    if seconds < 60:
        assert level == "good"
    else:
        words = "bulk sends and other jobs have waited for 70 s: is there a worker for mailer.jobs?"
        assert (level, reasons) == ("wait", [words])
        ledger.claim_job("runs", "a worker")  # the other's turn comes
        assert look(app).verdict.level == "good"


def test_webhooks_that_nobody_tells_are_worth_a_look(app: Flask) -> None:
    state = of(app)
    made = webhooks.create(state, "https://127.0.0.1/", ["email.queued"], actor="ann")
    send(app)
    assert look(app).verdict.level == "good"
    let_time_pass(state.database, "due_at", 70, model=Event)
    words = "webhooks are not told: events have been due for 70 s: is there a worker for"
    assert said(app) == ("wait", [f"{words} mailer.webhooks?"])
    with state.database.begin() as connection:  # it asked for a pause, which has just ended
        connection.execute(sa.update(Webhook).values(rests_until=now() - 5))
    assert look(app).verdict.level == "good"
    with state.database.begin() as connection:
        connection.execute(sa.update(Webhook).values(rests_until=None))
    assert look(app).verdict.level == "wait"
    webhooks.update(state, made.id, status="disabled", actor="ann")
    assert look(app).verdict.level == "good"


def test_a_webhook_that_fails_is_worth_a_look(app: Flask) -> None:
    state = of(app)
    made = webhooks.create(state, "https://127.0.0.1/s3cret", ["email.queued"], actor="ann")
    for ago, reasons in (
        (50, []),
        (70, [("webhook 127.0.0.1 has failed for 70 s", "webhook", made.id)]),
    ):
        with state.database.begin() as connection:
            connection.execute(sa.update(Webhook).values(failing_since=now() - ago, failures=3))
        assert look(app).verdict.reasons == reasons
    webhooks.update(state, made.id, status="disabled", actor="ann")
    assert look(app).verdict.level == "good"


def test_webhooks_that_are_told_one_after_another_are_not_neglected(app: Flask) -> None:
    state = of(app)
    webhooks.create(state, "https://127.0.0.1/", ["email.queued"], actor="ann")
    send(app, 2)
    let_time_pass(state.database, "due_at", 70, model=Event)
    attempt = {"number": 1, "code": 200, "words": "", "milliseconds": 5}
    for ago, level in ((70, "wait"), (5, "good")):
        with state.database.begin() as connection:
            event_id = sa.select(Event.id).limit(1).scalar_subquery()
            values = {"event_id": event_id, "ended_at": now() - ago, **attempt}
            connection.execute(sa.insert(EventAttempt).values(values))
        assert look(app).verdict.level == level


def test_what_waits_for_other_workers_is_found_by_an_index(database: Database) -> None:
    prefer_indexes(database)
    ledger = Ledger(database, lease_seconds=60, attempts_allowed=3)
    with plans(database) as made:
        ledger.counts()
    read = [plan for plan in made if "mailer_jobs" in plan or "mailer_events" in plan]
    assert len(read) == 2
    assert "ix_mailer_jobs_open" in read[0]
    assert "ix_mailer_events_due" in read[1]
