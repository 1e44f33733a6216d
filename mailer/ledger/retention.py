"""Retention: erase content and delete emails once they are old enough. Harmless when several run.

Old enough is what is final and has not changed for so long. ``unknown`` waits for a person, who may
want it sent again: such an email is kept as a whole, whatever its age.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..db import Database
from ..expressions import now
from ..models import HAS_CONTENT, OPEN, Attached, Delivery, Email, Report, Status
from . import acts, bulk, tallying
from .record import first_uuid7

AT_ONCE = 200
"""Emails of one transaction, so that it holds SQLite's one write lock for some milliseconds."""

_PAUSE = 2
"""Times as long as a transaction took, before the next: SQLite lets whoever asks first have the
lock, and others that wait for it ask only now and then."""


class Pruned(NamedTuple):
    """What one run did."""

    erased: int
    """Emails whose content was erased."""
    deleted: int
    """Emails deleted, with all that belonged to them."""
    reports: int = 0
    """Reports deleted that were about no delivery here; the others go with their email."""
    acts: int = 0
    """Deleted of what people and programs did."""
    rows: int = 0
    """Rows of bulk sends deleted."""


def prune(
    database: Database, *, keep_bodies_seconds: float, keep_seconds: float, for_seconds: float
) -> Pruned:
    """Work for at most about ``for_seconds``; what is left then is for the next run."""
    until = time.monotonic() + for_seconds
    deleted = _walk(database, _OLD, _delete, keep_seconds, until)
    erased = _walk(database, _OLD_WITH_CONTENT, _erase, keep_bodies_seconds, until)
    reports = _walk(database, _OLD_REPORTS, _delete_reports, keep_seconds, until)
    gone = _prune_acts(database, keep_seconds, until)
    with database.begin() as connection:
        tallying.prune(connection, keep_seconds=keep_seconds)
        bulk.erase_files(connection, keep_bodies_seconds)
    rows = _prune_rows(database, keep_seconds, until)
    return Pruned(erased=erased, deleted=deleted, reports=reports, acts=gone, rows=rows)


def _prune_rows(database: Database, keep_seconds: float, until: float) -> int:
    deleted = 0
    while (started := time.monotonic()) < until:
        with database.begin() as connection:
            pruned = bulk.prune(connection, keep_seconds)
        if pruned is None:
            break
        deleted += pruned
        time.sleep(_PAUSE * (time.monotonic() - started))
    return deleted


# By id, which sorts by time of acceptance: what was accepted lately is not looked at, and what was
# looked at long ago is gone (from the table, or from the partial index), but for a few that wait.
_CANDIDATES = (
    sa.select(Email.id)
    .where(Email.id > sa.bindparam("after_"), Email.id < sa.bindparam("before_"))
    .order_by(Email.id)
    .limit(AT_ONCE)
    .with_for_update(skip_locked=True)  # a retry has it, or another run
)
_OLD = _CANDIDATES
_OLD_WITH_CONTENT = _CANDIDATES.where(HAS_CONTENT)
# Their ids sort by the time when they came.
_OLD_REPORTS = (
    sa.select(Report.id)
    .where(
        Report.id > sa.bindparam("after_"),
        Report.id < sa.bindparam("before_"),
        Report.delivery_id.is_(None),
    )
    .order_by(Report.id)
    .limit(AT_ONCE)
    .with_for_update(skip_locked=True)
)
_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
# What must be so of every delivery is asked in a statement of its own, after the lock: a retry
# takes the same lock, so it is either seen here or sees what was done here.
_NONE_NEEDS_IT = ~sa.exists().where(
    Delivery.email_id == Email.id,
    sa.or_(
        Delivery.status.in_([*OPEN, Status.UNKNOWN]),
        Delivery.updated_at > now() - sa.bindparam("age_", type_=sa.Double()),
    ),
)


def _walk(
    database: Database, candidates: sa.Select[str], change: Any, age: float, until: float
) -> int:
    after, changed = "", 0
    while (started := time.monotonic()) < until:
        with database.begin() as connection:
            instant = connection.execute(_NOW).scalar_one()
            before = datetime.fromtimestamp(max(0.0, instant - age), UTC)
            bounds = {"after_": after, "before_": first_uuid7(before)}
            ids = connection.execute(candidates, bounds).scalars().all()
            changed += change(connection, {"ids": ids, "age_": age}) if ids else 0
        if len(ids) < AT_ONCE:
            break
        after = ids[-1]
        time.sleep(_PAUSE * (time.monotonic() - started))
    return changed


def _prune_acts(database: Database, keep_seconds: float, until: float) -> int:
    total = 0
    while (started := time.monotonic()) < until:
        with database.begin() as connection:
            number = acts.prune(connection, keep_seconds, AT_ONCE)
        total += number
        if number < AT_ONCE:
            break
        time.sleep(_PAUSE * (time.monotonic() - started))
    return total


_NOW = sa.select(now())
_DELETE = sa.delete(Email).where(Email.id.in_(_IDS), _NONE_NEEDS_IT)


def _delete(connection: sa.Connection, values: dict[str, Any]) -> int:
    deleted = connection.execute(_DELETE, values).rowcount
    if deleted:
        tallying.step_back(connection)
    return deleted


_DELETE_REPORTS = sa.delete(Report).where(Report.id.in_(_IDS))


def _delete_reports(connection: sa.Connection, values: dict[str, Any]) -> int:
    return connection.execute(_DELETE_REPORTS, {"ids": values["ids"]}).rowcount


_CONTENTLESS: dict[str, Any] = {"context": None, "text": None, "html": None, "erased_at": now()}
_ERASE = (
    sa.update(Email)
    .where(Email.id.in_(_IDS), _NONE_NEEDS_IT)
    .values(_CONTENTLESS)
    .returning(Email.id)
)
_DELETE_FILES = sa.delete(Attached).where(Attached.email_id.in_(_IDS))


def _erase(connection: sa.Connection, values: dict[str, Any]) -> int:
    ids = connection.execute(_ERASE, values).scalars().all()
    if ids:
        connection.execute(_DELETE_FILES, {"ids": ids})
    return len(ids)


def erase_content(connection: sa.Connection, email_id: str) -> None:
    """Erase the content of one email, whatever became of it."""
    connection.execute(sa.update(Email).where(Email.id == email_id).values(_CONTENTLESS))
    connection.execute(_DELETE_FILES, {"ids": [email_id]})
