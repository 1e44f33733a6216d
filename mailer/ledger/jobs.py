"""Jobs: work over many deliveries, asked for once, claimed by one worker at a time, resumed where
it stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..errors import MailerError, NotFound
from ..expressions import insert, now
from ..models import IS_OPEN, Job
from .record import Recorded

LEASE_SECONDS = 60.0
"""A worker that is not heard of for so long lost its job to the next."""
CRASHES_ALLOWED = 3
"""So many workers in a row may be lost over it before it is given up."""

Row = sa.Row[Any]


class Step(NamedTuple):
    """What one step did."""

    cursor: int
    done: int
    """How many were looked at."""
    changed: int
    is_last: bool
    due: Mapping[str, str] = {}
    """Lane -> an email that is due now."""
    fewer: int = 0
    """So many of the total are none after all."""
    accepted: Sequence[Recorded] = ()
    """Emails that it stored."""
    found: Mapping[str, Any] | None = None
    """What the job found so far. None: as before."""
    begins: int | None = None
    """How many the next phase is about: it is counted anew."""
    rests_as: str | None = None
    """Go on when somebody says so, and be in this state until then."""


NOTHING = Step(cursor=0, done=0, changed=0, is_last=False)


class Lost(MailerError):
    """The job is another worker's by now, or nobody's."""


class Waits(MailerError):
    """The job cannot go on before somebody mends something; says what."""


def add(
    connection: sa.Connection,
    job_id: str,
    kind: str,
    details: Mapping[str, Any],
    *,
    actor: str,
    total: int,
    found: Mapping[str, Any] | None = None,
    key_id: str | None = None,
) -> bool:
    """Store a job. False: it is there already."""
    values = {
        "id": job_id,
        "kind": kind,
        "details": details,
        "actor": actor,
        "key_id": key_id,
        "status": "queued",
        "cursor": 0,
        "done": 0,
        "changed": 0,
        "total": total,
        "found": found,
        "created_at": now(),
        "lease_until": now(),
    }
    statement = (
        insert(connection.dialect, Job)
        .values(values)
        .on_conflict_do_nothing(index_elements=[Job.id])
        .returning(Job.id)
    )
    return connection.execute(statement).first() is not None


def find(connection: sa.Connection, job_id: str) -> Row:
    """Return a job, with the seconds since its lease is over (``overdue``). Raises NotFound."""
    overdue = (now() - sa.type_coerce(Job.lease_until, sa.Double)).label("overdue")
    row = connection.execute(sa.select(Job.__table__, overdue).where(Job.id == job_id)).first()
    if row is None:
        raise NotFound(f"there is no job {job_id!r}")
    return row


def page(
    connection: sa.Connection,
    limit: int,
    after: str | None,
    before: str | None,
    *,
    kind: str | None,
    key_id: str | None = None,
) -> tuple[list[Row], bool]:
    """Return jobs, the newest first, and whether there are more that way; ``key_id``: only those
    that this API key asked for."""
    # Not by id, which whoever asked chose: it says nothing of when.
    order = (Job.created_at, Job.id)
    statement = sa.select(Job.__table__)
    if kind is not None:
        statement = statement.where(Job.kind == kind)
    if key_id is not None:
        statement = statement.where(Job.key_id == key_id)
    if before is not None:
        statement = statement.where(sa.tuple_(*order) > _place(before)).order_by(*order)
    else:
        statement = statement.order_by(*(column.desc() for column in order))
        if after is not None:
            statement = statement.where(sa.tuple_(*order) < _place(after))
    found = list(connection.execute(statement.limit(limit + 1)))
    shown = found[:limit]
    return shown[::-1] if before is not None else shown, len(found) > limit


def _place(job_id: str) -> Any:
    return sa.select(Job.created_at, Job.id).where(Job.id == job_id).scalar_subquery()


def due(connection: sa.Connection) -> list[str]:
    """Return the jobs that wait for a worker, the oldest first."""
    waits = sa.or_(Job.status == "queued", Job.lease_until < now())
    return list(
        connection.scalars(sa.select(Job.id).where(IS_OPEN, waits).order_by(Job.id).limit(100))
    )


def overdue(connection: sa.Connection) -> float | None:
    """Return for how many seconds a job has waited while no worker is at work on any; None: none
    waits, or its turn comes."""
    waited = now() - sa.type_coerce(Job.lease_until, sa.Double)
    longest, least = connection.execute(
        sa.select(sa.func.max(waited), sa.func.min(waited)).where(IS_OPEN)
    ).one()
    return longest if longest is not None and least >= 0 else None


_POISON = f"given up: {CRASHES_ALLOWED} workers in a row were lost before they ended its next step"


def claim(connection: sa.Connection, job_id: str, claim: str) -> Row | None:
    """Take a job for one worker, or give it up because it kills them. None: another has it, or
    there is nothing to do."""
    waits = sa.or_(
        Job.status == "queued", sa.and_(Job.status == "running", Job.lease_until < now())
    )
    crashes = Job.crashes + sa.case((Job.status == "running", 1), else_=0)
    is_poison = crashes >= CRASHES_ALLOWED
    return connection.execute(
        sa.update(Job)
        .where(Job.id == job_id, waits)
        .values(
            status=sa.case((is_poison, "failed"), else_="running"),
            words=sa.case((is_poison, _POISON), else_=None),
            ended_at=sa.case((is_poison, now()), else_=None),
            crashes=sa.case((is_poison, 0), else_=crashes),
            claim=claim,
            lease_until=now() + LEASE_SECONDS,
            started_at=sa.func.coalesce(Job.started_at, now()),
        )
        .returning(Job.__table__)
    ).first()


def begin_step(connection: sa.Connection, job_id: str, claim: str) -> str | None:
    """Make sure that the job is still ours, and nobody else's until the commit; return what
    somebody asked of it. Raises Lost."""
    row = connection.execute(
        sa.update(Job)
        .where(Job.id == job_id, Job.claim == claim, Job.status == "running")
        .values(lease_until=now() + LEASE_SECONDS)
        .returning(Job.wanted)
    ).first()
    if row is None:
        raise Lost(f"job {job_id} is not ours any more")
    wanted: str | None = row.wanted
    return wanted


def end_step(connection: sa.Connection, job_id: str, step: Step) -> Row:
    """Note what was done, in the transaction that did it."""
    done, total = Job.done + step.done, Job.total - step.fewer
    values: dict[str, Any] = {
        "cursor": step.cursor,
        "done": done,
        "total": sa.case((done > total, done), else_=total),
        "changed": Job.changed + step.changed,
        "crashes": 0,
    }
    if step.found is not None:
        values["found"] = step.found
    if step.begins is not None:
        values |= {"done": 0, "changed": 0, "total": step.begins}
    if step.rests_as is not None:
        values |= {"status": step.rests_as, "claim": None, "lease_until": now()}
    if step.is_last:
        values |= {"status": "done", "ended_at": now(), "claim": None}
    return connection.execute(
        sa.update(Job).where(Job.id == job_id).values(values).returning(Job.__table__)
    ).one()


def leave(
    connection: sa.Connection, job_id: str, claim: str, status: str, words: str | None = None
) -> Row | None:
    """Give a job up: ``queued`` for the next worker, unless something else is asked of it; or
    ``paused`` or ``failed``. None: it was not ours."""
    ends = {"ended_at": now()} if status == "failed" else {}
    becomes: Any = as_asked() if status == "queued" else status
    return connection.execute(
        sa.update(Job)
        .where(Job.id == job_id, Job.claim == claim, Job.status == "running")
        .values(status=becomes, words=words, claim=None, lease_until=now(), wanted=None, **ends)
        .returning(Job.__table__)
    ).first()


def as_asked() -> sa.ColumnElement[str]:
    """Return what becomes of a job that no worker has any more."""
    return sa.func.coalesce(Job.wanted, "queued")


def ask(connection: sa.Connection, job_id: str, wanted: str) -> bool:
    """Ask for a job to be ``paused`` or, after a pause or a failure, ``queued`` again, or stop it.
    False: it has ended, or is so already. Raises NotFound."""
    find(connection, job_id)
    if wanted == "stopped":
        return _stop(connection, job_id)
    from_ = {"queued": ("paused", "failed"), "paused": ("queued",)}[wanted]
    if let_go_on(connection, job_id, *from_, to=wanted):
        return True
    if wanted == "queued":  # it was asked to pause, and runs yet
        unasked = sa.update(Job).where(
            Job.id == job_id, Job.status == "running", Job.wanted == "paused"
        )
        return bool(connection.execute(unasked.values(wanted=None)).rowcount)
    runs = sa.update(Job).where(
        Job.id == job_id, Job.status == "running", Job.wanted.is_distinct_from(wanted)
    )
    return bool(connection.execute(runs.values(wanted=wanted)).rowcount)


def let_go_on(connection: sa.Connection, job_id: str, *from_: str, to: str = "queued") -> bool:
    """Move a job that no worker has from one state to another. False: it is in no such state."""
    statement = (
        sa.update(Job)
        .where(Job.id == job_id, Job.status.in_(from_))
        .values(status=to, words=None, wanted=None, lease_until=now(), ended_at=None)
    )
    return bool(connection.execute(statement).rowcount)


def _stop(connection: sa.Connection, job_id: str) -> bool:
    """End a job now: whoever has it cannot commit another step, and one that failed cannot be
    resumed."""
    statement = (
        sa.update(Job)
        .where(Job.id == job_id, Job.status.not_in(["done", "stopped"]))
        .values(status="stopped", wanted=None, claim=None, lease_until=None, ended_at=now())
    )
    return bool(connection.execute(statement).rowcount)
