"""Pause and resume a lane or a transport: every worker knows at its next claim."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from ..expressions import now
from ..models import Switch


class Pause(NamedTuple):
    """Who paused something, and when."""

    at: datetime
    actor: str


def is_paused(lane: str | sa.BindParameter[str]) -> sa.ColumnElement[bool]:
    """Return the condition that a lane is paused: the database answers it once a statement."""
    return _is_paused("lane", lane)


def _is_paused(kind: str, name: str | sa.BindParameter[str]) -> sa.ColumnElement[bool]:
    newest = (
        sa.select(Switch.paused)
        .where(Switch.kind == kind, Switch.name == name)
        .order_by(Switch.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    return sa.func.coalesce(newest, sa.false())


def switch(connection: sa.Connection, kind: str, name: str, paused: bool, actor: str) -> bool:
    """Pause or resume a ``lane`` or a ``transport``; False: it was so already."""
    was_paused = _is_paused(kind, name)
    statement = sa.insert(Switch).from_select(
        ["at", "actor", "kind", "name", "paused"],
        sa.select(
            now(),
            sa.literal(actor, sa.String),
            sa.literal(kind, sa.String),
            sa.literal(name, sa.String),
            sa.literal(paused, sa.Boolean),
        ).where(was_paused.is_not(sa.true()) if paused else was_paused),
    )
    return connection.execute(statement.returning(Switch.id)).first() is not None


def paused(connection: sa.Connection, kind: str) -> dict[str, Pause]:
    """Return the lanes or the transports that are paused."""
    newest = sa.select(sa.func.max(Switch.id)).where(Switch.kind == kind).group_by(Switch.name)
    rows = connection.execute(
        sa.select(Switch.name, Switch.at, Switch.actor)
        .where(Switch.id.in_(newest), Switch.paused)
        .order_by(Switch.id)
    )
    return {name: Pause(at, actor) for name, at, actor in rows}
