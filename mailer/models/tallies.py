"""How much happened when, so that no chart and no metric counts the history."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from .base import Base, Instant

FOREVER = 0
"""The step of the totals, which are never pruned."""
MINUTE, TEN_MINUTES, HOUR = 60, 600, 3600
STEPS = (MINUTE, TEN_MINUTES, HOUR, FOREVER)
"""The lengths of periods in seconds. Everything is counted once in each."""


class Tally(Base):
    """How many deliveries of a kind came to something within a period."""

    __tablename__ = "mailer_tallies"

    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    begins_at: Mapped[datetime] = mapped_column(Instant, primary_key=True)
    lane: Mapped[str] = mapped_column(sa.String(40), primary_key=True)
    template: Mapped[str] = mapped_column(sa.String(100), primary_key=True)
    """Empty: of none."""
    transport: Mapped[str] = mapped_column(sa.String(40), primary_key=True)
    """Empty: over none."""
    outcome: Mapped[str] = mapped_column(sa.String(10), primary_key=True)
    """``accepted``, or what an attempt made of a delivery: ``deferred`` or a final status."""
    code: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Of the server's reply; 0: there was none."""
    number: Mapped[int] = mapped_column(sa.BigInteger)


class Latency(Base):
    """How many deliveries that were sent within a period took about as long."""

    __tablename__ = "mailer_latencies"

    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    begins_at: Mapped[datetime] = mapped_column(Instant, primary_key=True)
    lane: Mapped[str] = mapped_column(sa.String(40), primary_key=True)
    bucket: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Of `mailer.histogram`."""
    number: Mapped[int] = mapped_column(sa.BigInteger)
    seconds: Mapped[float] = mapped_column(sa.Double)
    """All together."""


class Tallied(Base):
    """How far the ledger is tallied: one row, which the migration made."""

    __tablename__ = "mailer_tallied"

    id: Mapped[int] = mapped_column(sa.Integer, primary_key=True)
    attempt_id: Mapped[int] = mapped_column(sa.BigInteger)
    """The last attempt that is counted..."""
    delivery_id: Mapped[int] = mapped_column(sa.BigInteger)
    """... and the last delivery, as accepted."""
