"""What each transport did lately, from the newest attempts."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from ..expressions import now
from ..models import Attempt
from ..outcome import Kind

WITHIN_SECONDS = 600
AT_MOST = 10_000
"""Attempts that are looked at, so that the answer costs as much on a busy day."""

REFUSED_SHARE = 0.5
REFUSED_LEAST = 20
"""So large a share of at least so many emails refused is no matter of single addresses."""


class Figures(NamedTuple):
    """The newest attempts over one transport, of at most the last ten minutes."""

    sent: int
    deferred: int
    refused: int
    per_minute: float
    """Sent within the last minute."""

    @property
    def given(self) -> int:
        return self.sent + self.deferred + self.refused

    @property
    def alarming(self) -> bool:
        """Whether the server refuses too much of what it is given."""
        return self.refused >= REFUSED_LEAST and self.refused >= REFUSED_SHARE * self.given


class Trouble(NamedTuple):
    """The newest attempt over a transport that did not succeed."""

    at: datetime
    stage: str | None
    code: int | None
    enhanced: str | None
    words: str | None


def figures(connection: sa.Connection) -> dict[str, Figures]:
    """Return the figures by the name of the transport."""
    number = sa.func.count()
    newest = sa.select(sa.func.max(Attempt.id) - AT_MOST).scalar_subquery()
    rows = connection.execute(
        sa.select(
            Attempt.transport,
            number.filter(Attempt.outcome == Kind.SENT.value),
            number.filter(Attempt.outcome.in_([Kind.DEFERRED.value, Kind.AMBIGUOUS.value])),
            number.filter(Attempt.outcome == Kind.REFUSED.value),
            number.filter(Attempt.outcome == Kind.SENT.value, Attempt.ended_at > now() - 60.0),
        )
        .where(
            Attempt.id > newest,
            Attempt.ended_at > now() - float(WITHIN_SECONDS),
            Attempt.transport.is_not(None),
        )
        .group_by(Attempt.transport)
    )
    return {str(row[0]): Figures(*row[1:]) for row in rows}


def troubles(connection: sa.Connection) -> dict[str, Trouble]:
    """Return the newest trouble of each transport that had some among the newest attempts."""
    newest = sa.select(sa.func.max(Attempt.id) - AT_MOST).scalar_subquery()
    last = (
        sa.select(sa.func.max(Attempt.id))
        .where(
            Attempt.id > newest,
            Attempt.transport.is_not(None),
            Attempt.outcome != Kind.SENT.value,
        )
        .group_by(Attempt.transport)
    )
    rows = connection.execute(
        sa.select(
            Attempt.transport,
            Attempt.ended_at,
            Attempt.stage,
            Attempt.code,
            Attempt.enhanced,
            Attempt.words,
        ).where(Attempt.id.in_(last))
    )
    return {str(row[0]): Trouble(*row[1:]) for row in rows}
