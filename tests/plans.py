"""How a database goes about the statements of the code under test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from mailer.db import Database


@contextmanager
def plans(database: Database) -> Iterator[list[str]]:
    """Yield the plans of the SELECTs that are made within, as their database words them."""
    explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
    found: list[str] = []

    def note(_: Any, cursor: Any, statement: str, parameters: Any, *__: Any) -> None:
        if statement.lstrip().startswith("SELECT"):
            cursor.execute(f"{explain} {statement}", parameters)
            found.append("\n".join(str(row[-1]) for row in cursor.fetchall()))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)


def prefer_indexes(database: Database) -> None:
    """Have PostgreSQL use an index wherever one can serve, though the tables are small."""
    if not database.is_sqlite:

        @sa.event.listens_for(database.engine, "begin")
        def set_for_transaction(connection: sa.Connection) -> None:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
