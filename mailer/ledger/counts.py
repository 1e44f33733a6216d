"""Count what is open, and what is in trouble, lane by lane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from ..expressions import now
from ..models import (
    IS_QUEUED,
    IS_SENDING,
    IS_TEST,
    IS_TROUBLE,
    IS_WAITING_AGAIN,
    Attempt,
    Delivery,
    Email,
    Status,
)
from ..outcome import Kind
from . import jobs, sweeping, switches, telling
from .switches import is_paused


class Deferral(NamedTuple):
    """The newest attempt that made something of a lane wait, and what was said."""

    stage: str | None
    code: int | None
    enhanced: str | None
    words: str | None
    is_of_transport: bool
    """It was about the way out rather than about the email."""


class Counts(NamedTuple):
    """How much of the ledger is open. What is final is not counted: that would cost more with
    every day."""

    by_lane: dict[str, dict[str, int]]
    """lane -> ``queued`` or ``sending`` -> deliveries."""
    due: dict[str, int]
    """lane -> deliveries that could be sent now."""
    oldest_due_seconds: float | None
    """Age of the oldest due delivery; None when nothing is due."""
    due_seconds: dict[str, float]
    """The same for each lane that has one."""
    deferred: dict[str, int]
    """lane -> deliveries that wait for another attempt."""
    deferrals: dict[str, Deferral]
    """For each lane that has one: of what waits for another attempt, or is due for it again, less
    test mail."""
    unknown: int
    """Deliveries of which somebody has to say whether they arrived."""
    paused: dict[str, switches.Pause]
    """The lanes whose mail waits because somebody said so."""
    paused_transports: dict[str, switches.Pause]
    """The transports that rest because somebody said so."""
    scheduler_seconds: float | None
    """Since the scheduler last swept; None: nobody knows."""
    job_due_seconds: float | None
    """For how long a job has waited for a worker; None: none waits."""
    event_due_seconds: float | None
    """For how long a webhook could have been told an event; None: none is due."""
    failing_webhooks: dict[str, telling.Failing]
    """By id: those that were told nothing successfully of late."""


def is_due(connection: sa.Connection, lanes: Sequence[str]) -> bool:
    return any(connection.execute(_ANY_DUE, {"lane_": lane}).scalar() for lane in lanes)


_ANY_DUE = (
    sa.select(sa.true())
    .where(
        Delivery.lane == sa.bindparam("lane_"),
        IS_QUEUED,
        Delivery.due_at <= now(),
        ~is_paused(sa.bindparam("lane_", type_=sa.String())),
    )
    .limit(1)
)


_UNKNOWN = sa.select(sa.func.count()).where(IS_TROUBLE, Delivery.status == Status.UNKNOWN.value)


def troubles(connection: sa.Connection) -> dict[str, dict[str, int]]:
    """Return lane -> status -> deliveries, for every status in which nothing more happens by itself
    but ``sent``."""
    found: dict[str, dict[str, int]] = {}
    for lane, status, number in connection.execute(
        sa.select(Delivery.lane, Delivery.status, sa.func.count())
        .where(IS_TROUBLE)
        .group_by(Delivery.lane, Delivery.status)
    ):
        found.setdefault(lane, {})[status] = number
    return found


def counts(connection: sa.Connection) -> Counts:
    by_lane: dict[str, dict[str, int]] = {}
    # Each over a partial index, and of what it has: no row is looked at.
    for status, condition in ((Status.QUEUED, IS_QUEUED), (Status.SENDING, IS_SENDING)):
        for lane, number in connection.execute(
            sa.select(Delivery.lane, sa.func.count()).where(condition).group_by(Delivery.lane)
        ):
            by_lane.setdefault(lane, {})[status.value] = number
    due: dict[str, int] = {}
    ages: dict[str, float] = {}
    for lane, number, age in connection.execute(
        sa.select(
            Delivery.lane,
            sa.func.count(),
            sa.type_coerce(now() - sa.func.min(Delivery.due_at), sa.Double),
        )
        .where(IS_QUEUED, Delivery.due_at <= now())
        .group_by(Delivery.lane)
    ):
        due[lane] = number
        ages[lane] = age
    deferred: dict[str, int] = {}
    deferrals: dict[str, Deferral] = {}
    for lane, number in connection.execute(
        # `IS_DEFERRED`, in words for which no row is looked at.
        sa.select(
            Delivery.lane,
            sa.type_coerce(sa.func.count().filter(Delivery.due_at > now()), sa.Integer),
        )
        .where(IS_WAITING_AGAIN)
        .group_by(Delivery.lane)
    ):
        deferred[lane] = number
        if newest := _newest_deferral(connection, lane):
            deferrals[lane] = newest
    return Counts(
        by_lane,
        due,
        max(ages.values(), default=None),
        ages,
        deferred,
        deferrals,
        connection.execute(_UNKNOWN).scalar_one(),
        switches.paused(connection, "lane"),
        switches.paused(connection, "transport"),
        sweeping.seconds_since_scheduled(connection),
        jobs.overdue(connection),
        telling.overdue(connection),
        telling.failing(connection),
    )


_is_test = sa.exists().where(Email.id == Delivery.email_id, IS_TEST)


def _newest_deferral(connection: sa.Connection, lane: str) -> Deferral | None:
    # What is due again counts as well: an outage does not end with each wait.
    newest = connection.execute(
        sa.select(Delivery.id, Delivery.stage, Delivery.code, Delivery.enhanced, Delivery.reason)
        .where(IS_WAITING_AGAIN, Delivery.lane == lane, ~_is_test)
        .order_by(Delivery.updated_at.desc())
        .limit(1)
    ).one_or_none()
    if newest is None:  # a worker took it since it was counted
        return None
    outcome = connection.execute(
        sa.select(Attempt.outcome)
        .where(Attempt.delivery_id == newest.id)
        .order_by(Attempt.id.desc())
        .limit(1)
    ).scalar()
    return Deferral(*newest[1:], is_of_transport=outcome == Kind.UNAVAILABLE)
