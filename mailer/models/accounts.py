"""Who may use the service: its own users, programs, and the people who look after the mail."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from .base import Base, Instant, Json, RowId


class User(Base):
    """A person with an account of the service."""

    __tablename__ = "mailer_users"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    email: Mapped[str] = mapped_column(sa.String(320), unique=True)
    """In lower case as a whole: one person does not get two accounts by the shift key."""
    password_hash: Mapped[str] = mapped_column(sa.String(255))
    created_at: Mapped[datetime] = mapped_column(Instant)
    confirmed_at: Mapped[datetime | None] = mapped_column(Instant)


class ApiKey(Base):
    """Who may use the HTTP API, and for what. The key itself is stored nowhere."""

    __tablename__ = "mailer_api_keys"

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(100))
    digest: Mapped[str] = mapped_column(sa.String(64), unique=True)
    """SHA-256 of the key, in hexadecimal. The key has 256 random bits: there is nothing to guess
    that a slow hash would make slower."""
    scopes: Mapped[list[str]] = mapped_column(Json)
    senders: Mapped[list[str]] = mapped_column(Json)
    """Patterns such as ``*@example.com``; empty: any."""
    templates: Mapped[list[str]] = mapped_column(Json)
    """Patterns such as ``reset_*``; empty: any, and content without one."""
    recipients: Mapped[list[str]] = mapped_column(Json, server_default="[]")
    """Patterns of addresses, for staging; empty: any."""
    lane: Mapped[str | None] = mapped_column(sa.String(40))
    """The lane of all that it sends; None: as the email or its template says."""
    rate: Mapped[str | None] = mapped_column(sa.String(40))
    """How many emails it may send, such as ``100/minute``; None: any number."""
    is_test: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    created_at: Mapped[datetime] = mapped_column(Instant)
    expires_at: Mapped[datetime | None] = mapped_column(Instant)
    last_used_at: Mapped[datetime | None] = mapped_column(Instant)
    """To the minute."""
    revoked_at: Mapped[datetime | None] = mapped_column(Instant)


class Member(Base):
    """A person who may sign in to the console."""

    __tablename__ = "mailer_members"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(100), unique=True)
    """What they sign in with, in lower case."""
    role: Mapped[str] = mapped_column(sa.String(10))
    password_hash: Mapped[str] = mapped_column(sa.String(255))
    created_at: Mapped[datetime] = mapped_column(Instant)


class Visit(Base):
    """A browser in which a member is signed in."""

    __tablename__ = "mailer_visits"

    digest: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    """SHA-256 of the cookie's token, in hexadecimal: as of an API key."""
    member_id: Mapped[int] = mapped_column(sa.ForeignKey(Member.id, ondelete="CASCADE"), index=True)
    begun_at: Mapped[datetime] = mapped_column(Instant)
    seen_at: Mapped[datetime] = mapped_column(Instant)
    """To the minute."""
