"""Engine, transactions, clock, migrations."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from mailer.db import VERSION_TABLE, Database, alembic_config
from mailer.errors import LedgerUnavailable, NotMigrated
from mailer.expressions import now
from mailer.models import REVISION, WHERE, Base, Email, Switch
from mailer.prepared import Prepared

from .relay import relay

SWITCH = sa.insert(Switch).values(at=now(), actor="ada", kind="lane", name="bulk", paused=True)


def test_the_migrations_make_just_what_the_models_say(database: Database) -> None:
    with database.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_the_newest_migration_is_the_one_that_the_tables_name() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == REVISION


def test_upgrading_twice_changes_nothing(database: Database) -> None:
    assert database.upgrade() == database.upgrade()
    database.check_migrated()


def test_the_clock_is_the_databases_and_runs_in_seconds(database: Database) -> None:
    with database.read() as connection:
        first: float = connection.execute(sa.select(now())).scalar_one()
    assert abs(first - time.time()) < 5
    with database.read() as connection:
        assert connection.execute(sa.select(now())).scalar_one() >= first


def test_an_unmigrated_ledger_says_what_to_run(database_url: str) -> None:
    from mailer.values import database_url as typed

    fresh = Database(typed(database_url))
    with pytest.raises(NotMigrated, match="mailer db upgrade"):
        fresh.check_migrated()
    with pytest.raises(NotMigrated, match="mailer db upgrade"), fresh.begin() as connection:
        connection.execute(sa.select(Email.id))
    fresh.close()


def test_a_ledger_of_an_older_version_says_what_to_run(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(sa.text("ALTER TABLE mailer_emails DROP COLUMN accepted_by"))
    statements = (sa.select(Email.accepted_by), sa.insert(Email).values(id="x", accepted_by="y"))
    for statement in statements:
        expected = pytest.raises(NotMigrated, match=r"not the columns .* mailer db upgrade")
        with expected, database.begin() as connection:
            connection.execute(statement)


def test_a_password_in_the_url_is_in_no_message(tmp_path: Path) -> None:
    database = Database("postgresql+psycopg://mailer:hunter2@127.0.0.1:1/mailer")
    with pytest.raises(LedgerUnavailable) as caught:
        database.check_migrated()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("way", ["begin", "brief"])
def test_a_locked_sqlite_is_unavailable_after_the_busy_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr("mailer.engines.BUSY_SECONDS", 0.2)
    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    database, other = Database(url), Database(url)
    database.upgrade()
    with other.begin():
        started = time.monotonic()
        with pytest.raises(LedgerUnavailable, match="locked"), getattr(database, way)():
            pass
        assert time.monotonic() - started < 3
        with database.read() as connection:  # readers never wait for a writer
            connection.execute(sa.select(Email.id))
    database.close()
    other.close()


def test_a_brief_transaction_of_sqlite_is_undone_by_an_error_and_locks_nobody_out(
    tmp_path: Path,
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    database.upgrade()
    paused = Prepared(SWITCH)
    with pytest.raises(ZeroDivisionError), database.brief() as connection:
        paused.run(connection, [{}])
        1 / 0  # noqa: B018
    for way in (database.brief, database.begin):
        with way() as connection:
            paused.run(connection, [{}])
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(Switch)).scalar() == 2
    database.close()


def test_a_locked_postgresql_is_unavailable_and_no_request_hangs(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mailer.values import database_url as typed

    monkeypatch.setattr("mailer.engines.BUSY_SECONDS", 1)
    database = Database(typed(postgresql_url))
    database.upgrade()
    with database.begin() as other:
        other.execute(sa.text("LOCK TABLE mailer_emails"))
        started = time.monotonic()
        with pytest.raises(LedgerUnavailable), database.begin() as connection:
            connection.execute(sa.update(Email).values(locale="de"))
        assert time.monotonic() - started < 5
    database.close()


@pytest.mark.parametrize("way", ["begin", "session"])
def test_a_commit_whose_answer_is_lost_is_not_said_to_have_stored_nothing(
    postgresql_url: str, way: str
) -> None:
    from mailer.values import database_url as typed

    url = sa.make_url(typed(postgresql_url))
    assert url.port
    with relay(url.port) as between:
        database = Database(url.set(port=between.port).render_as_string(hide_password=False))
        database.upgrade()
        between.cuts_at = b"COMMIT"  # how the answer to it begins
        with pytest.raises(LedgerUnavailable) as caught, getattr(database, way)() as connection:
            connection.execute(SWITCH)
        with database.read() as reading:
            count = reading.execute(sa.select(sa.func.count()).select_from(Switch)).scalar()
        assert (count, caught.value.maybe_stored) == (1, True)

        between.cuts_at = b"INSERT"
        with pytest.raises(LedgerUnavailable) as caught, getattr(database, way)() as connection:
            connection.execute(SWITCH)
        assert not caught.value.maybe_stored
        database.close()


@pytest.mark.parametrize("ping_after", [0, 60])
def test_a_connection_that_postgresql_has_closed_is_replaced_unnoticed(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch, ping_after: float
) -> None:
    from mailer.values import database_url as typed

    monkeypatch.setattr("mailer.engines.PING_AFTER_SECONDS", ping_after)
    database, other = Database(typed(postgresql_url)), Database(typed(postgresql_url))
    database.upgrade()
    for way in (database.begin, database.brief, database.read):
        with way() as connection:
            pid = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        with other.begin() as killer:
            killer.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        with way() as connection:
            assert connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one() != pid
    database.close()
    other.close()


def test_no_value_is_in_the_traceback_of_a_ledger_that_is_gone(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(sa.text("ALTER TABLE mailer_emails RENAME TO gone"))
    secret = "".join(["can", "ary"])  # not in a line of this file: a traceback quotes it
    with pytest.raises(LedgerUnavailable) as caught, database.begin() as connection:
        connection.execute(sa.insert(Email).values(id="x", context={"token": secret}))
    assert secret not in "".join(traceback.format_exception(caught.value))


def test_writers_at_once_wait_for_each_other_and_none_fails(database: Database) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                with database.begin() as connection:
                    connection.execute(sa.select(Email.id).limit(1)).all()
                    connection.execute(sa.update(Email).values(locale="de"))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_sqlite_syncs_each_commit_unless_told_otherwise(tmp_path: Path) -> None:
    for word, number in (("FULL", 2), ("NORMAL", 1)):
        database = Database(f"sqlite:///{tmp_path / word}", sqlite_synchronous=word)
        with database.read() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == number
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA wal_autocheckpoint").scalar() == 4000
        database.close()


def test_the_claims_indexes_leave_out_what_is_finished(database: Database) -> None:
    with database.read() as connection:
        indexes = sa.inspect(connection).get_indexes("mailer_deliveries")
    partial = {index["name"] for index in indexes if index["dialect_options"]}
    assert {"ix_mailer_deliveries_due", "ix_mailer_deliveries_leased"} <= partial


def test_a_partial_index_has_the_condition_that_queries_say(database: Database) -> None:
    partial = [
        index
        for table in Base.metadata.tables.values()
        for index in table.indexes
        if WHERE in index.info
    ]
    assert len(partial) == 14
    source = (
        "SELECT sql FROM sqlite_master WHERE name = :name"
        if database.is_sqlite
        else "SELECT indexdef FROM pg_indexes WHERE indexname = :name"
    )
    with database.read() as connection:
        for index in partial:
            definition = connection.execute(sa.text(source), {"name": index.name}).scalar_one()
            assert " WHERE " in definition
            if database.is_sqlite:  # PostgreSQL writes it in its own words
                assert definition.endswith(f" WHERE {index.info[WHERE]}")


def test_one_dialect_is_loaded() -> None:
    code = "import sys, mailer; print('sqlalchemy.dialects.postgresql' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
