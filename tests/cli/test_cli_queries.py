"""The queries that the command line added to the ledger, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import time

import pytest
import sqlalchemy as sa

from mailer.errors import NotFound
from mailer.ledger import Filters, Ledger, queries
from mailer.models import Delivery, Status

from ..conftest import let_time_pass
from ..test_ledger import accept, draft


def test_an_email_is_found_by_the_beginning_of_its_id(ledger: Ledger) -> None:
    one = accept(ledger, draft())[0].id
    ids = [one, *(email.id for email in accept(ledger, *[draft()] * 5))]

    with ledger.database.read() as connection:
        for email_id in ids:
            for length in range(31, 37):
                assert queries.find_email(connection, email_id[:length]) == email_id
        with pytest.raises(NotFound, match="several emails begin with"):
            queries.find_email(connection, one[:6])
        for wrong in ("ffffffff", f"{one}0", one.replace("-", ""), "%", one[:8] + "_"):
            with pytest.raises(NotFound, match="there is no email"):
                queries.find_email(connection, wrong)
        for short in ("", one[:3]):
            with pytest.raises(NotFound, match="at least 4 characters"):
                queries.find_email(connection, short)


def test_a_queued_delivery_says_why_it_waits(ledger: Ledger) -> None:
    accept(ledger, draft("now@example.com"), draft("later@example.com"), draft("again@example.com"))
    with ledger.database.begin() as connection:
        for recipient, stage in (("later@example.com", None), ("again@example.com", "rcpt")):
            connection.execute(
                sa.update(Delivery)
                .where(Delivery.recipient == recipient)
                .values(due_at=time.time() + 600, stage=stage)
            )

    def states(status: str | None = None) -> dict[str, str]:
        rows = ledger.list(Filters(statuses=status and [status]), 10)
        return {row.recipient.partition("@")[0]: row.state for row in rows}

    assert states() == {"now": "queued", "later": "scheduled", "again": "deferred"}
    assert states("scheduled") == {"later": "scheduled"}
    assert states("deferred") == {"again": "deferred"}
    assert states("queued") == states()
    let_time_pass(ledger.database, "due_at", 1_000)
    assert set(states().values()) == {"queued"}


def test_several_statuses_may_match(ledger: Ledger) -> None:
    accept(ledger, draft("a@example.com"), draft("b@example.com"), draft("c@example.com"))
    with ledger.database.begin() as connection:
        for recipient, status in (("a@example.com", "failed"), ("b@example.com", "expired")):
            connection.execute(
                sa.update(Delivery).where(Delivery.recipient == recipient).values(status=status)
            )

    either = Filters(statuses=frozenset({Status.FAILED, Status.EXPIRED}))

    assert [row.status for row in ledger.list(either, 10)] == ["expired", "failed"]


def test_the_oldest_due_is_known_for_each_lane(ledger: Ledger) -> None:
    accept(ledger, draft(lane="bulk"))
    let_time_pass(ledger.database, "due_at", 100)
    accept(ledger, draft())

    counts = ledger.counts()

    assert counts.due_seconds["bulk"] == pytest.approx(100, abs=10)
    assert counts.due_seconds["default"] == pytest.approx(0, abs=10)
    assert counts.due_seconds.keys() == {"bulk", "default"}
