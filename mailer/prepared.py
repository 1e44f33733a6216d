"""Statements that SQLAlchemy writes once and the driver runs: for the path of every email.

SQLAlchemy's own execution costs about 40 microseconds a statement and 3 more a row, as much as
SQLite takes to insert it. What goes wrong is raised as SQLAlchemy raises it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.sql.dml import ReturningUpdate

_Rows = tuple[Any, ...]
_Statement = sa.Select[*_Rows] | sa.Insert | sa.Update | ReturningUpdate[*_Rows]
_NONE: Mapping[str, Any] = MappingProxyType({})


class _Written(NamedTuple):
    """A statement in the words of one driver."""

    sql: str
    processors: list[tuple[str, Callable[[Any], Any] | None]]
    """Each parameter, in order, and what makes its value one of the driver's."""
    fixed: dict[str, Any]
    """Values that stand in the statement itself."""
    positional: bool


class Prepared:
    """A statement whose parameters are ``columns`` of its table, and those that it names itself."""

    def __init__(self, statement: _Statement, columns: Sequence[str] = ()) -> None:
        self._statement = statement
        self._columns = list(columns)
        self._written: dict[str, _Written] = {}
        """By driver."""

    def scalar(self, connection: sa.Connection, values: Mapping[str, Any] = _NONE) -> Any:
        """Return the first column of the first row; None when there is no row."""
        rows = self.rows(connection, values)
        return rows[0][0] if rows else None

    def rows(self, connection: sa.Connection, values: Mapping[str, Any]) -> list[Any]:
        """Return the rows as the driver has them: instants are numbers, JSON is text."""
        written = self._for(connection.dialect)
        rows: list[Any] = _execute(connection, written.sql, _values(written, values))
        return rows

    def run(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run it once for each of ``rows``: values by parameter."""
        written = self._for(connection.dialect)
        values = [_values(written, row) for row in rows]
        _execute(connection, written.sql, values[0] if len(values) == 1 else values)

    def _for(self, dialect: sa.Dialect) -> _Written:
        written = self._written.get(dialect.driver)
        if written is None:
            written = self._written[dialect.driver] = self._write(dialect)
        return written

    def _write(self, dialect: sa.Dialect) -> _Written:
        compiled = self._statement.compile(dialect=dialect, column_keys=self._columns or None)
        binds = compiled.binds
        names = list(compiled.positiontup or ()) if compiled.positional else list(binds)
        types = [(name, binds[name].type.dialect_impl(dialect)) for name in names]
        return _Written(
            sql=str(compiled),
            processors=[(name, one.bind_processor(dialect)) for name, one in types],
            fixed={name: one.value for name, one in binds.items() if name not in self._columns},
            positional=compiled.positional,
        )


def run(connection: sa.Connection, sql: str) -> None:
    """Have the driver run ``sql`` as it is."""
    _execute(connection, sql, ())


def _values(written: _Written, row: Mapping[str, Any]) -> Any:
    given = {**written.fixed, **row} if written.fixed else row
    values = [
        (name, given[name] if make is None else make(given[name]))
        for name, make in written.processors
    ]
    return tuple([value for _, value in values]) if written.positional else dict(values)


def _execute(connection: sa.Connection, sql: str, values: Any) -> Any:
    """Return the rows, if there can be any. A list of ``values`` runs it once for each."""
    cursor = connection.connection.cursor()
    try:
        if isinstance(values, list):
            cursor.executemany(sql, values)
        else:
            cursor.execute(sql, values)
        return cursor.fetchall() if cursor.description else []
    except connection.dialect.loaded_dbapi.Error as error:
        raise _as_sqlalchemy_does(connection, sql, error, cursor) from error
    except BaseException as error:
        if not isinstance(error, Exception):
            # As SQLAlchemy does: cut off by an exit, it still waits for its answer.
            connection.invalidate(error)
        raise
    finally:
        cursor.close()


def _as_sqlalchemy_does(
    connection: sa.Connection, sql: str, error: Any, cursor: Any
) -> BaseException:
    """Return the exception that SQLAlchemy would raise, and drop a connection that was lost."""
    dialect = connection.dialect
    lost = dialect.is_disconnect(error, connection.connection.dbapi_connection, cursor)
    if lost:
        connection.invalidate(error)
    raised: BaseException = sa.exc.DBAPIError.instance(
        sql,
        None,
        error,
        dialect.loaded_dbapi.Error,
        hide_parameters=True,
        connection_invalidated=lost,
        dialect=dialect,
    )
    return raised
