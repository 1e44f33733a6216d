"""What happened is counted once, in periods and for ever, whatever is pruned and whoever counts."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from mailer import dispatch, watch
from mailer.histogram import bucket, quantile
from mailer.ledger import Filters, Ledger, tallying
from mailer.models import Attempt, Delivery, Email, Latency, Status, Tallied, Tally
from mailer.models.tallies import FOREVER, HOUR, MINUTE, STEPS, TEN_MINUTES
from mailer.state import of
from mailer.tasks import sweep

from .conftest import AppFactory
from .test_ledger import ACCEPTED, DEFERRED, REFUSED, accept, draft, settle
from .test_watch import nobody_sweeps_for

DAY = 86_400


def let_it_be(ledger: Ledger, seconds: float) -> None:
    """Let everything have happened so much earlier."""
    with ledger.database.begin() as connection:
        for column in (Email.created_at, Delivery.due_at, Attempt.ended_at):
            earlier = sa.type_coerce(column, sa.Double) - seconds
            connection.execute(sa.update(column.class_).values({column.key: earlier}))


def send(ledger: Ledger, number: int = 1, outcome: Any = ACCEPTED, **email: Any) -> None:
    accept(ledger, *(draft(**email) for _ in range(number)))
    batch = ledger.claim(email.get("lane", "default"), number)
    status = {ACCEPTED: Status.SENT, REFUSED: Status.FAILED, DEFERRED: Status.QUEUED}[outcome]
    settle(ledger, batch, outcome, status, delay=600 if outcome is DEFERRED else 0)


def tally(ledger: Ledger) -> None:
    ledger.tally(for_seconds=60)


def totals(ledger: Ledger) -> dict[str, int]:
    found: Counter[str] = Counter()
    for count in ledger.totals().counts:
        found[count.outcome] += count.number
    return dict(found)


def test_everything_is_counted_by_what_it_was(ledger: Ledger) -> None:
    send(ledger, 3)
    send(ledger, 2, REFUSED, lane="bulk", template=None)
    send(ledger, 1, DEFERRED, lane="critical")
    let_it_be(ledger, 60)
    tally(ledger)
    assert {(*count,) for count in ledger.totals().counts} == {
        ("default", "welcome", "", "accepted", 0, 3),
        ("bulk", "", "", "accepted", 0, 2),
        ("critical", "welcome", "", "accepted", 0, 1),
        ("default", "welcome", "default", "sent", 250, 3),
        ("bulk", "", "default", "failed", 550, 2),
        ("critical", "welcome", "default", "deferred", 451, 1),
    }


def test_what_may_still_come_before_it_is_left_for_later(ledger: Ledger) -> None:
    send(ledger)
    tally(ledger)
    assert totals(ledger) == {}
    let_it_be(ledger, tallying.SETTLED_SECONDS + 1)
    tally(ledger)
    assert totals(ledger) == {"accepted": 1, "sent": 1}


def test_what_is_test_mail_lets_nothing_be_passed_over(
    make_app: AppFactory, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = of(make_app(MAILER_DATABASE_URL=postgresql_url)).ledger
    with ledger.database.engine.connect() as slow, slow.begin():
        ledger.record(slow, [draft()])  # has its id, and is not committed
        accept(ledger, draft(is_test=True))
        tally(ledger)
    monkeypatch.setattr(tallying, "SETTLED_SECONDS", -1.0)
    tally(ledger)
    assert totals(ledger) == {"accepted": 1}


def test_what_a_clock_put_into_the_future_holds_nothing_up(ledger: Ledger) -> None:
    send(ledger)
    let_it_be(ledger, -7200)
    send(ledger)
    with ledger.database.begin() as connection:  # the second of two
        for column in (Email.created_at, Attempt.ended_at):
            last = sa.select(sa.func.max(column.class_.id)).scalar_subquery()
            earlier = sa.type_coerce(column, sa.Double) - 60
            statement = sa.update(column.class_).where(column.class_.id == last)
            connection.execute(statement.values({column.key: earlier}))
    tally(ledger)
    assert totals(ledger) == {"accepted": 2, "sent": 2}


def test_a_flow_is_of_one_moment(
    make_app: AppFactory, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = of(make_app(MAILER_DATABASE_URL=postgresql_url)).ledger
    send(ledger, 5)
    let_it_be(ledger, 60)
    look = tallying.rest

    def look_while_another_counts(connection: sa.Connection) -> tallying.Rest:
        found = look(connection)
        monkeypatch.setattr(tallying, "rest", look)
        counts = threading.Thread(target=tally, args=(ledger,))
        counts.start()
        counts.join()
        return found

    monkeypatch.setattr(tallying, "rest", look_while_another_counts)
    assert ledger.flow(MINUTE, 60).total("sent") == 5
    assert totals(ledger)["sent"] == 5


def test_a_flow_says_that_it_leaves_out_the_newest(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(ledger, 5)
    assert ledger.flow(MINUTE, 60).is_all
    monkeypatch.setattr(tallying, "AT_ONCE", 4)
    assert not ledger.flow(MINUTE, 60).is_all


def test_the_latency_of_what_is_retried_is_from_the_retry(ledger: Ledger) -> None:
    send(ledger, 1, REFUSED)
    let_it_be(ledger, 2 * DAY)
    ledger.retry(Filters(), actor="test")
    settle(ledger, ledger.claim("default", 1), ACCEPTED, Status.SENT)
    (taken,) = ledger.flow(HOUR, 168).latencies["default"]
    assert taken <= bucket(60)


def test_a_flow_has_what_is_tallied_and_what_is_not_yet(ledger: Ledger) -> None:
    send(ledger, 2)
    let_it_be(ledger, 2 * 60)
    tally(ledger)
    send(ledger, 1)
    send(ledger, 1, REFUSED)
    flow = ledger.flow(MINUTE, 60)
    assert {name: flow.total(name) for name in flow.numbers} == {
        "accepted": 4, "sent": 3, "deferred": 0, "failed": 1,
    }  # fmt: skip
    assert sum(flow.numbers["sent"][-2:]) == 1
    assert sum(flow.numbers["sent"][-4:-1]) >= 2
    assert sum(flow.latencies["default"].values()) == 3
    assert len(flow.begins) == 60
    assert {two - one for one, two in zip(flow.begins, flow.begins[1:], strict=False)} == {
        timedelta(seconds=60)
    }


@pytest.mark.parametrize(("step", "periods"), [(MINUTE, 60), (TEN_MINUTES, 144), (HOUR, 168)])
def test_a_flow_ends_with_the_current_period(ledger: Ledger, step: int, periods: int) -> None:
    send(ledger)
    let_it_be(ledger, (periods - 3) * step)
    send(ledger)
    let_it_be(ledger, 60)
    tally(ledger)
    flow = ledger.flow(step, periods)
    assert flow.total("sent") == 2
    assert 0 <= (datetime.now(UTC) - flow.begins[-1]).total_seconds() < step + 5


def test_of_several_at_once_each_thing_is_counted_once(ledger: Ledger) -> None:
    send(ledger, 50)
    let_it_be(ledger, 60)
    start = threading.Barrier(6)
    failed: list[Exception] = []

    def count() -> None:
        start.wait()
        try:
            tally(ledger)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=count) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert totals(ledger) == {"accepted": 50, "sent": 50}


def test_much_is_counted_in_parts(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallying, "AT_ONCE", 4)
    send(ledger, 10)
    let_it_be(ledger, 60)
    ledger.tally(for_seconds=0)
    assert totals(ledger) == {"accepted": 4, "sent": 4}
    assert ledger.flow(MINUTE, 60).total("sent") == 8
    tally(ledger)
    assert totals(ledger) == {"accepted": 10, "sent": 10}


def test_the_latency_is_from_when_it_was_to_leave(ledger: Ledger) -> None:
    accept(ledger, draft(), draft(send_at=datetime.now(UTC) + timedelta(hours=1)))
    with ledger.database.begin() as connection:
        # Both are sent a second after they were due, an hour apart.
        ids = connection.execute(sa.select(Delivery.id).order_by(Delivery.id)).scalars().all()
        for id in ids:
            connection.execute(
                sa.insert(Attempt).values(
                    delivery_id=id, number=1, outcome="sent", status="sent", code=250,
                    ended_at=sa.select(sa.type_coerce(Delivery.due_at, sa.Double) + 1.05)
                    .where(Delivery.id == id).scalar_subquery(),
                )
            )  # fmt: skip
    let_it_be(ledger, 2 * 3600)
    tally(ledger)
    (one,) = ledger.totals().latencies
    assert (one.lane, one.bucket, one.number) == ("default", bucket(1.05), 2)
    assert one.seconds == pytest.approx(2.1, abs=0.01)


def test_the_latency_of_what_was_deferred_has_the_wait(ledger: Ledger) -> None:
    send(ledger, 1, DEFERRED)
    let_it_be(ledger, 600)
    settle(ledger, ledger.claim("default", 1), ACCEPTED, Status.SENT)
    flow = ledger.flow(MINUTE, 60)
    assert quantile(flow.latencies["default"], 0.5) == pytest.approx(600, rel=0.08)


def test_test_mail_is_not_counted(ledger: Ledger) -> None:
    send(ledger, 2, is_test=True)
    send(ledger, 1)
    let_it_be(ledger, 60)
    assert ledger.flow(MINUTE, 60).total("sent") == 1
    tally(ledger)
    assert totals(ledger) == {"accepted": 1, "sent": 1}


def test_totals_stay_when_the_history_is_pruned(ledger: Ledger) -> None:
    send(ledger, 3)
    let_it_be(ledger, 60)
    tally(ledger)
    with ledger.database.begin() as connection:
        for table in (Tally, Latency):
            assert set(connection.execute(sa.select(table.step)).scalars()) == set(STEPS)
            earlier = sa.type_coerce(table.begins_at, sa.Double) - 2 * DAY
            connection.execute(
                sa.update(table).where(table.step != FOREVER).values(begins_at=earlier)
            )
    _prune(ledger, days=90)
    assert _steps(ledger) == {TEN_MINUTES, HOUR, FOREVER}
    _prune(ledger, days=1)
    assert _steps(ledger) == {TEN_MINUTES, FOREVER}
    with ledger.database.begin() as connection:
        connection.execute(sa.delete(Email))
    tally(ledger)
    assert totals(ledger) == {"accepted": 3, "sent": 3}
    assert sum(one.number for one in ledger.totals().latencies) == 3


def _prune(ledger: Ledger, *, days: float) -> None:
    ledger.prune(keep_bodies_seconds=7 * DAY, keep_seconds=days * DAY, for_seconds=60)


def _steps(ledger: Ledger) -> set[int]:
    with ledger.database.read() as connection:
        found = [set(connection.execute(sa.select(one.step)).scalars()) for one in (Tally, Latency)]
    assert found[0] == found[1]
    return found[0]


def test_what_no_chart_shows_any_more_is_counted_in_longer_periods_alone(ledger: Ledger) -> None:
    send(ledger)
    let_it_be(ledger, 9 * DAY)
    tally(ledger)
    assert _steps(ledger) == {HOUR, FOREVER}


def test_what_follows_a_purge_is_counted_though_it_has_the_same_ids(ledger: Ledger) -> None:
    send(ledger, 2)
    let_it_be(ledger, 60)
    tally(ledger)
    ledger.purge("ada@example.com", actor="test")
    send(ledger, 2)
    let_it_be(ledger, 60)
    tally(ledger)
    assert totals(ledger) == {"accepted": 4, "sent": 4}


@pytest.fixture
def app(make_app: AppFactory) -> Flask:
    return make_app(MAIL_SUPPRESS_SEND=True, CELERY={"broker_url": "memory://"})


@pytest.mark.parametrize("who", ["scheduler", "stand-in"])
def test_who_sweeps_counts(app: Flask, who: str) -> None:
    state = of(app)
    with app.app_context():
        dispatch(None, to="ada@example.com", subject="A", text="A")
        let_it_be(state.ledger, 60)
        if who == "scheduler":
            sweep.run()
        else:
            nobody_sweeps_for(state.database, 300)
            watch.look([state])
    assert totals(state.ledger) == {"accepted": 1}


def test_the_marks_are_one_row(ledger: Ledger) -> None:
    with ledger.database.read() as connection:
        assert [tuple(row) for row in connection.execute(sa.select(Tallied.__table__))] == [
            (1, 0, 0)
        ]
