"""Work over many deliveries that somebody asked for, and how far it is."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from .base import WHERE, Base, Instant, Json

IS_OPEN = sa.text("status IN ('queued', 'running')")
"""A worker has something to do for it."""


class Job(Base):
    """Work that is done step by step in the background. Each step notes in its own transaction how
    far the work is, so that none is done twice."""

    __tablename__ = "mailer_jobs"

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    """Also the id of its task and so of its result. Whoever asks for it chose it: asking twice
    makes one job."""
    kind: Mapped[str] = mapped_column(sa.String(20))
    details: Mapped[dict[str, Any]] = mapped_column(Json)
    """What is to be done; its form is the kind's."""
    actor: Mapped[str] = mapped_column(sa.String(120))
    key_id: Mapped[str | None] = mapped_column(sa.String(36))
    """Of the API key that asked for it. None: none did."""
    status: Mapped[str] = mapped_column(sa.String(10))
    """``queued``, ``running``, ``paused``, ``checked``, ``done``, ``stopped`` or ``failed``."""
    wanted: Mapped[str | None] = mapped_column(sa.String(10))
    """What somebody asked of one that runs: ``paused``."""
    cursor: Mapped[int] = mapped_column(sa.BigInteger)
    """Up to where it is done; what it counts is the kind's."""
    done: Mapped[int]
    """How many of ``total`` were looked at."""
    changed: Mapped[int]
    """How many of them it was done to."""
    total: Mapped[int]
    found: Mapped[dict[str, Any] | None] = mapped_column(Json)
    """What it found on its way; its form is the kind's."""
    words: Mapped[str | None] = mapped_column(sa.Text)
    """Why it failed, or waits for somebody to mend something."""
    created_at: Mapped[datetime] = mapped_column(Instant)
    started_at: Mapped[datetime | None] = mapped_column(Instant)
    ended_at: Mapped[datetime | None] = mapped_column(Instant)
    claim: Mapped[str | None] = mapped_column(sa.String(36))
    crashes: Mapped[int] = mapped_column(default=0, server_default="0")
    """How many workers in a row lost it before they ended a step."""
    lease_until: Mapped[datetime | None] = mapped_column(Instant)
    """Until when it is a worker's. Of one that is open and past it, since when it waits for one, or
    for somebody."""

    __table_args__ = (
        sa.Index("ix_mailer_jobs_open", "id", info={WHERE: IS_OPEN}),
        sa.Index("ix_mailer_jobs_created_at_id", "created_at", "id"),
    )
