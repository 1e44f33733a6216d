"""Several transports, their circuits and limits: what drains make of them, over the wire."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from flask import Flask

from mailer import Filters, dispatch_many, sending
from mailer.delivery import drain
from mailer.outcome import Kind, Outcome
from mailer.state import of
from mailer.turn import Turn

from .conftest import AppFactory, let_circuits_probe
from .smtp_server import CLOSE, Do, SMTPServer
from .worker import wait_until

NEVER = Do(b"550 5.1.1 never\r\n")


@contextmanager
def two(make_app: AppFactory, options: str = "", **settings: Any) -> Iterator[Any]:
    """An app with transports primary and backup."""
    with SMTPServer() as primary, SMTPServer() as backup:
        app = make_app(
            MAILER_TRANSPORTS=f"primary=smtp://127.0.0.1:{primary.port}{options},"
            f"backup=smtp://127.0.0.1:{backup.port}",
            CELERY={"broker_url": "memory://"},
            **settings,
        )
        yield app, primary, backup
        of(app).traffic.close()


def accept(app: Flask, number: int, domain: str = "example.com", **more: Any) -> None:
    with app.app_context():
        dispatch_many(
            {"to": f"r{n}@{domain}", "subject": "Hi", "text": "Hi", **more} for n in range(number)
        )


def statuses(app: Flask) -> Counter[str]:
    return Counter(row.status for row in of(app).ledger.list(Filters(), None))


def outcomes(app: Flask) -> Counter[tuple[str | None, str]]:
    """Return how many attempts ended how, over which transport."""
    state = of(app)
    found: Counter[tuple[str | None, str]] = Counter()
    for email_id in {row.email_id for row in state.ledger.list(Filters(), None)}:
        for attempts in state.ledger.show(email_id).attempts.values():
            found.update((one.transport, one.outcome) for one in attempts)
    return found


def turn(app: Flask, lane: str = "default") -> Turn:
    return Turn(of(app).traffic, lane, of(app).ledger.paused_transports)


def test_mail_takes_the_first_and_leaves_the_backup_alone(make_app: AppFactory) -> None:
    with two(make_app) as (app, primary, backup):
        accept(app, 5)
        drain(of(app), "default")
        assert (len(primary.messages), len(backup.messages)) == (5, 0)
        assert outcomes(app) == {("primary", "sent"): 5}


def test_a_server_that_is_away_costs_no_email_an_attempt_or_a_second(make_app: AppFactory) -> None:
    with two(make_app) as (app, primary, backup):
        primary.stop()
        accept(app, 20)
        began = time.monotonic()
        drain(of(app), "default")
        assert time.monotonic() - began < 5
        assert len(backup.messages) == 20
        assert outcomes(app) == {("backup", "sent"): 20}


def test_a_server_that_goes_away_in_the_middle_hands_the_rest_to_the_next(
    make_app: AppFactory,
) -> None:
    with two(make_app) as (app, primary, backup):
        primary.then("dot", *[Do()] * 4, Do(call=primary.stop_listening), CLOSE)
        accept(app, 20)
        drain(of(app), "default")
        assert len(primary.messages) == 5
        assert len(backup.messages) == 15, "the one that was lost after its dot as well"
        assert statuses(app) == {"sent": 20}


def test_all_workers_know_of_an_outage_and_of_its_end(
    make_app: AppFactory, redis_url: str, tmp_path: Any
) -> None:
    with SMTPServer() as backup, SMTPServer() as primary:
        transports = (
            f"primary=smtp://127.0.0.1:{primary.port},backup=smtp://127.0.0.1:{backup.port}"
        )
        one, other = (
            make_app(
                MAILER_TRANSPORTS=transports,
                MAILER_REDIS_URL=redis_url,
                MAILER_DATABASE_URL=f"sqlite:///{tmp_path / name}",
                CELERY={"broker_url": "memory://"},
            )
            for name in ("one.sqlite3", "other.sqlite3")
        )
        with turn(one) as first:
            first.report("primary", Outcome(Kind.UNAVAILABLE, "connect", words="refused"))
        accept(other, 3)
        drain(of(other), "default")
        assert (len(primary.sessions), len(backup.messages)) == (0, 3)

        let_circuits_probe(one)
        accept(other, 5)
        drain(of(other), "default")
        assert len(primary.messages) == 5 - (len(backup.messages) - 3)
        assert primary.messages, "one email found out that it is back"
        accept(one, 5)
        drain(of(one), "default")
        assert of(one).traffic.known()[1]["primary"].circuit.trips == 0
        for app in (one, other):
            of(app).traffic.close()


def test_while_one_email_probes_the_others_take_the_backup(make_app: AppFactory) -> None:
    with two(make_app) as (app, primary, backup), turn(app) as first:
        first.report("primary", Outcome(Kind.UNAVAILABLE, "connect"))
        let_circuits_probe(app)
        assert first.room(100) == 100
        assert first.admit("primary", 10) == 1
        with turn(app) as second:
            assert second.room(100) == 100
            assert second.admit("primary", 10) == 0
        accept(app, 5)
        drain(of(app), "default")
        assert (len(primary.messages), len(backup.messages)) == (0, 5)


def test_a_stream_of_refused_recipients_moves_nothing(make_app: AppFactory) -> None:
    with two(make_app, MAILER_BATCH=50) as (app, primary, backup):
        primary.then("rcpt", *[NEVER] * 200)
        accept(app, 200)
        drain(of(app), "default")
        assert statuses(app) == {"failed": 200}
        assert backup.sessions == []
        assert of(app).traffic.known()[1]["primary"].circuit.trips == 0
        assert of(app).ledger.figures()[0]["primary"].alarming


def test_a_login_refused_for_now_defers_one_email_and_the_others_wait(make_app: AppFactory) -> None:
    with SMTPServer(features=["AUTH PLAIN"]) as smtp:
        smtp.then("auth", *[Do(b"454 4.7.0 later\r\n")] * 9)
        app = make_app(
            MAILER_TRANSPORTS=f"a=smtp://app:secret@127.0.0.1:{smtp.port}",
            MAILER_BACKOFF_BASE_SECONDS=60,
            MAILER_BACKOFF_CAP_SECONDS=60,
            CELERY={"broker_url": "memory://"},
        )
        accept(app, 5)
        drain(of(app), "default")
        assert len(smtp.sessions) == 1
        assert outcomes(app) == {("a", "deferred"): 1}
        assert of(app).ledger.counts().due == {"default": 4}


def test_a_rate_leaves_the_rest_unclaimed_and_uncharged(make_app: AppFactory) -> None:
    with two(make_app, "?rate=5") as (app, primary, backup):
        accept(app, 30, lane="bulk")
        drain(of(app), "bulk")
        assert 5 <= len(primary.messages) <= 7
        assert backup.messages == [], "a limit is no reason to leave by another way"
        rows = of(app).ledger.list(Filters(statuses={"queued"}), None)
        assert {row.attempts for row in rows} == {0}
        assert of(app).ledger.counts().due == {"bulk": len(rows)}
        assert drain(of(app), "bulk") <= 1


def test_a_capped_lane_rings_for_when_there_is_room_again(
    make_app: AppFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with two(make_app, "?rate=4") as (app, *_):
        rung: list[tuple[str, float]] = []
        monkeypatch.setattr(
            of(app).doorbell,
            "ring_later",
            lambda lane, _, seconds, *, alone: rung.append((lane, seconds)),
        )
        accept(app, 30, lane="bulk")
        drain(of(app), "bulk")
        assert rung
        assert rung[-1][0] == "bulk"
        assert 0.25 <= rung[-1][1] <= 1


def test_connections_are_capped_across_workers_and_given_back(make_app: AppFactory) -> None:
    with two(make_app, "?connections=1") as (app, primary, backup):
        accept(app, 5)
        with turn(app) as other:
            other.room(10)
            assert other.admit("primary", 1) == 1
            assert drain(of(app), "default") == 0
        assert (primary.messages, backup.messages) == ([], [])
        assert drain(of(app), "default") == 5
        wait_until(lambda: all(session.ended.is_set() for session in primary.sessions), 5)
        assert of(app).traffic.known()[1]["primary"].quota.holders == {}


def test_a_domain_over_its_rate_waits_in_turn_and_holds_up_nobody_else(
    make_app: AppFactory,
) -> None:
    with two(make_app, "?domain_rate=2") as (app, primary, _):
        accept(app, 10, "busy.example")
        accept(app, 2, "calm.example")
        drain(of(app), "default")
        got = Counter(one.rpartition("@")[2] for one in primary.recipients)
        assert got["calm.example"] == 2
        assert 2 <= got["busy.example"] <= 4
        waiting = of(app).ledger.list(Filters(statuses={"queued"}), None)
        assert {row.attempts for row in waiting} == {0}
        assert all("busy.example" in row.reason for row in waiting)
        dues = sorted(row.due_at.timestamp() for row in waiting)
        steps = [later - sooner for sooner, later in itertools.pairwise(dues)]
        assert all(step == pytest.approx(0.5, abs=0.05) for step in steps)
        assert outcomes(app)[("primary", "capped")] == 0


def test_a_paused_transport_rests_and_mail_takes_the_next(make_app: AppFactory) -> None:
    with two(make_app) as (app, primary, backup):
        of(app).ledger.pause_transport("primary", actor="cli:ada")
        accept(app, 3)
        drain(of(app), "default")
        assert (len(primary.messages), len(backup.messages)) == (0, 3)
        of(app).ledger.pause_transport("backup", actor="cli:ada")
        accept(app, 3)
        assert drain(of(app), "default") == 0
        of(app).ledger.resume_transport("primary", actor="cli:ada")
        assert drain(of(app), "default") == 3
        assert len(primary.messages) == 3


def test_lanes_senders_and_recipients_have_their_own_ways(make_app: AppFactory) -> None:
    with SMTPServer() as news, SMTPServer() as google, SMTPServer() as rest:
        app = make_app(
            MAILER_TRANSPORTS=f"news=smtp://127.0.0.1:{news.port}?sender=news.acme.example,"
            f"google=smtp://127.0.0.1:{google.port}?recipient=gmail.com,"
            f"rest=smtp://127.0.0.1:{rest.port}",
            CELERY={"broker_url": "memory://"},
        )
        accept(app, 2)
        accept(app, 3, "gmail.com")
        accept(app, 4, "gmail.com", sender="hello@news.acme.example")
        drain(of(app), "default")
        assert [len(one.messages) for one in (rest, google, news)] == [2, 3, 4]
        of(app).traffic.close()


def test_neighbours_with_weights_share_the_mail(make_app: AppFactory) -> None:
    with SMTPServer() as a, SMTPServer() as b:
        app = make_app(
            MAILER_TRANSPORTS=f"a=smtp://127.0.0.1:{a.port}?weight=3,"
            f"b=smtp://127.0.0.1:{b.port}?weight=1",
            CELERY={"broker_url": "memory://"},
        )
        accept(app, 200)
        drain(of(app), "default")
        assert len(a.messages) + len(b.messages) == 200
        assert 120 <= len(a.messages) <= 180
        of(app).traffic.close()


def test_critical_mail_finds_tokens_that_bulk_left(make_app: AppFactory) -> None:
    with two(make_app, "?rate=10") as (app, primary, _):
        accept(app, 50, lane="bulk")
        accept(app, 2, "urgent.example", lane="critical")
        drain(of(app), "bulk")
        bulk = len(primary.messages)
        assert bulk <= 11
        assert drain(of(app), "critical") == 2
        assert len(primary.messages) == bulk + 2


def test_a_probe_that_says_nothing_of_the_server_makes_way_for_the_next(
    make_app: AppFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with two(make_app) as (app, primary, backup):
        backup.stop()
        with turn(app) as first:
            first.report("primary", Outcome(Kind.UNAVAILABLE, "connect"))
        let_circuits_probe(app)
        accept(app, 1)
        with monkeypatch.context() as broken:
            unrenderable = Outcome(Kind.UNRENDERABLE, "render", words="no such variable")
            broken.setattr(sending, "_compose", lambda state, claimed: unrenderable)
            drain(of(app), "default")
        assert statuses(app) == {"failed": 1}
        accept(app, 1, "other.example")
        drain(of(app), "default")
        assert len(primary.messages) == 1


def test_a_connection_is_closed_before_another_worker_may_open_one(
    make_app: AppFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with two(make_app, "?connections=1") as (app, *_):
        holders: list[int] = []
        transport = of(app).traffic.transports["primary"]
        close = transport.close

        def closing() -> None:
            holders.append(len(of(app).traffic.known()[1]["primary"].quota.holders))
            close()

        monkeypatch.setattr(transport, "close", closing)
        accept(app, 2)
        drain(of(app), "default")
        assert holders == [1]
        assert of(app).traffic.known()[1]["primary"].quota.holders == {}


@pytest.mark.parametrize(
    "junk",
    [
        "[1]",
        '{"circuit":{"trips":1,"open_until":"x"},"quota":{}}',
        '{"circuit":{},"quota":{"tokens":"x"}}',
        '{"circuit":{},"quota":{"holders":5}}',
        '{"circuit":{},"quota":{"holders":{"x":9e12}}}',
    ],
)
def test_a_junk_value_in_redis_stops_no_mail(
    make_app: AppFactory, redis_url: str, junk: str
) -> None:
    with two(make_app, "?rate=50&connections=2", MAILER_REDIS_URL=redis_url) as (app, primary, _):
        with redis.Redis.from_url(redis_url) as client:
            client.set("mailer:transport:primary", junk)
        accept(app, 3)
        drain(of(app), "default")
        assert len(primary.messages) == 3


def drain_for(app: Flask, lane: str, seconds: float) -> None:
    """Drain again and again, as workers do that somebody rings."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        drain(of(app), lane)
        time.sleep(0.05)


