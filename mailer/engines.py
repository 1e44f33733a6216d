"""How connections to SQLite and PostgreSQL are opened, kept, and begin to write."""

from __future__ import annotations

import select
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from . import prepared
from .errors import SettingError

BUSY_SECONDS = 5
"""How long a writer waits for another one."""
_LOOK_AGAIN_SECONDS = 0.0005
PING_AFTER_SECONDS = 5.0
"""A connection to PostgreSQL that was idle for longer may be lost without a word."""
_USED_AT = "mailer_used_at"
_WAITS = "mailer_waits"


def postgresql_engine(url: sa.URL) -> sa.Engine:
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
        # Rows are looked up by index, most of them in memory: PostgreSQL reckons with a disk whose
        # head moves, and would rather read a whole table. Compiling takes longer than any of it.
        connection.execute("SET random_page_cost = 1.1")
        connection.execute("SET jit = off")
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
def committing_itself(connection: Any) -> Iterator[None]:
    """Have each statement commit itself. SQLAlchemy's isolation level "AUTOCOMMIT" does the same in
    20 microseconds more."""
    try:
        connection.autocommit = True
        yield
    finally:
        if not connection.closed:
            if connection.info.transaction_status.name == "IDLE":
                connection.autocommit = False
            else:  # cut off in the middle of a statement
                connection.close()


def _has_news(connection: Any) -> bool:
    """Whether the server said something that was not asked for: that it ends, most likely."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def sqlite_engine(url: sa.URL, synchronous: str) -> sa.Engine:
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
            let_wait(connection)
            prepared.run(connection, "BEGIN")
        else:
            begin_to_write(connection)

    return engine


def begin_to_write(connection: sa.Connection) -> None:
    """Begin a transaction once nobody else writes.

    SQLite would look again after 1, 3, 8, 18 ms and so on: a third of a `dispatch` was such sleep
    while workers claimed and settled, which takes 2 ms.
    """
    let_wait(connection, 0)
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


def let_wait(connection: sa.Connection, seconds: float = BUSY_SECONDS) -> None:
    """Set how long SQLite itself waits for a lock."""
    info = connection.connection.info
    if info.get(_WAITS) != seconds:
        prepared.run(connection, f"PRAGMA busy_timeout = {int(seconds * 1000)}")
        info[_WAITS] = seconds
