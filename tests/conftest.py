"""Fixtures: real databases, a real Redis, a real SMTP server, and apps on them."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from flask import Flask

from mailer.app import create_app
from mailer.db import Database
from mailer.dev.catcher import Catcher
from mailer.dev.redis import EmbeddedRedis
from mailer.ledger import Ledger
from mailer.models import Delivery
from mailer.state import of
from mailer.traffic import Known, key
from mailer.values import database_url as typed_database_url

from . import postgresql
from .smtp_server import Certificates

_numbers = itertools.count()


@pytest.fixture(autouse=True, scope="session")
def a_hangup_is_heard() -> None:
    """Run under nohup, what the tests start would rightly ignore a closed terminal."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the settings of whoever runs the tests out of them, and their .env too."""
    for name in os.environ:
        if name.startswith("FLASK_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    if postgresql.binaries() is None:
        reason = "no PostgreSQL here: install the package postgresql to run these tests"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with postgresql.server() as server:
        yield server.url


@pytest.fixture
def postgresql_url(postgresql_server: str) -> str:
    """An empty database of its own."""
    name = f"ledger{next(_numbers)}"
    with psycopg.connect(f"{postgresql_server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return f"{postgresql_server}/{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    url: str = request.getfixturevalue("postgresql_url")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(typed_database_url(database_url))
    opened.upgrade()
    yield opened
    opened.close()


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database, lease_seconds=60, attempts_allowed=3)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """The shared Redis, emptied."""
    import redis

    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def catcher() -> Iterator[Catcher]:
    with Catcher() as server:
        yield server


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """Settings of an app that runs its tasks itself; tests change what they are about."""
    return {
        "SECRET_KEY": "not a secret, this is a test",
        "MAIL_DEFAULT_SENDER": "Acme <hello@acme.example>",
        "MAILER_BASE_URL": "https://app.acme.example",
        "MAIL_CONNECT_TIMEOUT_SECONDS": 2,
        "MAIL_TIMEOUT_SECONDS": 2,
        "MAIL_FINAL_TIMEOUT_SECONDS": 2,
        "MAILER_DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.sqlite3'}",
        "MAILER_BACKOFF_BASE_SECONDS": 0,
        "MAILER_BACKOFF_CAP_SECONDS": 0,
        "CELERY": {"broker_url": "memory://", "task_always_eager": True},
    }


def let_time_pass(
    database: Database, column: str, seconds: float, *, model: Any = Delivery
) -> None:
    """Shift an instant of every delivery, or of every other ``model``, into the past: the
    database's clock is the only one."""
    with database.begin() as connection:
        field = model.__table__.c[column]
        connection.execute(
            sa.update(model).values({column: sa.type_coerce(field, sa.Double) - seconds})
        )


def let_circuits_probe(app: Flask) -> None:
    """End the pause of every transport whose circuit is open, as time would."""

    def change(value: Any, now: float) -> tuple[Any, None]:
        known = Known.read(value)
        return known._replace(circuit=known.circuit._replace(open_until=0)).written(), None

    for name in of(app).traffic.dsns:
        of(app).traffic.shared.update(key(name), change)


AppFactory = Callable[..., Flask]


@pytest.fixture
def make_app(settings: dict[str, Any]) -> Iterator[AppFactory]:
    """Make apps of the service with a migrated ledger: ``make_app(MAIL_PORT=2525)``."""
    made: list[Flask] = []

    def make(**changes: Any) -> Flask:
        url = typed_database_url({**settings, **changes}["MAILER_DATABASE_URL"])
        ledger = Database(url)
        ledger.upgrade()
        ledger.close()
        app = create_app({**settings, **changes})
        made.append(app)
        return app

    yield make
    for app in made:
        of(app).close()


@pytest.fixture
def app(make_app: AppFactory, catcher: Catcher) -> Flask:
    """The service, sending to the catcher within the call that dispatches."""
    return make_app(MAIL_PORT=catcher.smtp_port)
