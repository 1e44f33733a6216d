"""What steers the dispatcher: what is paused, who did what, and when the scheduler was there."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from .base import Base, Instant, RowId


class Switch(Base):
    """Somebody paused or resumed a lane or a transport: its newest entry says which it is."""

    __tablename__ = "mailer_switches"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    at: Mapped[datetime] = mapped_column(Instant)
    actor: Mapped[str] = mapped_column(sa.String(100))
    kind: Mapped[str] = mapped_column(sa.String(10))
    """``lane`` or ``transport``."""
    name: Mapped[str] = mapped_column(sa.String(40))
    paused: Mapped[bool]

    __table_args__ = (sa.Index("ix_mailer_switches_newest", "kind", "name", "id"),)


class Act(Base):
    """Something that a person or a program did to the mail or to who may do what."""

    __tablename__ = "mailer_acts"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    at: Mapped[datetime] = mapped_column(Instant, index=True)
    actor: Mapped[str] = mapped_column(sa.String(120))
    """Such as ``member NAME``, ``api key NAME`` or ``cli:NAME``."""
    action: Mapped[str] = mapped_column(sa.String(20))
    about: Mapped[str] = mapped_column(sa.Text)
    """To what: names and ids, and no recipient's address."""
    number: Mapped[int]
    """To how many."""

    __table_args__ = (
        sa.Index("ix_mailer_acts_actor_id", "actor", "id"),
        sa.Index("ix_mailer_acts_action_id", "action", "id"),
    )


class Sweeps(Base):
    """When the ledger was last swept: one row, which the migration made."""

    __tablename__ = "mailer_sweeps"

    id: Mapped[int] = mapped_column(sa.Integer, primary_key=True)
    swept_at: Mapped[datetime] = mapped_column(Instant)
    """By the scheduler, or by a worker in its place."""
    scheduled_at: Mapped[datetime] = mapped_column(Instant)
    """By the scheduler."""
