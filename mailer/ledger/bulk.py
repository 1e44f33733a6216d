"""Bulk sends: the parts of an uploaded file, and what became of each of its rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..db import Database
from ..expressions import now
from ..models import IS_LEFT_OUT, BulkPart, BulkRow, Delivery, Job
from ..prepared import Prepared
from ..recipients import Part
from .filters import OUTCOME_OF
from .record import first_uuid7

KIND = "bulk"
DELETED = "deleted"
"""The state of an email that is older than the ledger keeps them, or was purged."""
_AT_ONCE = 2_000


class Judged(NamedTuple):
    """A row of the file, and whether it is mailed."""

    line: int
    address: str | None
    """In lower case."""
    left_out: str | None = None
    reason: str | None = None


_INSERT = Prepared(
    sa.insert(BulkRow), ("job_id", "line", "address", "email_id", "left_out", "reason")
)
_ACCEPTED = Prepared(
    sa.update(BulkRow)
    .where(BulkRow.job_id == sa.bindparam("job_"), BulkRow.line == sa.bindparam("line_"))
    .values(
        email_id=sa.bindparam("email_"),
        left_out=sa.bindparam("left_out_"),
        reason=sa.bindparam("reason_"),
    )
)


def add_part(connection: sa.Connection, file_id: str, part: Part) -> None:
    """Store a part of a file."""
    connection.execute(sa.insert(BulkPart).values(file_id=file_id, **part._asdict()))


def part_at(connection: sa.Connection, file_id: str, line: int) -> Part | None:
    """Return the part of a file that has a line. None: the file is erased."""
    statement = (
        sa.select(BulkPart.first_line, BulkPart.lines, BulkPart.data)
        .where(BulkPart.file_id == file_id, BulkPart.first_line <= line)
        .order_by(BulkPart.first_line.desc())
        .limit(1)
    )
    row = connection.execute(statement).first()
    return None if row is None else Part(*row)


def erase_file(connection: sa.Connection, file_id: str) -> None:
    """Erase a file."""
    connection.execute(sa.delete(BulkPart).where(BulkPart.file_id == file_id))


def erase_file_of(connection: sa.Connection, job_id: str) -> None:
    """Erase the file of a job, if it has one."""
    details = connection.scalar(sa.select(Job.details).where(Job.id == job_id))
    if file_id := (details or {}).get("file"):
        erase_file(connection, file_id)


def add_rows(connection: sa.Connection, job_id: str, rows: Sequence[Judged]) -> None:
    """Store what the check says of rows."""
    if rows:
        _INSERT.run(
            connection, [{"job_id": job_id, "email_id": None, **row._asdict()} for row in rows]
        )


def seen(connection: sa.Connection, job_id: str, addresses: Collection[str]) -> dict[str, int]:
    """Return which of the addresses an earlier row has that can be read, and its line."""
    statement = (
        sa.select(BulkRow.address, sa.func.min(BulkRow.line))
        .where(
            BulkRow.job_id == job_id,
            BulkRow.address.in_(addresses),
            sa.or_(BulkRow.left_out.is_(None), BulkRow.left_out == "suppressed"),
        )
        .group_by(BulkRow.address)
    )
    return {str(address): line for address, line in connection.execute(statement)}


def waiting(connection: sa.Connection, job_id: str, first: int, last: int) -> set[int]:
    """Return the lines of those rows, from ``first`` to ``last``, of which an email is to be
    made."""
    statement = sa.select(BulkRow.line).where(
        BulkRow.job_id == job_id,
        BulkRow.line.between(first, last),
        BulkRow.left_out.is_(None),
        BulkRow.email_id.is_(None),
    )
    return set(connection.scalars(statement))


def note(
    connection: sa.Connection, job_id: str, accepted: Mapping[int, str], rest: Iterable[Judged]
) -> None:
    """Say which email was made of which line, and why none was of the others."""
    rows = [
        {"job_": job_id, "line_": line, "email_": email_id, "left_out_": None, "reason_": None}
        for line, email_id in accepted.items()
    ] + [
        {
            "job_": job_id,
            "line_": one.line,
            "email_": None,
            "left_out_": one.left_out,
            "reason_": one.reason,
        }
        for one in rest
    ]
    if rows:
        _ACCEPTED.run(connection, rows)


def problems(connection: sa.Connection, job_id: str, limit: int) -> list[sa.Row[Any]]:
    """Return the first rows that are left out, and why."""
    statement = (
        sa.select(BulkRow.line, BulkRow.address, BulkRow.left_out, BulkRow.reason)
        .where(BulkRow.job_id == job_id, IS_LEFT_OUT)
        .order_by(BulkRow.line)
        .limit(limit)
    )
    return list(connection.execute(statement))


def emails_after(
    connection: sa.Connection, job_id: str, line: int, limit: int
) -> list[sa.Row[Any]]:
    """Return the next rows of which an email was made: their lines and its id."""
    statement = (
        sa.select(BulkRow.line, BulkRow.email_id)
        .where(BulkRow.job_id == job_id, BulkRow.line > line, BulkRow.email_id.is_not(None))
        .order_by(BulkRow.line)
        .limit(limit)
    )
    return list(connection.execute(statement))


def became(connection: sa.Connection, job_id: str, after: int, to: int) -> dict[str, int]:
    """Return how many emails are in each state by now, of those that were made of the lines behind
    ``after`` up to ``to``; ``deleted`` are those that are not there any more."""
    state = sa.func.coalesce(Delivery.status, DELETED)
    statement = (
        sa.select(state, sa.func.count())
        .select_from(BulkRow)
        .outerjoin(Delivery, Delivery.email_id == BulkRow.email_id)
        .where(
            BulkRow.job_id == job_id,
            BulkRow.line > after,
            BulkRow.line <= to,
            BulkRow.email_id.is_not(None),
        )
        .group_by(state)
    )
    return {str(state): number for state, number in connection.execute(statement)}


def report(database: Database, job_id: str) -> Iterator[sa.Row[Any]]:
    """Yield every row with what became of it, in the order of the file."""
    after = 0
    while True:
        rows = (
            sa.select(BulkRow)
            .where(BulkRow.job_id == job_id, BulkRow.line > after)
            .order_by(BulkRow.line)
            .limit(_AT_ONCE)
            .subquery()
        )
        statement = (
            sa.select(
                rows.c.line,
                rows.c.address,
                rows.c.email_id,
                rows.c.left_out,
                sa.func.coalesce(rows.c.reason, Delivery.reason).label("words"),
                Delivery.code,
                OUTCOME_OF.label("state"),
            )
            .outerjoin(Delivery, Delivery.email_id == rows.c.email_id)
            .order_by(rows.c.line)
        )
        with database.read() as connection:
            found = list(connection.execute(statement))
        yield from found
        if len(found) < _AT_ONCE:
            return
        after = found[-1].line


def rows_of(connection: sa.Connection, address: str) -> Sequence[sa.Row[Any]]:
    """Return the rows of a person, in the order of the sends."""
    statement = sa.select(BulkRow.__table__).where(BulkRow.address == address.lower())
    return connection.execute(statement.order_by(BulkRow.job_id, BulkRow.line)).all()


def erase_files(connection: sa.Connection, keep_seconds: float) -> None:
    """Erase files that are no more needed: of sends that are over or failed so long ago, of those
    that rested so long, which end with it, and of uploads that broke off a day ago."""
    is_old = sa.func.coalesce(Job.lease_until, Job.created_at) < now() - keep_seconds
    connection.execute(
        sa.update(Job)
        .where(Job.kind == KIND, Job.status.in_(["checked", "paused"]), is_old)
        .values(status="stopped", words=_RESTED, wanted=None, lease_until=None, ended_at=now())
    )
    files = set(connection.scalars(sa.select(BulkPart.file_id).distinct()))
    if not files:
        return
    failed_lately = sa.and_(Job.status == "failed", Job.ended_at >= now() - keep_seconds)
    needed = sa.select(Job.details).where(
        Job.kind == KIND, sa.or_(Job.ended_at.is_(None), failed_lately)
    )
    files -= {details["file"] for details in connection.scalars(needed)}
    instant = connection.execute(sa.select(now() - _UPLOAD_SECONDS)).scalar_one()
    before = first_uuid7(datetime.fromtimestamp(instant, UTC))
    for file_id in files:
        if file_id < before:  # else it may be coming in
            erase_file(connection, file_id)


_RESTED = "it rested for so long that its file was erased: send it anew"
_UPLOAD_SECONDS = 86_400.0


def prune(connection: sa.Connection, keep_seconds: float) -> int | None:
    """Delete some of the oldest job that ended so long ago: rows of a bulk send, then the job.
    Return how many rows. None: there is nothing to delete."""
    job_id = connection.scalar(
        sa.select(Job.id).where(Job.ended_at < now() - keep_seconds).order_by(Job.ended_at).limit(1)
    )
    if job_id is None:
        return None
    lines = sa.select(BulkRow.line).where(BulkRow.job_id == job_id)
    lines = lines.order_by(BulkRow.line).limit(_AT_ONCE)
    of_it = sa.delete(BulkRow).where(BulkRow.job_id == job_id, BulkRow.line.in_(lines))
    deleted = connection.execute(of_it).rowcount
    if deleted < _AT_ONCE:
        connection.execute(sa.delete(Job).where(Job.id == job_id))
    return deleted
