"""Engine, transactions and the database's clock: SQLite by default, PostgreSQL by URL."""

from __future__ import annotations

import json
import select
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from . import prepared
from .errors import LedgerUnavailable, NotMigrated, SettingError
from .models import REVISION

if TYPE_CHECKING:
    from alembic.config import Config

BUSY_SECONDS = 5
_LOOK_AGAIN_SECONDS = 0.0005
PING_AFTER_SECONDS = 5.0
"""A connection to PostgreSQL that was idle for longer may be lost without a word."""
_USED_AT = "mailer_used_at"
_WHAT_TO_RUN = "run `flask mailer db upgrade` (for the service `mailer db upgrade`)"
_NO_TABLES = f"the ledger has no tables: {_WHAT_TO_RUN}"
VERSION_TABLE = "mailer_alembic_version"  # an app's own Alembic keeps its own


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
    """Whether a column has one of the values that the parameter ``name`` lists: one parameter and
    so one statement, however many there are."""

    # Without a type: of a boolean one SQLAlchemy would write `(...) = 1`, which uses no index.
    inherit_cache = True

    def __init__(self, column: Any, name: str) -> None:
        super().__init__(column, sa.bindparam(name, type_=_Listed(sa.inspect(column).type)))


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


class Database:
    """The ledger's database."""

    def __init__(self, url: str, *, sqlite_synchronous: str = "FULL") -> None:
        self.url = sa.make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self.engine = _sqlite_engine(self.url, sqlite_synchronous)
        else:
            self.engine = _postgresql_engine(self.url)

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Open a transaction for writing; commit at the end. Raises LedgerUnavailable."""
        with unavailable_as_ours(), _commit_watched() as watch, self.engine.begin() as connection:
            yield connection
            watch.commits = True

    @contextmanager
    def brief(self) -> Iterator[sa.Connection]:
        """Open a transaction for prepared statements alone; in PostgreSQL for one, which commits
        itself. `begin` costs 11 microseconds more, and two round trips to PostgreSQL. Raises
        LedgerUnavailable."""
        connect = self.engine.connect
        with unavailable_as_ours(), _commit_watched() as watch, connect() as connection:
            if self.is_sqlite:
                _begin_to_write(connection)
                yield connection
                prepared.run(connection, "COMMIT")  # unless it was left: then rolled back
            else:
                watch.commits = True  # with the statement
                with _committing_itself(connection.connection.dbapi_connection):
                    yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a transaction that only reads, and so never waits for a writer."""
        with unavailable_as_ours(), self.engine.connect() as connection:
            yield connection.execution_options(mailer_read=True)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Open an ORM session in one transaction; commit at the end. Raises LedgerUnavailable."""
        opened = Session(self.engine, expire_on_commit=False)
        with unavailable_as_ours(), opened as session, _commit_watched() as watch, session.begin():
            yield session
            watch.commits = True

    def forget(self) -> None:
        """Drop the connections inherited by a forked child without closing the parent's."""
        self.engine.dispose(close=False)

    def close(self) -> None:
        """Close every idle connection."""
        self.engine.dispose()

    def upgrade(self) -> str:
        """Migrate to the newest revision and return its name."""
        from alembic import command  # noqa: PLC0415 - 11 MB that no worker has use for

        config = alembic_config()
        if self.url.database and self.is_sqlite:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        with self.begin() as connection:
            if not self.is_sqlite:
                connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        return REVISION

    def check_migrated(self) -> None:
        """Raise NotMigrated, saying what to run, unless every migration has been applied."""
        with self.read() as connection:
            revision = None
            if sa.inspect(connection).has_table(VERSION_TABLE):
                version = sa.table(VERSION_TABLE, sa.column("version_num"))
                revision = connection.execute(sa.select(version.c.version_num)).scalar()
        if revision != REVISION:
            raise NotMigrated(
                f"the ledger at {self.url.render_as_string()} is at revision "
                f"{revision or 'none'}, expected {REVISION}: {_WHAT_TO_RUN}"
            )


def located(url: str, app: Flask) -> str:
    """Return ``url``; the path of an SQLite database counts from the app's instance folder."""
    path = url.removeprefix("sqlite:///")
    return f"sqlite:///{Path(app.instance_path, path)}" if path != url else url


