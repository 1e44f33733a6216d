"""What is said of a delivery is what happens to it, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from mailer.expressions import now
from mailer.ledger import Filters, Ledger
from mailer.models import Delivery, Email
from mailer.why import Verb, what_happens_next

from .test_ledger import accept, draft, statuses

UNKNOWN, FAILED, QUEUED = "waits for a person, as unknown.", "fails: ", "is queued again."


def change(ledger: Ledger, table: type[Delivery | Email], **values: Any) -> None:
    with ledger.database.begin() as connection:
        connection.execute(sa.update(table).values(**values))


def said(ledger: Ledger, email_id: str) -> tuple[Any, ...]:
    history = ledger.show(email_id)
    (one,) = history.deliveries
    return what_happens_next(one, history.email, history.attempts[one.id], hindered=None)


@pytest.mark.parametrize(
    ("how", "values", "status", "words"),
    [
        ("resend", {"crashes": 1}, "queued", QUEUED),
        ("resend", {"attempts_allowed": 1}, "unknown", UNKNOWN),
        ("resend", {"crashes": 2}, "failed", FAILED),
        ("resend", {"crashes": 2, "attempts_allowed": 1}, "failed", FAILED),
        ("hold, marked", {"crashes": 1}, "unknown", UNKNOWN),
        ("hold, marked", {"crashes": 2, "attempts_allowed": 1}, "unknown", UNKNOWN),
        ("hold", {"crashes": 1}, "queued", "else " + QUEUED),
        ("hold", {"attempts_allowed": 1}, "failed", "else " + FAILED),
        ("hold", {"crashes": 2}, "failed", "else " + FAILED),
    ],
)
def test_what_is_being_sent_becomes_what_was_said_once_its_lease_is_over(
    ledger: Ledger, how: str, values: dict[str, int], status: str, words: str
) -> None:
    on_unknown, _, is_marked = how.partition(", ")
    (email,) = accept(ledger, draft(on_unknown=on_unknown))
    batch = ledger.claim("default", 1)
    if is_marked:
        assert ledger.mark(batch.token, batch.deliveries[0].delivery_id)
    change(ledger, Delivery, **values)

    sentence = str(said(ledger, email.id)[-1])
    change(ledger, Delivery, lease_until=now() - 1)
    ledger.sweep()

    assert words in sentence
    assert sentence.startswith(", it waits for a person" if on_unknown == "hold" else ", it ")
    assert statuses(ledger) == [status]


def test_what_is_unknown_and_erased_cannot_be_sent_again(ledger: Ledger) -> None:
    (email,) = accept(ledger, draft())
    change(ledger, Delivery, status="unknown")
    assert Verb.RESOLVE_RESEND in said(ledger, email.id)
    change(ledger, Email, erased_at=now())

    assert Verb.RESOLVE_RESEND not in said(ledger, email.id)
    assert Verb.RESOLVE_SENT in said(ledger, email.id)
    assert ledger.resolve(Filters(email_id=email.id), sent=False, actor="test") == []
    assert statuses(ledger) == ["unknown"]
    assert len(ledger.resolve(Filters(email_id=email.id), sent=True, actor="test")) == 1
