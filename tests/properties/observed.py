"""All that the ledger says at one moment, and whether the next moment may follow it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from mailer.db import Database
from mailer.expressions import now
from mailer.models import OPEN, Attached, Attempt, AuditEntry, Delivery, Email, Status

Q, S, SENT = Status.QUEUED, Status.SENDING, Status.SENT
FAILED, UNKNOWN, EXPIRED, CANCELLED, SUPPRESSED = (
    Status.FAILED, Status.UNKNOWN, Status.EXPIRED, Status.CANCELLED, Status.SUPPRESSED,
)  # fmt: skip

# The table of docs/architecture.md, by who makes a transition.
TRANSITIONS: Mapping[str, set[tuple[str, str]]] = {
    "record": set(),
    "claim": {(Q, S)},
    "mark": set(),
    "settle": {
        *((S, to) for to in (Q, FAILED, UNKNOWN, CANCELLED, SUPPRESSED)),
        *((before, SENT) for before in Status if before is not SENT),  # a 250, however late
    },
    # What comes back from a lapsed lease may be too late by then.
    "sweep": {(S, Q), (S, FAILED), (S, UNKNOWN), (S, EXPIRED), (Q, EXPIRED)},
    "retry": {(before, Q) for before in (FAILED, UNKNOWN, EXPIRED, CANCELLED, SUPPRESSED)},
    "cancel": {(Q, CANCELLED)},
    "resolve": {(UNKNOWN, SENT), (UNKNOWN, Q)},
    "switch": set(),
    "prune": set(),
    "purge": {(Q, CANCELLED)},
    "time": set(),
}
WITHOUT_A_ROW = {(Q, S)}
"""The attempt that a claim begins is a row once it has ended."""


class Observed(NamedTuple):
    """What the tables hold."""

    instant: float
    """By the database's clock."""
    deliveries: dict[int, sa.Row[Any]]
    emails: dict[str, sa.Row[Any]]
    files: dict[str, int]
    """By email id."""
    rows: dict[int, int]
    """By delivery id: attempts and audit entries."""

    def of_email(self, email_id: str) -> list[sa.Row[Any]]:
        return [row for row in self.deliveries.values() if row.email_id == email_id]


_DELIVERIES = sa.select(Delivery.__table__).order_by(Delivery.id)


def observe(database: Database) -> Observed:
    with database.read() as connection:
        rows: dict[int, int] = {}
        for table in (Attempt, AuditEntry):
            for id in connection.execute(sa.select(table.delivery_id)).scalars():
                if id is not None:
                    rows[id] = rows.get(id, 0) + 1
        files: dict[str, int] = {}
        for email_id in connection.execute(sa.select(Attached.email_id)).scalars():
            files[email_id] = files.get(email_id, 0) + 1
        return Observed(
            connection.execute(sa.select(now())).scalar_one(),
            {row.id: row for row in connection.execute(_DELIVERIES)},
            {row.id: row for row in connection.execute(sa.select(Email.__table__))},
            files,
            rows,
        )


def check(before: Observed, after: Observed, verb: str, *, purged: str = "") -> None:
    """Raise AssertionError unless ``verb`` may lead from one to the other; ``purged`` is whose
    data it erased."""
    for id, row in after.deliveries.items():
        assert row.status in set(Status)
        assert 0 <= row.attempts <= row.attempts_allowed, row
        assert (row.status == S) == (row.claim is not None) == (row.lease_until is not None), row
        assert row.email_id in after.emails
        if id in before.deliveries and before.deliveries[id].email_id == row.email_id:
            _check_transition(before, after, id, verb, purged)
        else:
            assert (verb, row.status) == ("record", Q), row
    for id, row in before.deliveries.items():
        if id not in after.deliveries:
            _check_vanished(before, row, verb, purged)
    for email_id in before.emails:
        if email_id in after.emails:
            _check_content(before, after, email_id, verb, purged)
        else:
            assert verb in {"prune", "purge"}


def _check_transition(before: Observed, after: Observed, id: int, verb: str, purged: str) -> None:
    old, new = before.deliveries[id], after.deliveries[id]
    more_rows = after.rows.get(id, 0) - before.rows.get(id, 0)
    assert more_rows >= 0
    assert new.recipient == old.recipient
    if old.status == SENT:
        assert new.status == SENT
    if old.status == new.status:
        return
    step = (old.status, new.status)
    assert step in TRANSITIONS[verb], (verb, step)
    if verb == "purge":
        assert new.recipient == purged
    if verb == "sweep":
        assert not (_is_hold(before, old) and old.marked_at is not None and new.status == Q)
    is_handed_back = verb == "settle" and step == (S, Q) and new.attempts < old.attempts
    assert more_rows or step in WITHOUT_A_ROW or is_handed_back, (verb, step)


def _check_vanished(before: Observed, row: sa.Row[Any], verb: str, purged: str) -> None:
    assert row.status != S
    if verb == "prune":
        assert not [one for one in before.of_email(row.email_id) if one.status in {*OPEN, UNKNOWN}]
    else:
        assert (verb, row.recipient) == ("purge", purged)


def _check_content(
    before: Observed, after: Observed, email_id: str, verb: str, purged: str
) -> None:
    old, new = before.emails[email_id], after.emails[email_id]
    deliveries = after.of_email(email_id)
    if old.erased_at is None and new.erased_at is not None:
        assert not [one for one in deliveries if one.status in OPEN]
        if verb == "prune":
            assert not [one for one in deliveries if one.status == UNKNOWN]
        else:
            assert (verb, old.addresses["from"][0][1]) == ("purge", purged)
    if new.erased_at is not None:
        assert (new.context, new.text, new.html) == (None, None, None)
        assert email_id not in after.files
        return
    assert (new.text, new.html) == (old.text, old.html)
    assert after.files.get(email_id) == before.files.get(email_id)
    all_sent = all(one.status == SENT for one in deliveries)
    if verb in {"settle", "resolve"} and all_sent:
        assert new.context is None or before.of_email(email_id) == deliveries
    elif new.context is None:
        assert old.context is None


def _is_hold(observed: Observed, row: sa.Row[Any]) -> bool:
    return bool(observed.emails[row.email_id].on_unknown == "hold")
