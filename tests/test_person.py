"""Everything on one address: erased, or returned. On SQLite and PostgreSQL alike."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from mailer.ledger import Filters, Ledger
from mailer.ledger.person import ERASED, Purged
from mailer.models import Attempt, AuditEntry, Delivery, Status

from .test_ledger import ACCEPTED, REFUSED, accept, draft, settle
from .test_retention import count, ids

ADA, BOB = "ada@example.com", "bob@example.com"


def to(*recipients: str, sender: str = "a@acme.example", **email: Any) -> Any:
    addresses = {
        "from": [["", sender]], "to": [["A. B.", one] for one in recipients], "cc": [],
        "reply_to": [],
    }  # fmt: skip
    return draft(*recipients, addresses=addresses, text="canary", **email)


def send(ledger: Ledger, *drafts: Any) -> list[str]:
    emails = accept(ledger, *drafts)
    settle(ledger, ledger.claim("default", 100), ACCEPTED, Status.SENT)
    return [email.id for email in emails]


def audit(ledger: Ledger) -> list[tuple[Any, ...]]:
    with ledger.database.read() as connection:
        columns = (AuditEntry.actor, AuditEntry.action, AuditEntry.delivery_id)
        return [tuple(row) for row in connection.execute(sa.select(*columns))]


def dump(ledger: Ledger) -> str:
    """Return every value of the ledger as text."""
    with ledger.database.read() as connection:
        tables = sa.inspect(connection).get_table_names()
        return str([connection.execute(sa.text(f"SELECT * FROM {t}")).all() for t in tables])


def test_an_email_to_nobody_else_is_deleted_and_one_of_others_stays_without_the_address(
    ledger: Ledger,
) -> None:
    _, shared, other = send(ledger, to(ADA), to(ADA, BOB), to(BOB))

    assert ledger.purge(ADA, actor="ops") == Purged(emails=1, deliveries=2, shared=1)

    assert ids(ledger) == sorted([shared, other])
    history = ledger.show(shared)
    assert history.email.addresses["to"] == [["", ERASED], ["A. B.", BOB]]
    assert [row.recipient for row in history.deliveries] == [BOB]
    assert history.email.text == "canary"
    assert count(ledger, Attempt) == 2
    assert audit(ledger) == [
        ("ops", "purged", None),
        ("ops", "address erased", history.deliveries[0].id),
    ]
    assert "ada@" not in dump(ledger)


def test_the_address_is_found_in_whatever_case_it_was_stored(ledger: Ledger) -> None:
    send(ledger, to("Ada@example.com"), to(ADA), to("ADA@example.com", BOB))
    assert ledger.purge("aDa@example.com", actor="ops").deliveries == 3
    assert "ada@" not in dump(ledger).lower()


@pytest.mark.parametrize("other", ["a_a@example.com", "xada@example.com", "ada@example.com.au"])
def test_an_address_that_only_looks_alike_is_left_alone(ledger: Ledger, other: str) -> None:
    send(ledger, to(other))
    assert ledger.purge(ADA, actor="ops") == Purged()
    assert [row.recipient for row in ledger.list(Filters(), None)] == [other]
    assert ledger.export(ADA) == []


def test_an_email_to_somebody_whose_name_is_the_address_is_not_of_the_address(
    ledger: Ledger,
) -> None:
    addresses = {"from": [["", "a@acme.example"]], "to": [[ADA, BOB]], "cc": [], "reply_to": []}
    send(ledger, draft(BOB, addresses=addresses))
    assert ledger.export(ADA) == []
    assert ledger.purge(ADA, actor="ops") == Purged()


def test_what_is_queued_is_cancelled_and_erased(ledger: Ledger) -> None:
    accept(ledger, to(ADA), to(ADA, BOB))
    assert ledger.purge(ADA, actor="ops") == Purged(emails=1, deliveries=2, shared=1, cancelled=2)
    assert [one.recipient for one in ledger.claim("default", 9).deliveries] == [BOB]


def test_what_is_being_sent_is_left_and_counted(ledger: Ledger) -> None:
    accept(ledger, to(ADA, BOB))
    batch = ledger.claim("default", 9)

    assert ledger.purge(ADA, actor="ops") == Purged(left=1)

    assert len(ledger.list(Filters(), None)) == 2
    settle(ledger, batch, ACCEPTED, Status.SENT)
    assert ledger.purge(ADA, actor="ops") == Purged(deliveries=1, shared=1)


def test_what_waits_for_a_person_is_erased_too(ledger: Ledger) -> None:
    accept(ledger, to(ADA))
    settle(ledger, ledger.claim("default", 1), REFUSED, Status.UNKNOWN)
    assert ledger.purge(ADA, actor="ops").emails == 1
    assert count(ledger, Delivery) == 0


def test_of_a_sender_the_emails_that_are_not_open_lose_address_and_content(
    ledger: Ledger,
) -> None:
    (done,) = send(ledger, to(BOB, sender=ADA))
    (waits,) = (email.id for email in accept(ledger, to(BOB, sender=ADA)))

    assert ledger.purge(ADA, actor="ops") == Purged(shared=1, left=1)

    email = ledger.show(done).email
    assert (email.addresses["from"], email.text) == ([["", ERASED]], None)
    assert email.erased_at is not None
    assert ledger.show(waits).email.addresses["from"] == [["", ADA]]


def test_a_dry_run_counts_the_same_and_changes_nothing(ledger: Ledger) -> None:
    send(ledger, to(ADA), to(ADA, BOB))
    accept(ledger, to(ADA))
    before = dump(ledger)

    counted = ledger.purge(ADA, actor="ops", dry_run=True)

    assert dump(ledger) == before
    assert ledger.purge(ADA, actor="ops") == counted
    assert counted == Purged(emails=2, deliveries=3, shared=1, cancelled=1)


def test_an_export_has_the_emails_with_the_deliveries_to_the_address_alone(
    ledger: Ledger,
) -> None:
    first, second, _ = send(ledger, to(ADA), to(ADA, BOB), to(BOB))
    found = ledger.export(ADA)
    assert sorted(history.email.id for history in found) == sorted([first, second])
    assert [[row.recipient for row in history.deliveries] for history in found] == [[ADA], [ADA]]
