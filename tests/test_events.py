"""Which events the ledger notes, and when: on SQLite and PostgreSQL alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from mailer.db import Database
from mailer.expressions import now
from mailer.ledger import Filters, Ledger, events
from mailer.ledger.events import TYPES, Note
from mailer.models import Delivery, Event, Status, Webhook
from mailer.outcome import Kind, Outcome

from .conftest import let_time_pass
from .test_ledger import ACCEPTED, DEFERRED, REFUSED, accept, draft, settle

HOUR = timedelta(hours=1)


def listen(database: Database, *types: str, id: str = "hook", disabled: bool = False) -> str:
    """Make a webhook; without ``types`` it is told all."""
    with database.begin() as connection:
        connection.execute(
            sa.insert(Webhook).values(
                id=id,
                url="https://shop.example/hook",
                events=list(types or TYPES),
                secret="whsec_AAAA",
                created_at=now(),
                failures=0,
                disabled_at=now() if disabled else None,
            )
        )
    return id


def noted(database: Database) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(sa.select(Event.__table__).order_by(Event.id)))


def types(database: Database) -> list[str]:
    return [one.type for one in noted(database)]


def test_nothing_is_noted_when_nobody_listens(ledger: Ledger) -> None:
    listen(ledger.database, disabled=True)
    accept(ledger, draft())
    accept(ledger, draft(), draft())
    settle(ledger, ledger.claim("default", 10), REFUSED, Status.FAILED)
    assert types(ledger.database) == []


@pytest.mark.parametrize("number", [1, 2])
def test_an_accepted_email_is_one_event_however_many_recipients(
    ledger: Ledger, number: int
) -> None:
    listen(ledger.database)
    listen(ledger.database, "email.sent", id="other")
    drafts = [draft("ada@example.com", "bob@example.com") for _ in range(number)]
    emails = accept(ledger, *drafts)
    found = noted(ledger.database)
    assert [(one.type, one.email_id, one.delivery_id) for one in found] == [
        ("email.queued", email.id, None) for email in emails
    ]
    (first, *_) = found
    assert (first.status, first.attempts, first.details, first.webhook_id) == (
        "pending", 0, {}, "hook",
    )  # fmt: skip
    assert (first.tried_until - first.at) == timedelta(days=5)
    assert (len(first.id), first.id[:4]) == (36, "msg_")
    assert first.at == first.due_at


@pytest.mark.parametrize("number", [1, 2])
def test_one_for_later_is_scheduled_and_one_for_the_past_is_queued(
    ledger: Ledger, number: int
) -> None:
    listen(ledger.database)
    later = datetime(2031, 1, 31, 9, tzinfo=UTC)
    accept(ledger, *[draft(send_at=later) for _ in range(number)])
    accept(ledger, *[draft(send_at=datetime.now(UTC) - HOUR) for _ in range(number)])
    told = [(one.type, one.details) for one in noted(ledger.database)]
    assert told == [
        *[("email.scheduled", {"scheduled_at": "2031-01-31T09:00:00.000Z"})] * number,
        *[("email.queued", {})] * number,
    ]


def test_an_email_that_was_known_is_not_noted_again(ledger: Ledger) -> None:
    listen(ledger.database)
    for _ in range(2):
        accept(ledger, draft(idempotency_key="order-7", fingerprint="f"))
    assert types(ledger.database) == ["email.queued"]


def test_what_is_rolled_back_is_not_noted(ledger: Ledger) -> None:
    listen(ledger.database)
    with Session(ledger.database.engine) as session:
        ledger.record(session.connection(), [draft()])
        session.rollback()
    assert types(ledger.database) == []


@pytest.mark.parametrize(
    ("outcome", "status", "type"),
    [
        (ACCEPTED, Status.SENT, "email.sent"),
        (DEFERRED, Status.QUEUED, "email.delivery_delayed"),
        (REFUSED, Status.FAILED, "email.failed"),
        (Outcome(Kind.AMBIGUOUS, "dot", words="lost"), Status.UNKNOWN, "email.unknown"),
        (Outcome(Kind.UNWANTED, words="no longer"), Status.CANCELLED, "email.canceled"),
        (Outcome(Kind.REFUSED, words="on the list"), Status.SUPPRESSED, "email.suppressed"),
    ],
)
def test_each_recipients_outcome_is_an_event(
    ledger: Ledger, outcome: Outcome, status: Status, type: str
) -> None:
    listen(ledger.database, *set(TYPES) - {"email.queued"})
    accept(ledger, draft("ada@example.com", "bob@example.com"))
    batch = ledger.claim("default", 10)
    settle(ledger, batch, outcome, status)
    found = noted(ledger.database)
    assert [one.type for one in found] == [type] * 2
    assert [one.delivery_id for one in found] == [one.delivery_id for one in batch.deliveries]
    details = {} if status is Status.SENT else {"words": outcome.words, "attempt": 1}
    if outcome.code and details:
        details |= {"code": outcome.code, "enhanced": outcome.enhanced}
    assert found[0].details == details


@pytest.mark.parametrize("kind", [Kind.NOT_STARTED, Kind.CAPPED])
def test_what_was_not_begun_is_no_event(ledger: Ledger, kind: Kind) -> None:
    listen(ledger.database, *set(TYPES) - {"email.queued"})
    accept(ledger, draft())
    settle(ledger, ledger.claim("default", 10), Outcome(kind), Status.QUEUED)
    assert types(ledger.database) == []


def test_an_outcome_that_changes_nothing_is_no_event(ledger: Ledger) -> None:
    listen(ledger.database, *set(TYPES) - {"email.queued"})
    accept(ledger, draft())
    batch = ledger.claim("default", 10)
    let_time_pass(ledger.database, "lease_until", 3600)
    ledger.sweep()
    settle(ledger, batch, REFUSED, Status.FAILED)  # whose claim it no longer is
    settle(ledger, batch, ACCEPTED, Status.SENT)
    settle(ledger, batch, ACCEPTED, Status.SENT)  # which was known
    assert types(ledger.database) == ["email.delivery_delayed", "email.sent"]
    assert noted(ledger.database)[0].details["words"] == "the worker stopped while sending"


def test_a_lease_that_ran_out_in_the_last_attempt_is_unknown(ledger: Ledger) -> None:
    listen(ledger.database, "email.unknown")
    accept(ledger, draft())
    with ledger.database.begin() as connection:
        connection.execute(sa.update(Delivery).values(attempts_allowed=1))
    ledger.claim("default", 10)
    let_time_pass(ledger.database, "lease_until", 3600)
    ledger.sweep()
    assert types(ledger.database) == ["email.unknown"]


def test_what_expires_is_an_event(ledger: Ledger) -> None:
    listen(ledger.database, "email.expired")
    accept(ledger, draft(expires_in=60))
    let_time_pass(ledger.database, "expires_at", 3600)
    assert ledger.sweep().events_due
    assert types(ledger.database) == ["email.expired"]


def test_what_a_person_does_is_an_event(ledger: Ledger) -> None:
    listen(ledger.database, *set(TYPES) - {"email.queued"})
    later = datetime.now(UTC) + HOUR
    (email,) = accept(ledger, draft(send_at=later))
    ledger.reschedule(email.id, datetime(2031, 1, 31, 9, tzinfo=UTC), actor="ada")
    ledger.cancel(Filters(email_id=email.id), actor="ada")
    ledger.cancel(Filters(email_id=email.id), actor="ada")  # a second click
    accept(ledger, draft())
    settle(ledger, ledger.claim("default", 1), Outcome(Kind.AMBIGUOUS), Status.UNKNOWN)
    ledger.resolve(Filters(), sent=True, actor="ada")
    told = noted(ledger.database)
    assert [one.type for one in told] == [
        "email.scheduled", "email.scheduled", "email.canceled", "email.unknown", "email.sent",
    ]  # fmt: skip
    assert told[1].details == {"scheduled_at": "2031-01-31T09:00:00.000Z"}
    assert "ada" not in str(told[2].details)


def test_whoever_tells_is_woken_after_the_commit_and_only_for_events(database: Database) -> None:
    woken: list[int] = []
    ledger = Ledger(
        database,
        lease_seconds=60,
        attempts_allowed=3,
        on_events=lambda: woken.append(len(noted(database))),
    )
    accept(ledger, draft())
    assert woken == []
    listen(database)
    accept(ledger, draft())
    accept(ledger, draft(), draft())
    assert woken == [1, 3]
    settle(ledger, ledger.claim("default", 1), ACCEPTED, Status.SENT)
    assert woken == [1, 3, 4]
    ledger.sweep()
    assert woken == [1, 3, 4]


def test_events_go_with_their_email(ledger: Ledger) -> None:
    listen(ledger.database)
    accept(ledger, draft("ada@example.com"))
    ledger.purge("ada@example.com", actor="ada")
    assert types(ledger.database) == []


def test_a_note_of_a_type_that_nobody_wants_costs_nothing(ledger: Ledger) -> None:
    listen(ledger.database, "email.sent")
    (email,) = accept(ledger, draft())
    with ledger.database.begin() as connection:
        events.note(connection, [Note("email.bounced", email.id)])
        assert not events.was_noted(connection)
    assert types(ledger.database) == []
