"""SQL that SQLite and PostgreSQL write differently."""

from __future__ import annotations

import json
from collections.abc import Collection
from importlib import import_module
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator


class now(FunctionElement[float]):  # noqa: N801 - reads like SQL's functions
    """The database's time in seconds since 1970: the one clock of leases, due times and expiry."""

    type = sa.Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite_now(element: now, compiler: Any, **kw: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _postgresql_now(element: now, compiler: Any, **kw: Any) -> str:
    # The time of the statement, not of the call: a stable value can bound an index scan.
    return "extract(epoch from statement_timestamp())::double precision"


class one_of(FunctionElement[bool]):  # noqa: N801 - as above
    """Whether a column has one of some values: those of the parameter ``name``, or ``values``. One
    parameter and so one statement, however many there are."""

    # Without a type: of a boolean one SQLAlchemy would write `(...) = 1`, which uses no index.
    inherit_cache = True

    def __init__(
        self, column: Any, name: str | None = None, values: Collection[Any] | None = None
    ) -> None:
        listed = _Listed(sa.inspect(column).type)
        parameter = (
            sa.bindparam(name, type_=listed)
            if values is None
            else sa.bindparam(None, list(values), type_=listed, unique=True)
        )
        super().__init__(column, parameter)


class _Listed(TypeDecorator[list[Any]]):
    """A list of values: an array in PostgreSQL, JSON for SQLite."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, of: Any) -> None:
        super().__init__()
        self.of = of

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        return dialect.type_descriptor(
            sa.ARRAY(self.of) if dialect.name == "postgresql" else sa.Text()
        )

    def process_bind_param(self, value: list[Any] | None, dialect: sa.Dialect) -> Any:
        return value if dialect.name == "postgresql" else json.dumps(value)


@compiles(one_of, "sqlite")
def _sqlite_one_of(element: one_of, compiler: Any, **kw: Any) -> str:
    column, values = (compiler.process(one, **kw) for one in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # nosec B608  # noqa: S608 - a parameter


@compiles(one_of, "postgresql")
def _postgresql_one_of(element: one_of, compiler: Any, **kw: Any) -> str:
    column, values = (compiler.process(one, **kw) for one in element.clauses)
    return f"{column} = ANY({values})"


class holds(FunctionElement[bool]):  # noqa: N801 - as above
    """Whether a text has another one within it, letter by letter: LIKE of SQLite knows no case."""

    type = sa.Boolean()
    inherit_cache = True


@compiles(holds, "sqlite")
def _sqlite_holds(element: holds, compiler: Any, **kw: Any) -> str:
    return f"instr({compiler.process(element.clauses, **kw)}) > 0"


@compiles(holds, "postgresql")
def _postgresql_holds(element: holds, compiler: Any, **kw: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **kw)}) > 0"


def insert(dialect: sa.Dialect, table: Any) -> Any:
    """Return an INSERT into ``table`` that may say ON CONFLICT."""
    # Each is imported where it is used: that of PostgreSQL takes 2 MB of every worker.
    return import_module(f"sqlalchemy.dialects.{dialect.name}").insert(table)
