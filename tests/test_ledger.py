"""The ledger's verbs, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mailer.content import Attachment
from mailer.db import Database
from mailer.errors import IdempotencyConflict, LedgerUnavailable, NotFound, NotMigrated
from mailer.ledger import Batch, Claimed, Draft, Filters, Ledger, Settlement, claims
from mailer.ledger.queries import History
from mailer.models import Attempt, AuditEntry, Delivery, Email, Status
from mailer.outcome import Kind, Outcome
from mailer.values import database_url as typed_database_url

from .conftest import let_time_pass
from .relay import relay

ACCEPTED = Outcome(Kind.SENT, "dot", 250, "2.0.0", "Ok: queued", "default")
REFUSED = Outcome(Kind.REFUSED, "rcpt", 550, "5.1.1", "no such user", "default")
DEFERRED = Outcome(Kind.DEFERRED, "rcpt", 451, "4.7.1", "greylisted", "default")


def draft(*recipients: str, **email: Any) -> Draft:
    extra = {
        name: email.pop(name) for name in ("send_at", "expires_in", "attachments") if name in email
    }
    values: dict[str, Any] = {
        "template": "welcome",
        "lane": "default",
        "context": {"secret": "canary"},
        "addresses": {"from": [["", "a@acme.example"]], "to": [], "cc": [], "reply_to": []},
        "headers": {},
        "tags": {},
        "has_attachments": bool(extra.get("attachments")),
        "on_unknown": "resend",
        **email,
    }
    return Draft(email=values, recipients=list(recipients or ("ada@example.com",)), **extra)


def accept(ledger: Ledger, *drafts: Draft) -> list[Email]:
    return [one.email for one in ledger.accept(drafts)]


def settlement(claimed: Claimed, outcome: Outcome, status: Status, **more: Any) -> Settlement:
    return Settlement(
        claimed.delivery_id, claimed.email.id, claimed.attempt, outcome, status, **more
    )


def settle(ledger: Ledger, batch: Batch, outcome: Outcome, status: Status, **more: Any) -> None:
    ledger.settle(
        batch.token, [settlement(one, outcome, status, **more) for one in batch.deliveries]
    )


def statuses(ledger: Ledger) -> list[str]:
    return [row.status for row in reversed(ledger.list(Filters(), 100))]


TOMORROW = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)


@pytest.mark.parametrize(
    "when",
    [
        {},
        {"send_at": TOMORROW},
        {"expires_in": 60},
        {"expires_at": TOMORROW},
        {"send_at": TOMORROW, "expires_in": 60},
    ],
    ids="+".join,
)
def test_one_email_is_stored_as_it_would_be_among_others(
    ledger: Ledger, when: dict[str, Any]
) -> None:
    (one,) = ledger.accept([draft("ada@example.com", "bob@example.com", **when)])
    other, _ = ledger.accept([draft("ada@example.com", "bob@example.com", **when), draft()])
    assert (one.due, one.new) == (other.due, other.new) == ("send_at" not in when, True)
    columns = {column.key for column in sa.inspect(Email).columns}
    assert vars(one.email).keys() >= columns
    of_one, of_other = (_relative(ledger.show(each.email.id)) for each in (one, other))
    assert of_one == of_other
    stored = ledger.show(one.email.id).email
    assert {name: getattr(one.email, name) for name in columns} == dict(stored._mapping)


def _relative(history: History) -> list[dict[str, Any]]:
    """Return the rows of an email without what differs from one to another: ids and the hour."""
    created_at = history.email.created_at
    found: list[dict[str, Any]] = []
    for row in (history.email, *history.deliveries):
        values = {
            key: value for key, value in row._mapping.items() if key not in ("id", "email_id")
        }
        for name, value in values.items():
            if isinstance(value, datetime) and value < TOMORROW:
                values[name] = round((value - created_at).total_seconds(), 3)
        found.append(values)
    return found


def test_an_email_whose_answer_is_lost_is_not_said_to_be_unstored(postgresql_url: str) -> None:
    url = sa.make_url(typed_database_url(postgresql_url))
    assert url.port
    with relay(url.port) as between:
        database = Database(url.set(port=between.port).render_as_string(hide_password=False))
        database.upgrade()
        ledger = Ledger(database, lease_seconds=60, attempts_allowed=3)
        between.cuts_at = b"INSERT"  # how the answer begins
        with pytest.raises(LedgerUnavailable) as caught:
            ledger.accept([draft()])
        assert (statuses(ledger), caught.value.maybe_stored) == (["queued"], True)
        with database.begin() as connection:
            connection.execute(sa.text("ALTER TABLE mailer_deliveries RENAME TO gone"))
        with pytest.raises(NotMigrated) as refused:
            ledger.accept([draft()])
        assert not refused.value.maybe_stored
        with database.read() as connection:
            assert len(connection.execute(sa.select(Email.id)).all()) == 1
        database.close()


def test_what_is_recorded_is_claimed_with_its_email_and_recipients(ledger: Ledger) -> None:
    (email,) = accept(ledger, draft("ada@example.com", "bob@example.com", locale="de"))
    batch = ledger.claim("default", 10)
    assert [one.recipient for one in batch.deliveries] == ["ada@example.com", "bob@example.com"]
    claimed = batch.deliveries[0]
    assert claimed.email.id == email.id
    assert claimed.email.created_at == email.created_at
    assert claimed.email.context == {"secret": "canary"}
    assert claimed.email.locale == "de"
    assert (claimed.attempt, claimed.attempts_allowed) == (1, 3)
    assert statuses(ledger) == ["sending", "sending"]


def test_created_at_is_the_databases_time(ledger: Ledger) -> None:
    (email,) = accept(ledger, draft())
    assert abs(email.created_at - datetime.now(UTC)) < timedelta(seconds=5)


def test_attachments_come_back_in_order(ledger: Ledger) -> None:
    files = [Attachment(filename=name, data=b"\0\1", content_type="a/b") for name in "ba"]
    (email,) = accept(ledger, draft(attachments=files))
    accept(ledger, draft(attachments=files[:1]))
    assert ledger.attachments(email.id) == files


def test_claims_are_oldest_first_bounded_and_of_one_lane(ledger: Ledger) -> None:
    first, second, third = accept(ledger, draft(), draft(), draft())
    accept(ledger, draft(lane="bulk"))
    batch = ledger.claim("default", 2)
    assert [one.email.id for one in batch.deliveries] == [first.id, second.id]
    assert [one.email.id for one in ledger.claim("default", 2).deliveries] == [third.id]
    assert ledger.claim("default", 2).deliveries == []


def test_a_scheduled_email_is_not_claimed_before_its_time(ledger: Ledger) -> None:
    accept(ledger, draft(send_at=datetime.now(UTC) + timedelta(hours=1)))
    assert ledger.claim("default", 10).deliveries == []
    let_time_pass(ledger.database, "due_at", 3700)
    assert len(ledger.claim("default", 10).deliveries) == 1


def test_concurrent_claims_never_share_a_delivery(ledger: Ledger) -> None:
    accept(ledger, *(draft() for _ in range(300)))
    taken: list[int] = []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        while batch := ledger.claim("default", 7).deliveries:
            taken.extend(one.delivery_id for one in batch)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 300


def test_sent_is_final_and_erases_the_context_once_all_are_sent(ledger: Ledger) -> None:
    (email,) = accept(ledger, draft("ada@example.com", "bob@example.com"))
    batch = ledger.claim("default", 10)
    ada, bob = batch.deliveries
    ledger.settle(batch.token, [settlement(ada, ACCEPTED, Status.SENT)])
    assert ledger.show(email.id).email.context == {"secret": "canary"}
    ledger.settle(batch.token, [settlement(bob, ACCEPTED, Status.SENT)])
    history = ledger.show(email.id)
    assert history.email.context is None
    assert [row.status for row in history.deliveries] == ["sent", "sent"]
    (attempt,) = history.attempts[ada.delivery_id]
    assert (attempt.number, attempt.outcome, attempt.code, attempt.words, attempt.transport) == (
        1, "sent", 250, "Ok: queued", "default",
    )  # fmt: skip


def test_a_failure_keeps_code_words_and_the_context_for_a_retry(ledger: Ledger) -> None:
    (email,) = accept(ledger, draft())
    settle(ledger, ledger.claim("default", 1), REFUSED, Status.FAILED)
    history = ledger.show(email.id)
    (delivery,) = history.deliveries
    assert (delivery.status, delivery.stage, delivery.code, delivery.enhanced, delivery.reason) == (
        "failed", "rcpt", 550, "5.1.1", "no such user",
    )  # fmt: skip
    assert history.email.context == {"secret": "canary"}


def test_a_deferral_is_due_again_only_after_its_delay(ledger: Ledger) -> None:
    accept(ledger, draft())
    settle(ledger, ledger.claim("default", 1), DEFERRED, Status.QUEUED, delay=100)
    assert ledger.claim("default", 1).deliveries == []
    let_time_pass(ledger.database, "due_at", 101)
    (again,) = ledger.claim("default", 1).deliveries
    assert again.attempt == 2


def test_an_attempt_that_is_not_charged_is_given_back(ledger: Ledger) -> None:
    accept(ledger, draft())
    unavailable = Outcome(Kind.UNAVAILABLE, "connect", words="refused")
    settle(ledger, ledger.claim("default", 1), unavailable, Status.QUEUED, charged=False)
    assert ledger.claim("default", 1).deliveries[0].attempt == 1


def test_handing_back_what_was_not_started_leaves_no_attempt(ledger: Ledger) -> None:
    (email,) = accept(ledger, draft())
    settle(
        ledger, ledger.claim("default", 1), Outcome(Kind.NOT_STARTED), Status.QUEUED, charged=False
    )
    history = ledger.show(email.id)
    assert history.attempts == {history.deliveries[0].id: []}
    assert history.deliveries[0].status == "queued"


def test_a_lost_claim_cannot_move_a_delivery_but_its_250_can(ledger: Ledger) -> None:
    accept(ledger, draft())
    lost = ledger.claim("default", 1)
    let_time_pass(ledger.database, "lease_until", 120)
    ledger.sweep()
    current = ledger.claim("default", 1)
    settle(ledger, lost, REFUSED, Status.FAILED)
    assert statuses(ledger) == ["sending"]
    settle(ledger, lost, ACCEPTED, Status.SENT)
    assert statuses(ledger) == ["sent"]
    settle(ledger, current, DEFERRED, Status.QUEUED)
    assert statuses(ledger) == ["sent"]


@pytest.mark.parametrize("final", [Status.UNKNOWN, Status.FAILED, Status.CANCELLED])
def test_a_late_250_settles_whatever_was_decided_meanwhile(ledger: Ledger, final: Status) -> None:
    accept(ledger, draft())
    batch = ledger.claim("default", 1)
    settle(ledger, batch, REFUSED, final)
    settle(ledger, batch, ACCEPTED, Status.SENT)
    assert statuses(ledger) == ["sent"]


def test_a_late_250_for_what_was_erased_says_nothing_of_others_and_keeps_none_back(
    ledger: Ledger,
) -> None:
    accept(ledger, draft("bob@example.com"), draft("ada@example.com"))
    stalled = ledger.claim("default", 2)
    let_time_pass(ledger.database, "lease_until", 120)
    ledger.sweep()
    ledger.purge("ada@example.com", actor="ops")
    accept(ledger, draft("cyd@example.com"))  # on SQLite it gets the number that is free again
    settle(ledger, stalled, ACCEPTED, Status.SENT)
    found = {row.recipient: row.status for row in ledger.list(Filters(), None)}
    assert found == {"bob@example.com": "sent", "cyd@example.com": "queued"}


def test_an_expired_lease_is_queued_again_and_the_crash_is_in_the_history(ledger: Ledger) -> None:
    (email,) = accept(ledger, draft())
    ledger.claim("default", 1)
    assert ledger.sweep().crashed == 0
    let_time_pass(ledger.database, "lease_until", 61)
    assert ledger.sweep().crashed == 1
    history = ledger.show(email.id)
    (delivery,) = history.deliveries
    assert (delivery.status, delivery.attempts, delivery.ambiguous) == ("queued", 1, 1)
    assert [one.outcome for one in history.attempts[delivery.id]] == ["crashed"]


def test_after_a_crash_each_of_the_batch_goes_alone_and_in_turn(ledger: Ledger) -> None:
    accept(ledger, *(draft() for _ in range(3)))
    assert len(ledger.claim("default", 10).deliveries) == 3
    let_time_pass(ledger.database, "lease_until", 61)
    ledger.sweep()
    let_time_pass(ledger.database, "due_at", 1)
    accept(ledger, draft(), draft())
    sizes = [len(ledger.claim("default", 10).deliveries) for _ in range(5)]
    assert sizes == [1, 1, 1, 2, 0]


def test_a_crash_in_the_last_attempt_leaves_it_unknown_not_failed(ledger: Ledger) -> None:
    ledger.attempts_allowed = 1
    accept(ledger, draft())
    ledger.claim("default", 1)
    let_time_pass(ledger.database, "lease_until", 61)
    ledger.sweep()
    assert statuses(ledger) == ["unknown"]


def test_a_delivery_that_kills_its_worker_thrice_fails_as_poison(ledger: Ledger) -> None:
    ledger.attempts_allowed = 10
    (email,) = accept(ledger, draft())
    for _ in range(3):
        assert len(ledger.claim("default", 1).deliveries) == 1
        let_time_pass(ledger.database, "lease_until", 61)
        ledger.sweep()
    (delivery,) = ledger.show(email.id).deliveries
    assert delivery.status == "failed"
    assert "poison" in delivery.reason


def test_an_expired_lease_of_a_marked_hold_email_is_unknown_and_never_sent_again(
    ledger: Ledger,
) -> None:
    accept(ledger, draft(on_unknown="hold"))
    batch = ledger.claim("default", 1)
    assert ledger.mark(batch.token, batch.deliveries[0].delivery_id)
    let_time_pass(ledger.database, "lease_until", 61)
    ledger.sweep()
    assert statuses(ledger) == ["unknown"]
    assert ledger.claim("default", 1).deliveries == []


def test_what_is_too_late_is_never_claimed_and_expires_with_an_audit_entry(ledger: Ledger) -> None:
    (email,) = accept(ledger, draft(expires_in=60))
    assert email.expires_at == email.created_at + timedelta(seconds=60)
    let_time_pass(ledger.database, "expires_at", 61)
    assert ledger.claim("default", 1).deliveries == []
    assert ledger.sweep().expired == 1
    history = ledger.show(email.id)
    (delivery,) = history.deliveries
    assert delivery.status == "expired"
    assert [(one.actor, one.action) for one in history.audit[delivery.id]] == [("sweep", "expired")]


def test_a_sweep_names_the_oldest_due_email_of_each_lane(ledger: Ledger) -> None:
    first, _ = accept(ledger, draft(lane="critical"), draft(lane="critical"))
    accept(ledger, draft(lane="bulk", send_at=datetime.now(UTC) + timedelta(hours=1)))
    assert ledger.sweep().due == {"critical": first.id}


def test_two_sweeps_at_once_count_a_crash_once(ledger: Ledger) -> None:
    accept(ledger, *(draft() for _ in range(50)))
    ledger.claim("default", 50)
    let_time_pass(ledger.database, "lease_until", 61)
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(ledger.sweep().crashed)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(found) == 50


def test_a_retry_gives_fresh_attempts_and_a_second_one_changes_nothing(ledger: Ledger) -> None:
    (email,) = accept(ledger, draft())
    settle(ledger, ledger.claim("default", 1), REFUSED, Status.FAILED)
    (changed,) = ledger.retry(Filters(email_id=email.id), actor="cli:ada")
    assert (changed.email_id, changed.lane) == (email.id, "default")
    assert ledger.retry(Filters(email_id=email.id), actor="cli:ada") == []
    (claimed,) = ledger.claim("default", 1).deliveries
    assert (claimed.attempt, claimed.attempts_allowed) == (2, 4)
    history = ledger.show(email.id)
    assert [(one.actor, one.action) for one in history.audit[changed.delivery_id]] == [
        ("cli:ada", "retried")
    ]


def test_a_retry_brings_forward_what_was_deferred_once_and_charges_nothing(ledger: Ledger) -> None:
    (email,) = accept(ledger, draft())
    accept(ledger, draft(send_at=datetime.now(UTC) + timedelta(hours=1)))
    settle(ledger, ledger.claim("default", 1), DEFERRED, Status.QUEUED, delay=600)
    assert ledger.claim("default", 1).deliveries == []
    (changed,) = ledger.retry(Filters(), actor="cli:ada")
    assert ledger.retry(Filters(), actor="cli:ada") == []
    (claimed,) = ledger.claim("default", 2).deliveries
    assert (claimed.email.id, claimed.attempt, claimed.attempts_allowed) == (email.id, 2, 3)
    history = ledger.show(email.id)
    assert [(one.actor, one.action) for one in history.audit[changed.delivery_id]] == [
        ("cli:ada", "brought forward")
    ]


def test_counts_know_the_newest_deferral_of_a_lane(ledger: Ledger) -> None:
    unavailable = Outcome(Kind.UNAVAILABLE, "connect", None, None, "Connection refused", "default")
    accept(ledger, draft(), draft(), draft(lane="bulk"))
    settle(ledger, ledger.claim("default", 1), DEFERRED, Status.QUEUED, delay=600)
    counts = ledger.counts()
    assert counts.deferred == {"default": 1}
    assert counts.deferrals == {"default": ("rcpt", 451, "4.7.1", "greylisted", False)}
    settle(ledger, ledger.claim("default", 1), unavailable, Status.QUEUED, delay=600, charged=False)
    counts = ledger.counts()
    assert counts.deferred == {"default": 2}
    assert counts.deferrals["default"] == ("connect", None, None, "Connection refused", True)
    let_time_pass(ledger.database, "due_at", 601)
    counts = ledger.counts()
    assert counts.deferred == {"default": 0}
    assert counts.deferrals["default"].is_of_transport


def test_neither_counts_nor_a_retry_read_what_was_sent(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    database.upgrade()
    ledger = Ledger(database, lease_seconds=60, attempts_allowed=3)
    accept(ledger, draft())
    settle(ledger, ledger.claim("default", 1), DEFERRED, Status.QUEUED, delay=600)
    asked: list[tuple[str, Any]] = []
    sa.event.listen(
        database.engine, "before_cursor_execute", lambda *event: asked.append(event[2:4])
    )
    ledger.counts()
    ledger.troubles()
    ledger.retry(Filters(), actor="test")
    with database.read() as connection:
        plans = [
            row[3]
            for statement, values in asked[:]
            if " mailer_deliveries" in statement
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        ]
    database.close()
    assert len([plan for plan in plans if " INDEX ix_mailer_deliveries" in plan]) == 10
    assert "SCAN mailer_deliveries" not in plans


def test_neither_to_accept_claim_settle_nor_sweep_takes_longer_with_history(
    tmp_path: Path,
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    database.upgrade()
    ledger = Ledger(database, lease_seconds=60, attempts_allowed=3)
    asked: list[str] = []
    with database.read() as connection:
        raw: Any = connection.connection.dbapi_connection
        raw.set_trace_callback(asked.append)  # it is the only one, so the pool gives it each time
    ledger.accept([draft()])
    ledger.accept([draft(), draft(idempotency_key="a", fingerprint="b"), draft()])
    batch = ledger.claim("default", 10)
    outcomes = [
        (ACCEPTED, Status.SENT),
        (DEFERRED, Status.QUEUED),
        (Outcome(Kind.NOT_STARTED), Status.QUEUED),
        (Outcome(Kind.CAPPED), Status.QUEUED),
    ]
    ledger.settle(
        batch.token,
        [settlement(one, *how) for one, how in zip(batch.deliveries, outcomes, strict=True)],
    )
    ledger.sweep()
    ledger.next_due("default")
    ledger.is_due(["default"])
    with database.read() as connection:
        raw.set_trace_callback(None)
        plans = {
            f"{row[3]}: {statement}"
            for statement in asked
            if statement.startswith(("SELECT", "UPDATE", "WITH", "INSERT"))
            for row in connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}")
        }
    database.close()
    assert len([plan for plan in plans if plan.startswith("SEARCH mailer_")]) > 15
    # One row, a handful, and those that are not done.
    small = (
        "SCAN mailer_sweeps",
        "SCAN mailer_webhooks",
        "SCAN mailer_jobs USING INDEX ix_mailer_jobs_open",
    )
    assert [
        plan for plan in plans if plan.startswith("SCAN mailer_") and not plan.startswith(small)
    ] == []


@pytest.mark.parametrize("status", list(Status))
def test_only_final_deliveries_that_were_not_sent_can_be_retried(
    ledger: Ledger, database: Database, status: Status
) -> None:
    accept(ledger, draft())
    with database.begin() as connection:
        connection.execute(sa.update(Delivery).values(status=status.value))
    changed = ledger.retry(Filters(), actor="test")
    retryable = {"failed", "unknown", "expired", "cancelled", "suppressed"}
    assert bool(changed) is (status.value in retryable)


def test_an_expired_delivery_that_is_retried_does_not_expire_again(ledger: Ledger) -> None:
    accept(ledger, draft(expires_in=60))
    let_time_pass(ledger.database, "expires_at", 61)
    ledger.sweep()
    assert len(ledger.retry(Filters(statuses=["expired"]), actor="test")) == 1
    assert ledger.sweep().expired == 0
    assert len(ledger.claim("default", 1).deliveries) == 1


def test_cancel_takes_what_is_queued_and_leaves_what_is_being_sent(ledger: Ledger) -> None:
    (one,) = accept(ledger, draft())
    ledger.claim("default", 1)
    (two,) = accept(ledger, draft())
    assert ledger.cancel(Filters(email_id=one.id), actor="test") == []
    assert [changed.email_id for changed in ledger.cancel(Filters(), actor="test")] == [two.id]
    assert statuses(ledger) == ["sending", "cancelled"]
    assert ledger.claim("default", 1).deliveries == []


def test_what_is_rescheduled_says_who_moved_it_and_to_when(ledger: Ledger) -> None:
    hour = timedelta(hours=1)
    (email,) = accept(ledger, draft(send_at=datetime.now(UTC) + hour))
    longest = f"api key {'n' * 100}"
    moved_to = datetime(2099, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert ledger.reschedule(email.id, moved_to, actor=longest)
    history = ledger.show(email.id)
    assert [one.due_at for one in history.deliveries] == [moved_to]
    (entry,) = history.audit[history.deliveries[0].id]
    assert (entry.actor, entry.action) == (longest, "rescheduled to 2099-12-31 23:59:59 UTC")


FILTERS: list[tuple[str, Callable[[Email], Filters]]] = [
    ("status", lambda email: Filters(statuses=["failed"])),
    ("template", lambda email: Filters(template="reset")),
    ("lane", lambda email: Filters(lane="critical")),
    ("recipient", lambda email: Filters(recipient="bob@example.com")),
    ("code", lambda email: Filters(code=550)),
    ("since", lambda email: Filters(since=email.created_at)),
    ("email", lambda email: Filters(email_id=email.id)),
]


@pytest.mark.parametrize(("name", "make"), FILTERS, ids=[name for name, _ in FILTERS])
def test_each_filter_picks_just_what_it_says(
    ledger: Ledger, database: Database, name: str, make: Callable[[Email], Filters]
) -> None:
    accept(ledger, draft())
    with database.begin() as connection:
        connection.execute(sa.update(Email).values(created_at=1.0))
    (wanted,) = accept(ledger, draft("bob@example.com", template="reset", lane="critical"))
    settle(ledger, ledger.claim("critical", 1), REFUSED, Status.FAILED)
    assert [row.email_id for row in ledger.list(make(wanted), 10)] == [wanted.id]


def test_until_leaves_out_what_came_later(ledger: Ledger) -> None:
    (email,) = accept(ledger, draft())
    assert ledger.list(Filters(until=email.created_at), 10) == []
    assert len(ledger.list(Filters(until=email.created_at + timedelta(seconds=1)), 10)) == 1


def test_the_same_key_and_content_is_the_same_email(ledger: Ledger) -> None:
    keyed = {"idempotency_key": "order-1", "fingerprint": "f" * 64}
    first, other = accept(ledger, draft(**keyed), draft())
    again, new = accept(ledger, draft(**keyed), draft())
    assert again.id == first.id
    assert new.id not in {first.id, other.id}
    assert again.created_at == first.created_at
    assert len(ledger.list(Filters(), 10)) == 3


def test_the_same_key_with_other_content_is_refused_and_stores_nothing(ledger: Ledger) -> None:
    accept(ledger, draft(idempotency_key="order-1", fingerprint="f" * 64))
    with pytest.raises(IdempotencyConflict, match="order-1"):
        accept(ledger, draft(), draft(idempotency_key="order-1", fingerprint="e" * 64))
    assert len(ledger.list(Filters(), 10)) == 1


def test_one_key_from_many_threads_is_stored_once(ledger: Ledger) -> None:
    found: list[str] = []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        (email,) = accept(ledger, draft(idempotency_key="once", fingerprint="f" * 64))
        found.append(email.id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(ledger.list(Filters(), 10)) == 1


def test_counts_know_what_waits_what_is_due_and_what_is_in_trouble(ledger: Ledger) -> None:
    accept(ledger, draft(), draft(lane="critical"))
    accept(ledger, draft(send_at=datetime.now(UTC) + timedelta(hours=1)))
    settle(ledger, ledger.claim("critical", 1), REFUSED, Status.FAILED)
    let_time_pass(ledger.database, "due_at", 30)
    counts = ledger.counts()
    assert counts.by_lane == {"default": {"queued": 2}}
    assert ledger.troubles() == {"critical": {"failed": 1}}
    assert counts.due == {"default": 1}
    assert counts.oldest_due_seconds is not None
    assert 30 <= counts.oldest_due_seconds < 40


def test_an_unknown_id_is_not_found(ledger: Ledger) -> None:
    with pytest.raises(NotFound, match="nope"):
        ledger.show("nope")
    assert ledger.lane("nope") is None


def test_ids_sort_by_the_time_they_were_made(ledger: Ledger) -> None:
    ids = []
    for _ in range(5):
        (email,) = accept(ledger, draft())
        ids.append(email.id)
    assert [id[:13] for id in ids] == sorted(id[:13] for id in ids)
    assert len(set(ids)) == 5


def test_a_rollback_records_nothing(ledger: Ledger, database: Database) -> None:
    with pytest.raises(RuntimeError), database.begin() as connection:
        ledger.record(connection, [draft()])
        raise RuntimeError
    for table in (Email, Delivery, Attempt, AuditEntry):
        with database.read() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 0


def test_a_process_whose_clock_is_wrong_changes_no_instant(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_time = time.time()
    monkeypatch.setattr("time.time", lambda: true_time + 7200)
    (email,) = accept(ledger, draft(expires_in=600))
    assert abs(email.created_at.timestamp() - true_time) < 5
    ledger.claim("default", 1)
    assert ledger.sweep().crashed == 0
    (delivery,) = ledger.show(email.id).deliveries
    assert 55 < delivery.lease_until.timestamp() - true_time < 70
    for source in Path(claims.__file__).parent.glob("*.py"):
        assert "datetime.now" not in source.read_text()


def test_a_hold_email_whose_worker_died_before_the_mark_is_sent_again(ledger: Ledger) -> None:
    (email,) = accept(ledger, draft(on_unknown="hold"))
    ledger.claim("default", 1)
    let_time_pass(ledger.database, "lease_until", 61)
    ledger.sweep()
    (delivery,) = ledger.show(email.id).deliveries
    assert (delivery.status, delivery.ambiguous) == ("queued", 0)
    assert len(ledger.claim("default", 1).deliveries) == 1


def test_a_mark_is_refused_once_the_claim_is_lost(ledger: Ledger) -> None:
    accept(ledger, draft(on_unknown="hold"))
    batch = ledger.claim("default", 1)
    (claimed,) = batch.deliveries
    assert ledger.mark(batch.token, claimed.delivery_id) is True
    assert ledger.mark("another token", claimed.delivery_id) is False
    let_time_pass(ledger.database, "lease_until", 61)
    ledger.sweep()
    assert ledger.mark(batch.token, claimed.delivery_id) is False


@pytest.mark.parametrize(("sent", "status"), [(True, "sent"), (False, "queued")])
def test_an_unknown_delivery_is_resolved_once_and_by_name(
    ledger: Ledger, sent: bool, status: str
) -> None:
    (email,) = accept(ledger, draft(on_unknown="hold"))
    settle(ledger, ledger.claim("default", 1), REFUSED, Status.UNKNOWN)
    (changed,) = ledger.resolve(Filters(email_id=email.id), sent=sent, actor="cli:ada")
    assert ledger.resolve(Filters(email_id=email.id), sent=sent, actor="cli:ada") == []
    assert statuses(ledger) == [status]
    (entry,) = ledger.show(email.id).audit[changed.delivery_id]
    assert (entry.actor, entry.action) == (
        "cli:ada",
        "resolved: sent" if sent else "resolved: resend",
    )


def test_what_is_resolved_as_sent_loses_its_context_once_all_are_sent(ledger: Ledger) -> None:
    (email,) = accept(ledger, draft("ada@example.com", "bob@example.com", on_unknown="hold"))
    lost = Outcome(Kind.AMBIGUOUS, "dot", words="timed out")
    settle(ledger, ledger.claim("default", 2), lost, Status.UNKNOWN)
    one = Filters(recipient="ada@example.com")
    ledger.resolve(one, sent=True, actor="ops")
    assert ledger.show(email.id).email.context == {"secret": "canary"}
    ledger.resolve(Filters(), sent=True, actor="ops")
    assert ledger.show(email.id).email.context is None


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.UNKNOWN}))
def test_nothing_but_unknown_can_be_resolved(ledger: Ledger, status: Status) -> None:
    accept(ledger, draft())
    with ledger.database.begin() as connection:
        connection.execute(sa.update(Delivery).values(status=status.value))
    assert ledger.resolve(Filters(), sent=True, actor="test") == []
