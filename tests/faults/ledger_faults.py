"""The ledgers' databases, and what befalls them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from .. import postgresql
from ..worker import wait_until
from .disk import Disk, small_disk

Met = Callable[[], bool]
"""Whether a client and a visitor have met the fault. A lock ends in its time all the same."""


@dataclass
class Place:
    """A database, and the way to it behind the dispatcher's back."""

    url: str
    disk: Disk | None
    """What its tables are on; None where none could be mounted."""
    server: postgresql.Server | None = None
    """None: the database is a file."""
    random: random.Random = field(default_factory=lambda: random.Random(2026))

    @property
    def kind(self) -> str:
        return self.url.partition(":")[0]


@contextmanager
def sqlite_place(folder: Path) -> Iterator[Place]:
    """A file on a small disk."""
    with small_disk(folder / "disk", owner=os.getuid()) as disk:
        yield Place(f"sqlite:///{(disk.folder if disk else folder) / 'ledger.sqlite3'}", disk)


@contextmanager
def postgresql_place() -> Iterator[Place]:
    """A server of its own, with the ledger's tables on a small disk."""
    with tempfile.TemporaryDirectory(prefix="mailer-disk-") as name:
        folder = Path(name)
        if os.getuid() == 0:
            shutil.chown(folder, postgresql.owner())
        with (
            small_disk(folder / "disk", owner=postgresql.owner()) as disk,
            postgresql.server() as server,
        ):
            tablespace = ""
            with psycopg.connect(f"{server.url}/postgres", autocommit=True) as connection:
                if disk is not None:
                    connection.execute(f"CREATE TABLESPACE small LOCATION '{disk.folder}'".encode())
                    tablespace = " TABLESPACE small"
                connection.execute(f"CREATE DATABASE ledger{tablespace}".encode())
            yield Place(f"{server.url}/ledger", disk, server)


def lock(place: Place, seconds: float, met: Met) -> None:
    """Let another program keep every writer waiting."""
    if place.server is None:
        with _file(place) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")
    else:
        with psycopg.connect(place.url) as connection:
            connection.execute("LOCK TABLE mailer_deliveries IN ACCESS EXCLUSIVE MODE")
            time.sleep(seconds)
            connection.rollback()


def cut_connections(place: Place, seconds: float, met: Met) -> None:
    """End all connections at once, again and again, until many were within a transaction."""
    cut_off = 0
    deadline = time.monotonic() + seconds
    with psycopg.connect(place.url, autocommit=True) as connection:
        while time.monotonic() < deadline or cut_off < 10:
            time.sleep(place.random.uniform(0.01, 0.1))
            ended = connection.execute(
                "SELECT xact_start IS NOT NULL, pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            cut_off += sum(within for within, _ in ended)
            assert time.monotonic() < deadline + 30, "no transaction was ever met"


def restart(place: Place, seconds: float, met: Met) -> None:
    """Stop the server as its operator would, and start it after a while."""
    _restart(place, seconds, met, signal.SIGINT)


def crash(place: Place, seconds: float, met: Met) -> None:
    """Let the server die, and start it after a while."""
    _restart(place, seconds, met, signal.SIGQUIT)


def fill_the_disk(place: Place, seconds: float, met: Met) -> None:
    """Leave no room for the ledger, until somebody deletes something else."""
    assert place.disk is not None
    if place.server is None:
        _empty_the_log(place)
    place.disk.fill()
    try:
        time.sleep(seconds)
        # There may be room for some more emails in the pages that PostgreSQL has already.
        wait_until(met, 30)
    finally:
        place.disk.make_room()


def _restart(place: Place, seconds: float, met: Met, how: signal.Signals) -> None:
    assert place.server is not None
    place.server.stop(how)
    try:
        time.sleep(seconds)
        wait_until(met, 30)
    finally:
        place.server.start()


def _empty_the_log(place: Place) -> None:
    """Make SQLite's write-ahead log a file of no bytes, whose old space nobody can write to."""
    with _file(place) as connection:

        def emptied() -> bool:
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy

        wait_until(emptied, 30)


@contextmanager
def _file(place: Place) -> Iterator[sqlite3.Connection]:
    path = place.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
        yield connection