def test_a_limited_transport_for_some_senders_holds_up_nobody_else(make_app: AppFactory) -> None:
    with SMTPServer() as news, SMTPServer() as rest:
        app = make_app(
            MAILER_TRANSPORTS=f"news=smtp://127.0.0.1:{news.port}?sender=news.acme.example&rate=2,"
            f"rest=smtp://127.0.0.1:{rest.port}",
            CELERY={"broker_url": "memory://"},
        )
        accept(app, 300, sender="hello@news.acme.example")
        accept(app, 5, "other.example")
        drain(of(app), "default")
        assert len(rest.messages) == 5
        assert 1 <= len(news.messages) <= 3
        rows = of(app).ledger.list(Filters(statuses={"queued"}), None)
        assert {row.attempts for row in rows} == {0}
        of(app).traffic.close()


@pytest.mark.parametrize("limit", ["domain_rate=20", "domain_rate=20&rate=1000"])
def test_a_domain_gets_what_its_limit_allows(make_app: AppFactory, limit: str) -> None:
    with two(make_app, f"?{limit}") as (app, primary, _):
        accept(app, 200, "busy.example")
        drain_for(app, "default", 4)
        assert len(primary.messages) == pytest.approx(4 * 20 + 22, abs=15)


def test_an_urgent_email_does_not_stand_in_the_line_of_a_newsletter(make_app: AppFactory) -> None:
    with two(make_app, "?domain_rate=2") as (app, *_):
        accept(app, 200, "busy.example", lane="bulk")
        drain(of(app), "bulk")
        accept(app, 3, "busy.example", lane="critical")
        drain_for(app, "critical", 2.5)
        assert {row.status for row in of(app).ledger.list(Filters(lane="critical"), None)} == {
            "sent"
        }


def test_after_a_lost_connection_a_slow_rate_is_still_waited_for_calmly(
    make_app: AppFactory,
) -> None:
    with two(make_app, "?rate=0.1") as (app, *_):
        with turn(app) as first:
            first.report("primary", Outcome(Kind.DEFERRED, "rcpt", words="hung up"))
        accept(app, 300)
        assert drain(of(app), "default") <= 2
        assert drain(of(app), "default") == 0


def test_a_connection_that_could_not_be_given_back_is_free_for_the_next_turn(
    make_app: AppFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with two(make_app, "?connections=1") as (app, primary, _):
        accept(app, 2)
        with monkeypatch.context() as patch:
            patch.setattr(Turn, "_released", lambda _, value, now: (value, None))  # never arrives
            drain(of(app), "default")
        accept(app, 2)
        drain(of(app), "default")
        assert len(primary.messages) == 4
