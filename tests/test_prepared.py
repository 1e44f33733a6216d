"""Prepared statements store and raise what SQLAlchemy's own execution would."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from mailer.db import Database
from mailer.models import Email
from mailer.prepared import Prepared
from mailer.values import database_url as typed_database_url

COLUMNS = tuple(column.key for column in sa.inspect(Email).columns)
INSERT = Prepared(sa.insert(Email), COLUMNS)


def row(name: str) -> dict[str, Any]:
    values: dict[str, Any] = dict.fromkeys(COLUMNS)
    return values | {
        "id": name,
        "created_at": datetime(2026, 11, 24, 12, 30, tzinfo=UTC),
        "lane": "default",
        "context": {"name": "Renée", "items": [1, 2.5, None, True]},
        "addresses": {"from": [["Acme", "a@acme.example"]]},
        "headers": {},
        "tags": {},
        "has_attachments": True,
        "is_test": False,
        "on_unknown": "resend",
    }


@pytest.fixture
def connection(database: Database) -> Iterator[sa.Connection]:
    with database.begin() as opened:
        yield opened


def stored(connection: sa.Connection, name: str) -> dict[str, Any]:
    query = sa.select(Email.__table__).where(Email.id == name)
    return dict(connection.execute(query).one()._mapping)


def test_a_row_reads_back_as_it_was_given(connection: sa.Connection) -> None:
    INSERT.run(connection, [row("one")])
    assert stored(connection, "one") == row("one")


def test_each_of_many_rows_is_stored(connection: sa.Connection) -> None:
    INSERT.run(connection, [row(str(number)) for number in range(5)])
    assert [stored(connection, str(number))["id"] for number in range(5)] == list("01234")


def test_a_row_that_is_there_already_is_refused(connection: sa.Connection) -> None:
    INSERT.run(connection, [row("one")])
    with pytest.raises(IntegrityError) as refused, connection.begin_nested():
        INSERT.run(connection, [row("one")])
    assert "Renée" not in str(refused.value), "values are hidden: some are secrets"


def test_what_the_database_lacks_is_an_error_of_sqlalchemy(connection: sa.Connection) -> None:
    missing = Prepared(sa.insert(sa.Table("missing", sa.MetaData(), sa.Column("id"))), ["id"])
    with pytest.raises((OperationalError, ProgrammingError), match="missing"):
        missing.run(connection, [{"id": 1}])


def test_a_connection_that_was_lost_is_dropped(postgresql_url: str) -> None:
    database = Database(typed_database_url(postgresql_url))
    database.upgrade()
    with database.read() as killer, database.engine.connect() as victim:
        pid = victim.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        killer.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        with pytest.raises(OperationalError) as lost:
            INSERT.run(victim, [row("one")])
        assert lost.value.connection_invalidated
        assert victim.invalidated
    with database.begin() as next_one:
        INSERT.run(next_one, [row("two")])
    database.close()
