"""One part of a list after the other, by the ids of what is known."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa


def part(
    connection: sa.Connection,
    statement: sa.Select[Any],
    column: Any,
    *,
    limit: int,
    after: str | int | None,
    before: str | int | None,
) -> tuple[list[sa.Row[Any]], bool]:
    """Return up to ``limit`` rows, the newest first, and whether there are more that way: those
    older than the id ``after``, or newer than ``before``.

    The ids in ``column`` (``id``) sort by time, so that each part costs the same however many there
    are.
    """
    if before is not None:
        statement = statement.where(column > before).order_by(column)
    else:
        statement = statement.order_by(column.desc())
        if after is not None:
            statement = statement.where(column < after)
    found = list(connection.execute(statement.limit(limit + 1)))
    return sorted(found[:limit], key=lambda row: row.id, reverse=True), len(found) > limit
