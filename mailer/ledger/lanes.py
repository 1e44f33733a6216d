"""Pause and resume a lane: its deliveries wait, and every worker knows at its next claim."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from ..db import now
from ..models import LaneSwitch


class Pause(NamedTuple):
    """Who paused a lane, and when."""

    at: datetime
    actor: str


def is_paused(lane: str | sa.BindParameter[str]) -> sa.ColumnElement[bool]:
    """Return the condition that a lane is paused: the database answers it once a statement."""
    newest = (
        sa.select(LaneSwitch.paused)
        .where(LaneSwitch.lane == lane)
        .order_by(LaneSwitch.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    return sa.func.coalesce(newest, sa.false())


def switch(connection: sa.Connection, lane: str, paused: bool, actor: str) -> bool:
    """Pause or resume a lane; False: it was so already."""
    is_new = is_paused(lane).is_not(sa.true()) if paused else is_paused(lane)
    statement = sa.insert(LaneSwitch).from_select(
        ["at", "actor", "lane", "paused"],
        sa.select(
            now(),
            sa.literal(actor, sa.String),
            sa.literal(lane, sa.String),
            sa.literal(paused, sa.Boolean),
        ).where(is_new),
    )
    return connection.execute(statement.returning(LaneSwitch.id)).first() is not None


def paused(connection: sa.Connection) -> dict[str, Pause]:
    """Return the lanes that are paused."""
    newest = sa.select(sa.func.max(LaneSwitch.id)).group_by(LaneSwitch.lane)
    rows = connection.execute(
        sa.select(LaneSwitch.lane, LaneSwitch.at, LaneSwitch.actor)
        .where(LaneSwitch.id.in_(newest), LaneSwitch.paused)
        .order_by(LaneSwitch.id)
    )
    return {lane: Pause(at, actor) for lane, at, actor in rows}
