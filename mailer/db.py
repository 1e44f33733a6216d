"""Engine, transactions and the database's clock: SQLite by default, PostgreSQL by URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import DBAPIError, InvalidRequestError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from . import engines, prepared
from .errors import LedgerUnavailable, NotMigrated
from .models import REVISION

if TYPE_CHECKING:
    from alembic.config import Config

_WHAT_TO_RUN = "run `flask mailer db upgrade` (for the service `mailer db upgrade`)"
_NOT_MIGRATED = {
    "42P01": "the ledger has no tables",
    "no such table": "the ledger has no tables",
    "42703": "the ledger has not the columns of this version",
    "no such column": "the ledger has not the columns of this version",
    "has no column named": "the ledger has not the columns of this version",
}
"""What a database says of a table or a column that is not there: PostgreSQL by its state, SQLite
in words."""
VERSION_TABLE = "mailer_alembic_version"  # an app's own Alembic keeps its own


class Database:
    """The ledger's database."""

    def __init__(self, url: str, *, sqlite_synchronous: str = "FULL") -> None:
        self.url = sa.make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self.engine = engines.sqlite_engine(self.url, sqlite_synchronous)
        else:
            self.engine = engines.postgresql_engine(self.url)

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
                engines.begin_to_write(connection)
                yield connection
                prepared.run(connection, "COMMIT")  # unless it was left: then rolled back
            else:
                watch.commits = True  # with the statement
                with engines.committing_itself(connection.connection.dbapi_connection):
                    yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a transaction that only reads, and so never waits for a writer. All that it reads is
        of one moment."""
        with unavailable_as_ours(), self.engine.connect() as connection:
            # SQLite reads so anyway.
            level = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
            yield connection.execution_options(mailer_read=True, **level)

    @contextmanager
    def glance(self) -> Iterator[sa.Connection]:
        """Open a connection for one prepared statement that reads: one round trip to PostgreSQL,
        where `read` takes three. Raises LedgerUnavailable."""
        with unavailable_as_ours(), self.engine.connect() as connection:
            if self.is_sqlite:
                engines.let_wait(connection)
                yield connection
            else:
                with engines.committing_itself(connection.connection.dbapi_connection):
                    yield connection

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
        state = getattr(error.orig, "sqlstate", None)
        if state not in _NOT_MIGRATED:
            raise
        raise NotMigrated(f"{_NOT_MIGRATED[state]}: {_WHAT_TO_RUN}") from error
    except (OperationalError, PoolTimeout) as error:
        words = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        for said, meaning in _NOT_MIGRATED.items():
            if said in words:
                raise NotMigrated(f"{meaning}: {_WHAT_TO_RUN}") from error
        raise LedgerUnavailable(f"the ledger cannot be used: {words}") from error
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise LedgerUnavailable("the ledger's connection was lost") from error
    except InvalidRequestError as error:
        # What the pool says when the connection that it made in place of a dead one is dead as
        # well: a server that ends, begins and ends.
        if str(error) != "This connection is closed":
            raise
        raise LedgerUnavailable("the ledger's connections are lost again and again") from error


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


def alembic_config() -> Config:
    """Return Alembic's configuration; it needs a connection in ``attributes["connection"]``."""
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", "mailer:migrations")
    config.set_main_option("path_separator", "os")
    return config
