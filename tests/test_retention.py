"""Retention: what is old is erased and deleted, in short transactions; what is open is kept."""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from mailer import dispatch
from mailer.content import Attachment
from mailer.db import Database
from mailer.dev.catcher import Catcher
from mailer.ledger import Filters, Ledger, retention
from mailer.ledger.retention import Pruned
from mailer.models import Attached, Attempt, AuditEntry, Delivery, Email, Status
from mailer.state import of
from mailer.tasks import prune as prune_task
from mailer.tasks import send_email

from .conftest import AppFactory
from .test_ledger import ACCEPTED, DEFERRED, REFUSED, accept, draft, settle

DAY = 86_400
FILE = Attachment(filename="a.txt", data=b"canary", content_type="text/plain")


def prune(ledger: Ledger, **changes: Any) -> Pruned:
    values = {"keep_bodies_seconds": 7 * DAY, "keep_seconds": 90 * DAY, "for_seconds": 60}
    return ledger.prune(**{**values, **changes})


def age(database: Database, email_id: str, days: float) -> str:
    """Let an email have been accepted, and its deliveries changed, days earlier; return its id,
    which says when it was accepted and so is another one then."""
    shift = int(days * DAY * 1000) << 80
    older = str(uuid.UUID(int=uuid.UUID(email_id).int - shift))
    with database.begin() as connection:
        row = connection.execute(sa.select(Email.__table__).where(Email.id == email_id)).one()
        key = {"idempotency_key": None}
        connection.execute(sa.insert(Email).values({**row._mapping, "id": older, **key}))
        for table in (Delivery, Attached):
            connection.execute(
                sa.update(table).where(table.email_id == email_id).values(email_id=older)
            )
        connection.execute(sa.delete(Email).where(Email.id == email_id))
        connection.execute(
            sa.update(Delivery)
            .where(Delivery.email_id == older)
            .values(updated_at=sa.type_coerce(Delivery.updated_at, sa.Double) - days * DAY)
        )
    return older


def one(ledger: Ledger, days: float, outcome: Any, status: Status, **email: Any) -> str:
    """Return the id of an email whose delivery came to this outcome days ago."""
    (accepted,) = accept(ledger, draft(attachments=[FILE], text="canary", html="canary", **email))
    settle(ledger, ledger.claim("default", 1), outcome, status)
    return age(ledger.database, accepted.id, days)


def ids(ledger: Ledger) -> list[str]:
    with ledger.database.read() as connection:
        return sorted(connection.execute(sa.select(Email.id)).scalars())


def count(ledger: Ledger, table: Any) -> int:
    with ledger.database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


@pytest.mark.parametrize(("outcome", "status"), [(ACCEPTED, Status.SENT), (REFUSED, Status.FAILED)])
def test_the_content_of_what_is_final_is_erased_after_its_days_and_the_history_stays(
    ledger: Ledger, outcome: Any, status: Status
) -> None:
    young, old = one(ledger, 6.9, outcome, status), one(ledger, 7.1, outcome, status)

    assert prune(ledger) == Pruned(erased=1, deleted=0)

    history = ledger.show(old)
    email = history.email
    assert (email.context, email.text, email.html, history.attachments) == (None, None, None, [])
    assert email.erased_at is not None
    assert [row.status for row in history.deliveries] == [status]
    assert [len(attempts) for attempts in history.attempts.values()] == [1]
    assert ledger.show(young).email.text == "canary"
    assert ledger.attachments(young) == [FILE]


def test_an_email_is_deleted_after_its_days_with_all_that_belonged_to_it(ledger: Ledger) -> None:
    old = one(ledger, 90.1, REFUSED, Status.FAILED)
    young = one(ledger, 89.9, REFUSED, Status.FAILED)
    with ledger.database.begin() as connection:
        connection.execute(
            sa.insert(AuditEntry).from_select(
                ["at", "actor", "action", "delivery_id"],
                sa.select(sa.literal(0), sa.literal("ops"), sa.literal("retried"), Delivery.id),
            )
        )

    assert prune(ledger).deleted == 1

    assert ids(ledger) == [young] != [old]
    assert {count(ledger, table) for table in (Delivery, Attempt, AuditEntry)} == {1}
    assert count(ledger, Attached) == 0  # the younger one's content was due, too


@pytest.mark.parametrize(
    ("outcome", "status"),
    [(DEFERRED, Status.QUEUED), (REFUSED, Status.UNKNOWN), (None, Status.SENDING)],
)
def test_what_is_open_or_waits_for_a_person_is_kept_whole_whatever_its_age(
    ledger: Ledger, outcome: Any, status: Status
) -> None:
    (accepted,) = accept(ledger, draft("ada@example.com", "bob@example.com", text="canary"))
    batch = ledger.claim("default", 2)
    settle(ledger, batch._replace(deliveries=batch.deliveries[:1]), ACCEPTED, Status.SENT)
    if outcome:
        settle(ledger, batch._replace(deliveries=batch.deliveries[1:]), outcome, status)
    old = age(ledger.database, accepted.id, 1000)

    assert prune(ledger) == Pruned(erased=0, deleted=0)

    assert ledger.show(old).email.text == "canary"
    assert [row.status for row in ledger.show(old).deliveries] == ["sent", status]


def test_an_email_is_as_old_as_its_last_change(ledger: Ledger) -> None:
    old = one(ledger, 1000, REFUSED, Status.FAILED)
    ledger.retry(Filters(email_id=old), actor="ops")
    ledger.cancel(Filters(email_id=old), actor="ops")

    assert prune(ledger) == Pruned(erased=0, deleted=0)


