"""Who did what: noted in the transaction that does it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from mailer import bulk, dispatch, dispatcher, grants, jobs, keys, members, webhooks
from mailer.db import Database
from mailer.dev.catcher import Catcher
from mailer.drafting import Request
from mailer.ledger import Filters, Ledger, acts
from mailer.ledger.record import uuid7
from mailer.models import Act, Status
from mailer.state import of

from .conftest import AppFactory

PASSWORD = "correct horse battery staple"


def told(ledger: Ledger) -> list[tuple[str, str, str, int]]:
    """Return who did what to what and how many, the oldest first."""
    rows, _ = ledger.acts(1000)
    return [(row.actor, row.action, row.about, row.number) for row in reversed(rows)]


@pytest.fixture
def app(make_app: AppFactory, catcher: Catcher, database_url: str) -> Flask:
    return make_app(
        MAIL_PORT=catcher.smtp_port,
        MAILER_DATABASE_URL=database_url,
        MAILER_WEBHOOK_ALLOW="127.0.0.1",
    )


def test_what_is_done_to_deliveries_says_how_many(app: Flask, catcher: Catcher) -> None:
    refusing = catcher.script("rcpt", "550 5.7.1 no")
    with app.app_context():
        for name in ("ann", "ben"):
            dispatch(subject="One", text="x", to=f"{name}@example.com")
        catcher.rules.remove(refusing.id)
        failed = Filters(statuses={Status.FAILED}, recipient="ann@example.com", code=550)
        dispatcher.retry(failed, actor="ann")
        dispatcher.retry(failed, actor="ann")  # there is nothing more to do: no act
        later = dispatch(
            subject="Two",
            text="x",
            to=["ann@example.com", "ben@example.com"],
            send_at=datetime.now(UTC) + timedelta(hours=2),
        )
        dispatcher.reschedule(later.id, datetime.now(UTC) + timedelta(hours=3), actor="ben")
        dispatcher.cancel(Filters(email_id=later.id), actor="ben")
        dispatcher.pause("bulk", actor="carl")
        dispatcher.pause("bulk", actor="carl")
        dispatcher.resume("bulk", actor="carl")
        dispatcher.pause_transport("default", actor="carl")
    assert told(of(app).ledger) == [
        ("ann", "retry", "state=failed code=550 of one recipient", 1),
        ("ben", "reschedule", later.id, 2),
        ("ben", "cancel", later.id, 2),
        ("carl", "pause", "lane bulk", 1),
        ("carl", "resume", "lane bulk", 1),
        ("carl", "pause", "transport default", 1),
    ]


def test_suppressions_are_counted_and_no_act_names_a_recipient(ledger: Ledger) -> None:
    added = ledger.suppress(["ann@example.com", "ben@example.com"], origin="manual", actor="carl")
    ledger.suppress(["dan@example.com"], origin="unsubscribe", category="news")  # he did it himself
    ledger.unsuppress(actor="carl", addresses=["ann@example.com"])
    ledger.purge("ann@example.com", actor="carl")
    assert told(ledger) == [
        ("carl", "suppress", "all mail", 2),
        ("carl", "unsuppress", added["ann@example.com"], 1),
    ]
    assert "@" not in str(told(ledger))


def test_what_is_done_to_webhooks_keys_and_members_is_noted(app: Flask) -> None:
    state = of(app)
    made = webhooks.create(state, "http://127.0.0.1:9/", ["email.sent"], actor="ann")
    webhooks.update(state, made.id, types=["email.failed"], actor="ann")
    webhooks.update(state, made.id, status="disabled", actor="ann")
    webhooks.update(state, made.id, status="enabled", actor="ann")
    webhooks.rotate_secret(state, made.id, actor="ann")
    webhooks.delete(state, made.id, actor="ann")
    key_id, token = keys.create(state.database, "shop", grants.checked(), actor="ben")
    keys.rename(state.database, key_id, "market", actor="ben")
    keys.revoke(state.database, key_id, actor="ben")
    members.add(state.database, "dan", "viewer", PASSWORD, actor="carl")
    members.set_role(state.database, "dan", "admin", actor="carl")
    members.set_password(state.database, "dan", PASSWORD[::-1], actor="carl")
    members.remove(state.database, "dan", actor="carl")
    assert told(state.ledger) == [
        ("ann", "make webhook", made.id, 1),
        ("ann", "change webhook", made.id, 1),
        ("ann", "disable webhook", made.id, 1),
        ("ann", "enable webhook", made.id, 1),
        ("ann", "rotate secret", made.id, 1),
        ("ann", "delete webhook", made.id, 1),
        ("ben", "make key", f"shop {key_id}", 1),
        ("ben", "rename key", f"market {key_id}", 1),
        ("ben", "revoke key", f"market {key_id}", 1),
        ("carl", "add member", "dan as viewer", 1),
        ("carl", "change role", "dan to admin", 1),
        ("carl", "change password", "dan", 1),
        ("carl", "remove member", "dan", 1),
    ]
    for secret in (made.secret, token, PASSWORD):
        assert secret not in str(told(state.ledger))


def test_a_job_is_one_act_whatever_its_steps(app: Flask) -> None:
    state, job_id = of(app), uuid7()
    details = {"ids": [1, 2, 3], "below": 10}
    with app.app_context():
        assert jobs.start(state, job_id, "cancel", details, actor="ann", total=3)
        assert not jobs.start(state, job_id, "cancel", details, actor="ann", total=3)
    waiting = uuid7()
    state.ledger.add_job(waiting, "cancel", details, actor="ann", total=3)
    for wanted in ("paused", "queued", "stopped", "stopped"):
        state.ledger.ask_job(waiting, wanted, actor="ben")
    assert told(state.ledger) == [
        ("ann", "start job", f"cancel {job_id}", 3),
        ("ann", "start job", f"cancel {waiting}", 3),
        ("ben", "pause job", waiting, 1),
        ("ben", "resume job", waiting, 1),
        ("ben", "stop job", waiting, 1),
    ]


def test_a_bulk_send_is_its_file_and_its_start(app: Flask) -> None:
    state, job_id = of(app), uuid7()
    upload = bulk.Upload("people.csv", [b"email\na@example.com\nb@example.com\n"], is_csv=True)
    with app.app_context():
        request = Request(subject="s", text="t")
        bulk.create(state, job_id, request, upload, actor="ann")  # checked within the call
        assert bulk.start(state, job_id, actor="ben")
        assert not bulk.start(state, job_id, actor="ben")
    assert told(state.ledger) == [
        ("ann", "upload file", f"bulk {job_id}", 3),
        ("ben", "start bulk send", f"bulk {job_id}", 2),
    ]


def test_who_signs_in_and_who_fails_to_is_noted_without_what_was_typed(
    database: Database, ledger: Ledger
) -> None:
    members.add(database, "ann", "viewer", PASSWORD, actor="test")
    assert members.sign_in(database, "ann", "wrong horse") is None
    assert members.sign_in(database, PASSWORD, "ann") is None
    assert members.sign_in(database, "ann", PASSWORD) is not None
    assert told(ledger)[1:] == [
        ("stranger", "fail to sign in", "ann", 1),
        ("stranger", "fail to sign in", "no member's name", 1),
        ("member ann", "sign in", "", 1),
    ]


def test_an_act_that_is_rolled_back_leaves_nothing(database: Database, ledger: Ledger) -> None:
    with pytest.raises(ZeroDivisionError), database.begin() as connection:
        acts.note(connection, "ann", "retry")
        raise ZeroDivisionError
    assert told(ledger) == []


def test_acts_are_found_by_who_what_and_since_in_parts(database: Database, ledger: Ledger) -> None:
    with database.begin() as connection:
        for number in range(1, 6):
            acts.note(connection, f"{'ann' if number % 2 else 'ben'}", "retry", "", number)
        acts.note(connection, "ben", "cancel", "", 6)

    def found(*window: int | None, **filters: object) -> list[int]:
        rows, _ = ledger.acts(3, *window, **filters)  # type: ignore[arg-type]
        return [row.number for row in rows]

    assert found() == [6, 5, 4]
    (*_, last), has_more = ledger.acts(3)
    assert has_more
    assert found(last.id) == [3, 2, 1]
    assert found(actor="ann") == [5, 3, 1]
    assert found(action="cancel") == [6]
    assert found(actor="ann", action="cancel") == []
    assert found(since=datetime.now(UTC) + timedelta(minutes=1)) == []
    assert found(since=datetime.now(UTC) - timedelta(minutes=1)) == [6, 5, 4]


def test_acts_are_pruned_with_the_emails_of_their_time(database: Database, ledger: Ledger) -> None:
    with database.begin() as connection:
        acts.note(connection, "ann", "retry")
        connection.execute(sa.update(Act).values(at=0))
        acts.note(connection, "ben", "retry")
    pruned = ledger.prune(keep_bodies_seconds=3600, keep_seconds=3600, for_seconds=10)
    assert pruned.acts == 1
    assert [actor for actor, *_ in told(ledger)] == ["ben"]