@contextmanager
def unavailable_as_ours() -> Iterator[None]:
    """Translate what a database says when it is locked, gone or not migrated."""
    try:
        yield
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != "42P01":  # undefined_table
            raise
        raise NotMigrated(_NO_TABLES) from error
    except (OperationalError, PoolTimeout) as error:
        words = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        if "no such table" in words:
            raise NotMigrated(_NO_TABLES) from error
        raise LedgerUnavailable(f"the ledger cannot be used: {words}") from error
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise LedgerUnavailable("the ledger's connection was lost") from error


class _Watch:
    commits = False
    """All is said but the commit, whose answer is awaited."""


@contextmanager
def _commit_watched() -> Iterator[_Watch]:
    """Say so when the connection is lost during the commit: it may have been done."""
    watch = _Watch()
    try:
        yield watch
    except DBAPIError as error:
        if not (watch.commits and error.connection_invalidated):
            raise
        lost = LedgerUnavailable(
            "the ledger's connection was lost during the commit, which may have been done"
        )
        lost.maybe_stored = True
        raise lost from error


def _postgresql_engine(url: sa.URL) -> sa.Engine:
    if find_spec("psycopg") is None:
        raise SettingError(
            "MAILER_DATABASE_URL: PostgreSQL needs psycopg: "
            "pip install 'mailer-dispatch[postgresql]'"
        )
    engine = sa.create_engine(
        url,
        hide_parameters=True,  # an error must not show addresses and contexts
        connect_args={
            "connect_timeout": BUSY_SECONDS,
            "keepalives_idle": 30,
            "tcp_user_timeout": 10_000,  # milliseconds
        },
    )

    @sa.event.listens_for(engine, "connect")
    def configure(connection: Any, record: Any) -> None:
        # A request waits for a lock as long as it would with SQLite, and for nothing for ever.
        connection.execute(f"SET lock_timeout = '{BUSY_SECONDS}s'")
        connection.execute("SET statement_timeout = '30s'")
        connection.commit()
        record.info[_USED_AT] = time.monotonic()

    @sa.event.listens_for(engine, "checkin")
    def note(connection: Any, record: Any) -> None:
        record.info[_USED_AT] = time.monotonic()

    # Instead of a ping each time, which costs a round trip: one that was closed says so at once.
    @sa.event.listens_for(engine, "checkout")
    def look(connection: Any, record: Any, proxy: Any) -> None:
        idle = time.monotonic() - record.info[_USED_AT]
        if idle < PING_AFTER_SECONDS and not _has_news(connection):
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise sa.exc.InvalidatePoolError from error  # take none of its age

    return engine


@contextmanager
def _committing_itself(connection: Any) -> Iterator[None]:
    """Have each statement commit itself. SQLAlchemy's isolation level "AUTOCOMMIT" does the same in
    20 microseconds more."""
    connection.autocommit = True
    try:
        yield
    finally:
        if not connection.closed:
            connection.autocommit = False


def _has_news(connection: Any) -> bool:
    """Whether the server said something that was not asked for: that it ends, most likely."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _sqlite_engine(url: sa.URL, synchronous: str) -> sa.Engine:
    engine = sa.create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def configure(connection: Any, record: Any) -> None:
        # SQLAlchemy, not the driver, begins transactions: see below.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        # After 16 MB instead of 4: a commit that copies the log back takes 3 to 10 milliseconds,
        # and with 10 pages an email each hundredth did (p99 of one email 1.2 ms, now 0.65).
        connection.execute("PRAGMA wal_autocheckpoint = 4000")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("mailer_read"):
            prepared.run(connection, f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
            prepared.run(connection, "BEGIN")
        else:
            _begin_to_write(connection)

    return engine


def _begin_to_write(connection: sa.Connection) -> None:
    """Begin a transaction once nobody else writes.

    SQLite would look again after 1, 3, 8, 18 ms and so on: a third of a `dispatch` was such sleep
    while workers claimed and settled, which takes 2 ms.
    """
    prepared.run(connection, "PRAGMA busy_timeout = 0")
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            # One that reads first and writes later fails at once when another one wrote between
            # (1,503 errors over 4 processes); one that takes the write lock first waits.
            prepared.run(connection, "BEGIN IMMEDIATE")
            return
        except OperationalError as error:
            code = getattr(error.orig, "sqlite_errorcode", 0)
            if code & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(_LOOK_AGAIN_SECONDS)


def alembic_config() -> Config:
    """Return Alembic's configuration; it needs a connection in ``attributes["connection"]``."""
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", "mailer:migrations")
    config.set_main_option("path_separator", "os")
    return config
