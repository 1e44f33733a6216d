"""Acts: who did what, when, to how many. Each is noted in the transaction that does it.

No act names a recipient: what is erased of a person would stay here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, get_args

import sqlalchemy as sa

from .. import paging
from ..expressions import now
from ..models import Act

Action = Literal[
    "retry",
    "cancel",
    "reschedule",
    "resolve: sent",
    "resolve: resend",
    "purge",
    "send test",
    "pause",
    "resume",
    "suppress",
    "unsuppress",
    "upload file",
    "start bulk send",
    "start job",
    "pause job",
    "resume job",
    "stop job",
    "make webhook",
    "change webhook",
    "enable webhook",
    "disable webhook",
    "rotate secret",
    "delete webhook",
    "replay events",
    "make key",
    "rename key",
    "revoke key",
    "add member",
    "change role",
    "change password",
    "remove member",
    "sign in",
    "fail to sign in",
]
ACTIONS: tuple[Action, ...] = get_args(Action)


def note(
    connection: sa.Connection, actor: str, action: Action, about: str = "", number: int = 1
) -> None:
    """Store an act; nothing, if it was done to nothing."""
    if number:
        values = {"actor": actor, "action": action, "about": about, "number": number}
        connection.execute(sa.insert(Act).values(**values, at=now()))


def page(
    connection: sa.Connection,
    limit: int,
    after: int | None = None,
    before: int | None = None,
    *,
    actor: str | None = None,
    action: str | None = None,
    since: datetime | None = None,
) -> tuple[list[sa.Row[Any]], bool]:
    """Return acts, the newest first, and whether there are more that way: those older than the id
    ``after``, or newer than ``before``."""
    statement = sa.select(Act.__table__)
    if actor is not None:
        statement = statement.where(Act.actor == actor)
    if action is not None:
        statement = statement.where(Act.action == action)
    if since is not None:
        last = sa.select(Act.id).where(Act.at < since).order_by(Act.at.desc()).limit(1)
        statement = statement.where(Act.id > sa.func.coalesce(last.scalar_subquery(), 0))
    return paging.part(connection, statement, Act.id, limit=limit, after=after, before=before)


def prune(connection: sa.Connection, keep_seconds: float, limit: int) -> int:
    """Delete up to ``limit`` that are older; return how many."""
    old = sa.select(Act.id).where(Act.at < now() - keep_seconds).order_by(Act.at).limit(limit)
    return connection.execute(sa.delete(Act).where(Act.id.in_(old))).rowcount