def test_what_was_erased_is_not_retried_and_stays_as_it_was(ledger: Ledger) -> None:
    old, young = (one(ledger, days, REFUSED, Status.FAILED) for days in (8, 1))
    prune(ledger)

    changed = ledger.retry(Filters(), actor="ops")

    assert [row.email_id for row in changed] == [young]
    assert [row.status for row in ledger.show(old).deliveries] == ["failed"]
    assert ledger.show(old).audit == {ledger.show(old).deliveries[0].id: []}


def test_a_run_goes_past_what_must_wait_and_through_any_number(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = [one(ledger, 200, REFUSED, Status.UNKNOWN) for _ in range(5)]
    for _ in range(5):
        one(ledger, 100, REFUSED, Status.FAILED)
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    for name in ("_OLD", "_OLD_WITH_CONTENT"):
        monkeypatch.setattr(retention, name, getattr(retention, name).limit(2))

    assert prune(ledger) == Pruned(erased=0, deleted=5)

    assert ids(ledger) == sorted(waiting)


def test_a_run_without_time_does_nothing(ledger: Ledger) -> None:
    one(ledger, 100, REFUSED, Status.FAILED)
    assert prune(ledger, for_seconds=0) == Pruned(erased=0, deleted=0)


def test_several_runs_at_once_do_it_once(ledger: Ledger) -> None:
    for _ in range(20):
        one(ledger, 100, REFUSED, Status.FAILED)
        one(ledger, 10, REFUSED, Status.FAILED)
    done: list[Pruned] = []
    threads = [threading.Thread(target=lambda: done.append(prune(ledger))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sum(run.erased for run in done), sum(run.deleted for run in done)) == (20, 20)


def test_a_retry_and_a_run_at_once_leave_nothing_queued_without_its_content(
    ledger: Ledger,
) -> None:
    for _ in range(30):
        one(ledger, 10, REFUSED, Status.FAILED)
    start = threading.Barrier(2)

    def retry() -> None:
        start.wait()
        for email_id in ids(ledger):
            ledger.retry(Filters(email_id=email_id), actor="ops")

    thread = threading.Thread(target=retry)
    thread.start()
    start.wait()
    prune(ledger)
    thread.join()
    with ledger.database.read() as connection:
        rows = connection.execute(
            sa.select(Delivery.status, Email.text).join(Email, Email.id == Delivery.email_id)
        ).all()
    assert {tuple(row) for row in rows} <= {("queued", "canary"), ("failed", None)}
    assert len(rows) == 30


def test_a_retry_that_waited_for_the_erasing_changes_nothing(ledger: Ledger) -> None:
    old = one(ledger, 10, REFUSED, Status.FAILED)
    changed: list[Any] = []
    thread = threading.Thread(
        target=lambda: changed.extend(ledger.retry(Filters(email_id=old), actor="ops"))
    )
    with ledger.database.begin() as connection:
        connection.execute(sa.select(Email.id).where(Email.id == old).with_for_update())
        retention.erase_content(connection, old)
        thread.start()
        _wait_until_it_waits(ledger.database, thread)
    thread.join()
    assert changed == []
    assert [row.status for row in ledger.show(old).deliveries] == ["failed"]


def _wait_until_it_waits(database: Database, thread: threading.Thread) -> None:
    if database.engine.dialect.name == "sqlite":
        return  # nobody reads before the lock there
    deadline = time.monotonic() + 4  # less than it waits for a lock
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    while thread.is_alive() and time.monotonic() < deadline:
        with database.read() as connection:
            if connection.execute(waiting).scalar_one():
                return
        time.sleep(0.01)


def test_neither_look_reads_what_is_young_or_was_erased(ledger: Ledger) -> None:
    one(ledger, 1, ACCEPTED, Status.SENT)
    sqlite = ledger.database.engine.dialect.name == "sqlite"
    plans = []
    with ledger.database.begin() as connection:
        if not sqlite:
            connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        for statement in (retention._OLD, retention._OLD_WITH_CONTENT):
            bound = statement.params(after_="a", before_="b").compile(
                connection, compile_kwargs={"literal_binds": True}
            )
            explain = "EXPLAIN QUERY PLAN" if sqlite else "EXPLAIN"
            plans.append(str(connection.exec_driver_sql(f"{explain} {bound}").all()))
    assert "autoindex_mailer_emails_1" in plans[0] or "pk_mailer_emails" in plans[0]
    assert "ix_mailer_emails_content" in plans[1]
    assert all("id>" in plan or "(id)::text >" in plan for plan in plans)


def test_the_task_prunes_by_the_settings(make_app: AppFactory) -> None:
    app = make_app(MAILER_KEEP_BODIES_DAYS=1, MAILER_KEEP_DAYS=2)
    ledger = of(app).ledger
    young, old, _ = (one(ledger, days, REFUSED, Status.FAILED) for days in (0.9, 1.1, 2.1))
    with app.app_context():
        prune_task.run()
    assert ids(ledger) == sorted([young, old])
    assert [ledger.show(id).email.text for id in (young, old)] == ["canary", None]


def test_an_erased_email_is_never_sent_empty(make_app: AppFactory, catcher: Catcher) -> None:
    app = make_app(MAIL_PORT=catcher.smtp_port, CELERY={"broker_url": "memory://"})
    ledger = of(app).ledger
    with app.app_context():
        email_id = dispatch(None, to="ada@example.com", subject="Hello", text="canary").id
        with ledger.database.begin() as connection:
            retention.erase_content(connection, email_id)
        send_email.run(email_id)
    (delivery,) = ledger.show(email_id).deliveries
    assert (delivery.status, delivery.stage) == ("failed", "render")
    assert delivery.reason.startswith("its content was erased on 2")
    assert catcher.messages() == []
