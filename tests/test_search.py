"""Deliveries are searched in a bounded time, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from mailer.ledger import Filters, Ledger, search
from mailer.ledger.record import first_uuid7
from mailer.ledger.search import Found
from mailer.models import Attempt, Delivery, Email

from .test_ledger import accept, draft


def recipients(found: Found) -> list[str]:
    return [row.recipient.partition("@")[0] for row in found.rows]


def look(ledger: Ledger, limit: int = 50, **more: Any) -> list[str]:
    return recipients(ledger.search(Filters(**more), limit))


def fill(ledger: Ledger, number: int, **email: Any) -> None:
    accept(ledger, *(draft(f"n{position}@example.com", **email) for position in range(number)))


def change(ledger: Ledger, recipient: str, **values: Any) -> None:
    with ledger.database.begin() as connection:
        connection.execute(
            sa.update(Delivery).where(Delivery.recipient == recipient).values(**values)
        )


@pytest.mark.parametrize(
    "filters",
    [
        {}, {"template": "welcome"}, {"statuses": {"queued"}}, {"statuses": {"failed"}},
        {"statuses": {"failed", "queued"}}, {"statuses": {"sent"}}, {"lane": "default"},
    ],
)  # fmt: skip
def test_page_after_page_and_back_again(ledger: Ledger, filters: dict[str, Any]) -> None:
    fill(ledger, 7)
    (status,) = {*filters.get("statuses", ())} if len(filters.get("statuses", ())) == 1 else [None]
    with ledger.database.begin() as connection:
        connection.execute(sa.update(Delivery).values(status=status or "queued"))

    first = ledger.search(Filters(**filters), 3)
    second = ledger.search(Filters(**filters), 3, after=first.next_id)
    third = ledger.search(Filters(**filters), 3, after=second.next_id)
    back = ledger.search(Filters(**filters), 3, before=third.rows[0].delivery_id)
    newest = ledger.search(Filters(**filters), 3, before=back.rows[0].delivery_id)

    pages = [recipients(one) for one in (first, second, third)]
    assert pages == [["n6", "n5", "n4"], ["n3", "n2", "n1"], ["n0"]]
    assert recipients(back) == pages[1]
    assert recipients(newest) == pages[0]
    assert third.next_id is newest.next_id is None
    assert back.next_id is not None


def test_each_filter_finds_what_it_says(ledger: Ledger) -> None:
    accept(
        ledger,
        draft("ad@example.com", "Hoc@Example.com", template=None, subject="Your invoice 100% Ü",
              context=None, text="x", tags={"kind": "invoice", "na\"me": "a: \"b\""}),
        draft("bulk@example.com", lane="bulk", tags={"kind": "invoices"}),
        draft("plain@example.com"),
    )  # fmt: skip
    change(ledger, "plain@example.com", code=451)

    assert look(ledger) == ["plain", "bulk", "Hoc", "ad"]
    assert look(ledger, recipient="Hoc@Example.com") == ["Hoc"]
    assert look(ledger, template="welcome") == ["plain", "bulk"]
    assert look(ledger, lane="bulk") == ["bulk"]
    assert look(ledger, code=451) == ["plain"]
    for words in ("invoice", "INVOICE your", "100%", "nvoi"):
        assert look(ledger, subject=words) == ["Hoc", "ad"]
    for words in ("invoice theirs", "100_", "%"):
        assert look(ledger, subject=words) == (["Hoc", "ad"] if words == "%" else [])
    assert look(ledger, tag=("kind", None)) == ["bulk", "Hoc", "ad"]
    assert look(ledger, tag=("kind", "invoice")) == ["Hoc", "ad"]
    assert look(ledger, tag=('na"me', 'a: "b"')) == ["Hoc", "ad"]
    for tag in (("invoice", None), ("Kind", None), ("kind", "INVOICE"), ("b", None), ("ind", None)):
        assert look(ledger, tag=tag) == []


def test_what_was_reported_and_tried_is_found(ledger: Ledger) -> None:
    fill(ledger, 4)
    rows = {row.recipient[:2]: row for row in ledger.list(Filters(), None)}
    reports = (("n0", "delivered"), ("n1", "bounced"), ("n2", None))
    for name, reported in reports:
        change(ledger, f"{name}@example.com", status="sent", reported=reported)
    with ledger.database.begin() as connection:
        connection.execute(
            sa.insert(Attempt).values(
                delivery_id=rows["n2"].delivery_id, number=1, ended_at=time.time(), outcome="sent",
                status="sent", transport="backup",
            )
        )  # fmt: skip

    assert look(ledger, statuses={"delivered"}) == ["n0"]
    assert look(ledger, statuses={"bounced"}) == ["n1"]
    assert look(ledger, statuses={"sent"}) == ["n2", "n1", "n0"]
    assert look(ledger, transport="backup") == ["n2"]
    outcomes = [row.outcome for row in ledger.search(Filters(), 50).rows]
    assert outcomes == ["queued", "sent", "bounced", "delivered"]


def test_since_and_until_are_exact(ledger: Ledger) -> None:
    day = datetime(2026, 11, 24, 9, tzinfo=UTC)
    for hours in (0, 1, 24, 48):
        at_time(ledger, day + timedelta(hours=hours), f"h{hours}@example.com")

    assert look(ledger, since=day + timedelta(hours=1)) == ["h48", "h24", "h1"]
    assert look(ledger, until=day + timedelta(hours=24)) == ["h1", "h0"]
    between: dict[str, Any] = {
        "since": day + timedelta(minutes=1),
        "until": day + timedelta(hours=47),
    }
    assert look(ledger, **between) == ["h24", "h1"]
    assert look(ledger, since=day + timedelta(hours=49)) == []
    assert look(ledger, until=day) == []
    assert look(ledger, since=datetime.min.replace(tzinfo=UTC)) == ["h48", "h24", "h1", "h0"]
    assert look(ledger, until=datetime.max.replace(tzinfo=UTC)) == ["h48", "h24", "h1", "h0"]


def at_time(ledger: Ledger, instant: datetime, *recipients: str) -> None:
    """Accept an email at an instant of the past, as its id and its row have it."""
    email_id = accept(ledger, draft(*recipients))[0].id
    new_id = first_uuid7(instant)[:14] + email_id[14:]
    with ledger.database.begin() as connection:
        old = connection.execute(sa.select(Email.__table__).where(Email.id == email_id)).one()
        values = {**old._mapping, "id": new_id, "created_at": instant}
        connection.execute(sa.insert(Email).values(values))
        is_its = Delivery.email_id == email_id
        connection.execute(sa.update(Delivery).where(is_its).values(email_id=new_id))
        connection.execute(sa.delete(Email).where(Email.id == email_id))


def test_emails_that_took_turns_are_all_found(ledger: Ledger) -> None:
    """The first of two emails may have its deliveries after those of the second."""
    day = datetime(2026, 11, 24, 9, tzinfo=UTC)
    at_time(ledger, day + timedelta(seconds=5), "later@example.com")
    at_time(ledger, day, "earlier@example.com", "too@example.com")

    assert look(ledger, until=day + timedelta(seconds=3)) == ["too", "earlier"]
    assert look(ledger, since=day + timedelta(seconds=3)) == ["later"]


@pytest.mark.parametrize("first_window", [1, 3])
def test_what_is_not_found_in_time_says_how_far_it_came(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, first_window: int
) -> None:
    monkeypatch.setattr(search, "_FIRST_WINDOW", first_window)
    monkeypatch.setattr(search, "_GROWTH", 1)
    accept(ledger, draft("wanted@example.com", template=None, subject="wanted", text="x"))
    fill(ledger, 6)
    wanted = Filters(subject="wanted")
    accepted = {row.delivery_id: row.created_at for row in ledger.list(Filters(), None)}
    looks, next_id = 0, None
    while True:
        with ledger.database.read() as connection:
            found = search.search(connection, wanted, 5, after=next_id, seconds=0)
        looks += 1
        if found.next_id is None:
            break
        next_id = found.next_id
        assert found.rows == []
        assert found.looked_to == accepted[next_id]

    assert recipients(found) == ["wanted"]
    assert looks == {1: 7, 3: 3}[first_window]


def test_few_deliveries_of_an_index_are_all_looked_at(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_FIRST_WINDOW", 1)
    accept(ledger, draft("wanted@example.com"))
    change(ledger, "wanted@example.com", status="failed")
    fill(ledger, 6)
    for filters in (Filters(statuses={"failed"}), Filters(recipient="wanted@example.com")):
        with ledger.database.read() as connection:
            found = search.search(connection, filters, 5, seconds=0)
        assert recipients(found) == ["wanted"]
        assert found.next_id is None


def test_an_empty_ledger_has_nothing(ledger: Ledger) -> None:
    for filters in (Filters(), Filters(since=datetime.now(UTC)), Filters(statuses={"failed"})):
        assert ledger.search(filters, 5) == ([], None, None)
