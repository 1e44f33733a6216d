"""What follows from reports, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from mailer import Filters
from mailer.db import Database
from mailer.inbound import told
from mailer.inbound.told import Told
from mailer.ledger import Ledger, Reported
from mailer.models import (
    REPORTED,
    AuditEntry,
    Delivery,
    Email,
    Event,
    Report,
    Status,
    Suppression,
    Webhook,
)
from mailer.outcome import Kind, Outcome
from mailer.values import database_url as typed_database_url

from .conftest import let_time_pass
from .plans import plans
from .test_ledger import ACCEPTED, DEFERRED, REFUSED, accept, draft, settle, settlement

ADA, BOB = "ada@example.com", "bob@example.com"
LOST = Outcome(Kind.AMBIGUOUS, "dot", None, None, "lost after the final dot", "default")
UNKNOWN_EMAIL = "01890a5d-ac96-774b-bcce-b302099a8057"


def report(email_id: str | None, kind: told.Kind = "bounced", **more: Any) -> Told:
    values: dict[str, Any] = {
        "source": "ses",
        "source_id": f"{email_id}:{kind}:{more.get('recipients')}",
        "recipients": [ADA],
        "permanent": kind == "bounced",
        "code": 550,
        "enhanced": "5.1.1",
        "words": "no such user",
        **more,
    }
    message_id = email_id and f"<{email_id}@acme.example>"
    return told.make(
        kind, values.pop("source"), values.pop("source_id"), message_id=message_id, **values
    )


def tell(ledger: Ledger, *reports: Told, suppress_bounces: bool = True) -> Reported:
    return ledger.report(reports, suppress_bounces=suppress_bounces)


def one(ledger: Ledger, *recipients: str, **email: Any) -> str:
    (accepted,) = accept(ledger, draft(*recipients, **email))
    return accepted.id


def sent(ledger: Ledger, *recipients: str, **email: Any) -> str:
    email_id = one(ledger, *recipients, **email)
    settle(ledger, ledger.claim("default", 10), ACCEPTED, Status.SENT)
    return email_id


def rows(ledger: Ledger, table: Any) -> Sequence[Any]:
    with ledger.database.read() as connection:
        return connection.execute(sa.select(table.__table__).order_by(table.id)).all()


def suppressed(ledger: Ledger) -> set[tuple[str, str, str | None]]:
    return {(row.address, row.origin, row.email_id) for row in rows(ledger, Suppression)}


def delivery(ledger: Ledger) -> Any:
    (found,) = rows(ledger, Delivery)
    return found


def outcomes(ledger: Ledger, email_id: str) -> list[str]:
    shown = [row.outcome for row in ledger.show(email_id).deliveries]
    assert ledger.page(10).states[email_id] == shown
    assert listed(ledger, email_id=email_id)[::-1] == shown
    return shown


def listed(ledger: Ledger, *states: str, **filters: Any) -> list[str]:
    found = ledger.list(Filters(statuses=states or None, **filters), None)
    return [row.outcome for row in found]


def test_a_report_is_stored_once_however_often_it_is_told(ledger: Ledger) -> None:
    email_id = sent(ledger)
    bounce = report(email_id)
    assert tell(ledger, bounce, bounce) == Reported(1, 1, 0, [])
    assert tell(ledger, bounce, report(email_id, "complained")) == Reported(1, 1, 0, [])
    (first, second) = rows(ledger, Report)
    assert (first.kind, first.recipient, first.email_id, first.delivery_id) == (
        "bounced", ADA, email_id, delivery(ledger).id,
    )  # fmt: skip
    assert (first.permanent, first.code, first.enhanced, first.words) == (
        True, 550, "5.1.1", "no such user",
    )  # fmt: skip
    assert second.kind == "complained"


def test_the_same_id_of_another_source_is_another_report(ledger: Ledger) -> None:
    email_id = sent(ledger)
    both = [report(email_id, source=source, source_id="1") for source in ("ses", "mailgun")]
    assert tell(ledger, *both).stored == 2


def test_what_may_be_used_once_is_good_for_no_second_report(ledger: Ledger) -> None:
    email_id = sent(ledger)
    first = report(email_id, "delivered", source_id="1", once="token")
    forged = report(email_id, "complained", source_id="2", once="token")
    assert tell(ledger, first).stored == 1
    assert tell(ledger, forged) == Reported(0, 1, 0, [])
    assert suppressed(ledger) == set()
    assert tell(ledger, report(email_id, "complained", once="another")).stored == 1


def test_of_several_recipients_each_report_is_about_its_own(ledger: Ledger) -> None:
    email_id = sent(ledger, ADA, "Bob@example.com")
    told_ = [
        report(email_id, "delivered"),
        report(email_id, recipients=["bob@example.com"]),
        report(email_id, "complained", recipients=["eve@example.com"]),
        report(email_id, "complained", recipients=[], source="dsn"),
    ]
    assert tell(ledger, *told_) == Reported(4, 0, 2, [])
    ada, bob = rows(ledger, Delivery)
    found = {(row.kind, row.recipient, row.delivery_id) for row in rows(ledger, Report)}
    assert found == {
        ("delivered", ADA, ada.id),
        ("bounced", BOB, bob.id),
        ("complained", "eve@example.com", None),
        ("complained", "", None),
    }
    assert outcomes(ledger, email_id) == ["delivered", "bounced"]


def test_where_mail_was_passed_on_to_is_about_the_one_delivery_but_suppresses_nobody(
    ledger: Ledger,
) -> None:
    email_id = sent(ledger)
    elsewhere = report(email_id, source="dsn", recipients=["list.member@elsewhere.example"])
    assert tell(ledger, elsewhere) == Reported(1, 0, 0, [])
    assert outcomes(ledger, email_id) == ["bounced"]
    assert rows(ledger, Report)[0].recipient == "list.member@elsewhere.example"
    assert suppressed(ledger) == set()


def test_whom_we_wrote_to_counts_before_where_it_was_passed_on(ledger: Ledger) -> None:
    email_id = sent(ledger, ADA, BOB)
    tell(ledger, report(email_id, source="dsn", recipients=[BOB, "elsewhere@example.net"]))
    assert rows(ledger, Report)[0].delivery_id == rows(ledger, Delivery)[1].id
    assert suppressed(ledger) == {(BOB, "bounce", email_id)}


def test_a_complaint_without_an_address_is_of_the_one_recipient(ledger: Ledger) -> None:
    email_id = sent(ledger)
    tell(ledger, report(email_id, "complained", recipients=[], source="dsn"))
    assert suppressed(ledger) == {(ADA, "complaint", email_id)}
    assert rows(ledger, Report)[0].recipient == ADA


def test_a_report_about_somebody_who_was_erased_is_not_taken_for_anothers(ledger: Ledger) -> None:
    email_id = sent(ledger, ADA, BOB)
    ledger.purge(ADA, actor="ops")
    assert tell(ledger, report(email_id, "complained", source="dsn")).unmatched == 1
    assert outcomes(ledger, email_id) == ["sent"]
    assert suppressed(ledger) == set()


@pytest.mark.parametrize(
    ("kind", "permanent", "suppress_bounces", "expected"),
    [
        ("bounced", True, True, {"bounce"}),
        ("bounced", True, False, set()),
        ("bounced", False, True, set()),
        ("complained", False, False, {"complaint"}),
        ("delivered", False, True, set()),
    ],
)
def test_who_bounced_for_good_or_complained_is_suppressed(
    ledger: Ledger, kind: told.Kind, permanent: bool, suppress_bounces: bool, expected: set[str]
) -> None:
    email_id = sent(ledger)
    tell(ledger, report(email_id, kind, permanent=permanent), suppress_bounces=suppress_bounces)
    assert {origin for _, origin, _ in suppressed(ledger)} == expected


@pytest.mark.parametrize("recipients", [[ADA], ["elsewhere@example.com"]])
def test_what_is_told_of_test_mail_suppresses_nobody(ledger: Ledger, recipients: list[str]) -> None:
    email_id = sent(ledger, is_test=True)
    kept = tell(ledger, report(email_id, recipients=recipients), report(email_id, "complained"))
    assert (kept.stored, kept.unmatched) == (2, 0)
    assert suppressed(ledger) == set()


def test_mail_that_anybody_may_write_suppresses_nobody_without_an_email_of_ours(
    ledger: Ledger,
) -> None:
    kept = tell(
        ledger,
        report(UNKNOWN_EMAIL, source="dsn"),
        report(UNKNOWN_EMAIL, "complained", source="dsn"),
        report(None, source="dsn"),
    )
    assert kept == Reported(3, 0, 3, [])
    assert suppressed(ledger) == set()


def test_a_service_is_believed_about_an_email_that_is_not_here(ledger: Ledger) -> None:
    assert tell(ledger, report(UNKNOWN_EMAIL)) == Reported(1, 0, 1, [])
    assert suppressed(ledger) == {(ADA, "bounce", UNKNOWN_EMAIL)}


def test_the_reply_to_a_message_leads_to_its_email(ledger: Ledger) -> None:
    said = ACCEPTED._replace(words="Ok 0102018f3a2b4c5d-0a1b2c3d-000000")
    email_id = one(ledger)
    settle(ledger, ledger.claim("default", 10), said, Status.SENT)
    sent(ledger)  # a later one to the same address
    more: dict[str, Any] = {"reference": "0102018f3a2b4c5d-0a1b2c3d-000000"}
    assert tell(ledger, report(None, **more), report(None, source_id="2")).unmatched == 1
    assert outcomes(ledger, email_id) == ["bounced"]
    other: dict[str, Any] = {"reference": "%102018f3a2b4c5d-0a1b2c3d-000000"}
    assert tell(ledger, report(None, source_id="3", **other)).unmatched == 1


def worse(ledger: Ledger, *kinds: told.Kind) -> list[str]:
    email_id = sent(ledger)
    tell(ledger, *(report(email_id, kind) for kind in kinds))
    return outcomes(ledger, email_id)


def test_the_worst_that_was_reported_counts_in_whatever_order_it_came(ledger: Ledger) -> None:
    assert worse(ledger, "delivered") == ["delivered"]
    assert worse(ledger, "delivered", "complained") == ["complained"]
    assert worse(ledger, "complained", "delivered") == ["complained"]
    assert worse(ledger, "bounced", "delivered") == ["bounced"]
    assert worse(ledger, "delivered", "bounced", "complained") == ["bounced"]


def test_deliveries_are_found_by_what_was_reported_of_them(ledger: Ledger) -> None:
    for kinds in (("delivered",), ("delivered", "complained"), ("bounced", "complained"), ()):
        worse(ledger, *kinds)
    refused = one(ledger)
    settle(ledger, ledger.claim("default", 10), REFUSED, Status.FAILED)
    tell(ledger, report(refused))  # it was never sent, whoever says so
    for kind in REPORTED:
        assert listed(ledger, kind) == [kind]
    assert listed(ledger, "sent") == ["sent", "bounced", "complained", "delivered"]
    assert listed(ledger, "bounced", "complained", "failed") == ["failed", "bounced", "complained"]


@pytest.mark.parametrize("kind", ["bounced", "delivered"])
def test_what_was_reported_is_found_by_an_index_in_the_order_of_the_list(
    ledger: Ledger, kind: str
) -> None:
    accept(ledger, *[draft() for _ in range(2_000)])
    with ledger.database.begin() as connection:
        connection.execute(sa.update(Delivery).values(status="sent"))
        for reported, every in (("delivered", 2), ("bounced", 500)):
            some = sa.update(Delivery).where(Delivery.id % every == 0)
            connection.execute(some.values(reported=reported))
        connection.execute(sa.text("ANALYZE"))
    with plans(ledger.database) as made:
        found = ledger.list(Filters(statuses=[kind]), 3)
    assert {row.outcome for row in found} == {kind}
    (plan,) = made
    assert "Sort" not in plan
    assert "TEMP B-TREE" not in plan
    # Of what nearly all have, the newest are as well found by looking at the newest.
    assert "ix_mailer_deliveries_reported" in plan or "pk_mailer_deliveries" in plan
    assert "ix_mailer_deliveries_reported" in plan or kind != "bounced"


def test_a_report_sends_what_is_unknown_to_its_end(ledger: Ledger) -> None:
    email_id = one(ledger, on_unknown="hold")
    settle(ledger, ledger.claim("default", 10), LOST, Status.UNKNOWN)
    (proven,) = tell(ledger, report(email_id, "delivered")).proven
    found = delivery(ledger)
    assert (found.status, found.reason, found.stage) == ("sent", None, None)
    assert proven == (found.id, email_id)
    assert [(row.actor, row.action) for row in rows(ledger, AuditEntry)] == [
        ("report", "proven: sent")
    ]
    assert rows(ledger, Email)[0].context is None
    assert tell(ledger, report(email_id, "delivered")).proven == []


@pytest.mark.parametrize("kind", ["delivered", "bounced", "complained"])
def test_what_is_queued_after_a_lost_reply_is_not_sent_twice(
    ledger: Ledger, kind: told.Kind
) -> None:
    email_id = one(ledger)
    settle(ledger, ledger.claim("default", 10), LOST, Status.QUEUED)
    assert len(tell(ledger, report(email_id, kind)).proven) == 1
    assert ledger.claim("default", 10).deliveries == []
    assert outcomes(ledger, email_id) == [kind]


def test_a_report_proves_nothing_of_attempts_that_are_known_to_have_failed(
    ledger: Ledger,
) -> None:
    email_id = one(ledger)
    settle(ledger, ledger.claim("default", 10), DEFERRED, Status.QUEUED)
    assert tell(ledger, report(email_id)).proven == []
    assert delivery(ledger).status == "queued"
    settle(ledger, ledger.claim("default", 10), REFUSED, Status.FAILED)
    assert delivery(ledger).status == "failed"
    assert tell(ledger, report(email_id, "delivered")).proven == []
    assert outcomes(ledger, email_id) == ["failed"]


def test_a_report_that_comes_before_the_send_is_settled_changes_nothing_then(
    ledger: Ledger,
) -> None:
    email_id = one(ledger)
    batch = ledger.claim("default", 10)
    assert tell(ledger, report(email_id, "delivered")) == Reported(1, 0, 0, [])
    assert outcomes(ledger, email_id) == ["sending"]
    settle(ledger, batch, ACCEPTED, Status.SENT)
    assert outcomes(ledger, email_id) == ["delivered"]
    assert rows(ledger, AuditEntry) == []


@pytest.mark.parametrize("status", [Status.UNKNOWN, Status.QUEUED])
def test_a_report_that_came_early_is_applied_when_the_reply_was_lost(
    ledger: Ledger, status: Status
) -> None:
    email_id = one(ledger)
    batch = ledger.claim("default", 10)
    tell(ledger, report(email_id, "delivered"))
    settle(ledger, batch, LOST, status)
    assert outcomes(ledger, email_id) == ["delivered"]
    assert rows(ledger, Email)[0].context is None
    assert ledger.claim("default", 10).deliveries == []


@pytest.mark.parametrize("hold", [True, False])
def test_a_report_that_came_early_is_applied_when_the_worker_died(
    ledger: Ledger, hold: bool
) -> None:
    email_id = one(ledger, on_unknown="hold" if hold else "resend")
    batch = ledger.claim("default", 10)
    if hold:
        assert ledger.mark(batch.token, batch.deliveries[0].delivery_id)
    tell(ledger, report(email_id, "delivered"))
    let_time_pass(ledger.database, "lease_until", 3600)
    assert ledger.sweep().crashed == 1
    assert outcomes(ledger, email_id) == ["delivered"]
    assert ledger.claim("default", 10).deliveries == []


def test_a_report_of_an_earlier_attempt_is_applied_when_the_later_one_failed(
    ledger: Ledger,
) -> None:
    email_id = one(ledger)
    settle(ledger, ledger.claim("default", 10), LOST, Status.QUEUED)
    again = ledger.claim("default", 10)
    assert tell(ledger, report(email_id, "delivered")).proven == []
    settle(ledger, again, DEFERRED, Status.QUEUED)
    assert outcomes(ledger, email_id) == ["delivered"]


def test_a_report_and_the_settling_of_a_lost_reply_at_once_lose_nothing(
    ledger: Ledger,
) -> None:
    for _ in range(20):
        email_id = one(ledger)
        batch = ledger.claim("default", 10)
        barrier = threading.Barrier(2)

        def settle_it(batch: Any = batch, barrier: Any = barrier) -> None:
            barrier.wait(10)
            settle(ledger, batch, LOST, Status.QUEUED)

        thread = threading.Thread(target=settle_it)
        thread.start()
        barrier.wait(10)
        tell(ledger, report(email_id, "delivered"))
        thread.join(10)
        assert outcomes(ledger, email_id) == ["delivered"]


def test_what_was_resolved_to_be_sent_again_is_not_when_a_report_comes_late(
    ledger: Ledger,
) -> None:
    email_id = one(ledger)
    settle(ledger, ledger.claim("default", 10), LOST, Status.UNKNOWN)
    ledger.resolve(Filters(email_id=email_id), sent=False, actor="ops")
    assert delivery(ledger).status == "queued"
    assert len(tell(ledger, report(email_id, "delivered")).proven) == 1
    assert ledger.claim("default", 10).deliveries == []


def listen(database: Database, *types: str) -> None:
    with database.begin() as connection:
        connection.execute(
            sa.insert(Webhook).values(
                id="1", url="https://a.example", events=list(types), secret="s", created_at=0.0
            )
        )


def test_webhooks_are_told_in_the_words_of_resend(ledger: Ledger) -> None:
    listen(ledger.database, "email.bounced", "email.complained", "email.delivered", "email.sent")
    email_id = one(ledger)
    settle(ledger, ledger.claim("default", 10), LOST, Status.QUEUED)
    tell(
        ledger,
        report(email_id, "delivered"),
        report(email_id),
        report(email_id, source_id="full", permanent=False, enhanced="5.2.2", code=552),
        report(email_id, "complained"),
        report(UNKNOWN_EMAIL),
    )
    tell(ledger, report(email_id))
    found = {(row.type, json.dumps(row.details)): row for row in rows(ledger, Event)}
    assert len(found) == 5
    assert all(row.delivery_id == delivery(ledger).id for row in found.values())
    bounced = [json.loads(details) for type, details in found if type == "email.bounced"]
    assert sorted(bounced, key=str) == [
        {
            "bounce": {
                "type": "Permanent",
                "subType": "NoEmail",
                "message": "no such user",
                "diagnosticCode": ["smtp; 550 5.1.1 no such user"],
            }
        },
        {
            "bounce": {
                "type": "Transient",
                "subType": "MailboxFull",
                "message": "no such user",
                "diagnosticCode": ["smtp; 552 5.2.2 no such user"],
            }
        },
    ]
    assert {type for type, _ in found} == {
        "email.bounced", "email.complained", "email.delivered", "email.sent",
    }  # fmt: skip


def test_a_thousand_reports_are_one_transaction(ledger: Ledger) -> None:
    addresses = [f"p{number}@example.com" for number in range(1_000)]
    email_id = one(ledger, *addresses)
    settle(ledger, ledger.claim("default", 1_000), ACCEPTED, Status.SENT)
    told_ = [report(email_id, recipients=[address]) for address in addresses]
    assert tell(ledger, *told_, *told_[:5]) == Reported(1_000, 5, 0, [])
    assert set(outcomes(ledger, email_id)) == {"bounced"}
    assert len(suppressed(ledger)) == 1_000


def test_an_email_takes_its_reports_with_it_and_others_stay_until_they_are_old(
    ledger: Ledger,
) -> None:
    email_id = sent(ledger)
    tell(ledger, report(email_id), report(UNKNOWN_EMAIL))
    arguments = {"keep_bodies_seconds": 0, "for_seconds": 60}
    assert ledger.prune(**arguments, keep_seconds=3_600).reports == 0
    assert len(rows(ledger, Report)) == 2
    with ledger.database.begin() as connection:
        older = {"id": "01000000-0000-7000-8000-000000000000"}
        connection.execute(sa.update(Report).where(Report.delivery_id.is_(None)).values(**older))
    assert ledger.prune(**arguments, keep_seconds=3_600).reports == 1
    (left,) = rows(ledger, Report)
    assert left.email_id == email_id
    with ledger.database.begin() as connection:
        connection.execute(sa.delete(Email))
    assert rows(ledger, Report) == []


def test_whoever_is_erased_leaves_no_report(ledger: Ledger) -> None:
    theirs, others = sent(ledger, ADA), sent(ledger, BOB)
    tell(
        ledger,
        report(theirs),
        report(UNKNOWN_EMAIL),
        report(others, source="dsn"),  # passed on by Bob
        report(others, recipients=[BOB]),
    )
    assert len(ledger.reports_without_delivery("Ada@example.com")) == 1
    assert ledger.purge("Ada@example.com", actor="ops", dry_run=True).reports == 2
    assert len(rows(ledger, Report)) == 4
    assert ledger.purge("Ada@example.com", actor="ops").reports == 2
    (left,) = rows(ledger, Report)
    assert left.recipient == BOB


def test_what_is_being_sent_to_the_erased_keeps_its_proof(ledger: Ledger) -> None:
    email_id = one(ledger)
    batch = ledger.claim("default", 10)
    tell(ledger, report(email_id, "delivered"))
    assert ledger.purge(ADA, actor="ops").left == 1
    settle(ledger, batch, LOST, Status.QUEUED)
    assert outcomes(ledger, email_id) == ["delivered"]


def test_a_batch_in_which_one_was_in_doubt_settles_the_others_alike(ledger: Ledger) -> None:
    first, second = one(ledger), one(ledger, BOB)
    batch = ledger.claim("default", 10)
    tell(ledger, report(first, "delivered"))
    outcomes_ = {first: (LOST, Status.QUEUED), second: (DEFERRED, Status.QUEUED)}
    ledger.settle(
        batch.token,
        [settlement(claimed, *outcomes_[claimed.email.id]) for claimed in batch.deliveries],
    )
    assert [row.status for row in rows(ledger, Delivery)] == ["sent", "queued"]


def test_whoever_tells_webhooks_is_woken_for_a_report(database: Database) -> None:
    rung: list[str] = []
    ledger = Ledger(
        database, lease_seconds=60, attempts_allowed=3, on_events=lambda: rung.append("now")
    )
    email_id = sent(ledger, ADA)
    listen(database, "email.delivered")
    tell(ledger, report(email_id, "delivered"))
    assert rung == ["now"]


def test_what_a_report_proves_to_be_sent_is_not_told_as_failed(ledger: Ledger) -> None:
    listen(ledger.database, "email.delivered", "email.sent", "email.failed")
    email_id = one(ledger, ADA)
    settle(ledger, ledger.claim("default", 1), LOST, Status.QUEUED)
    again = ledger.claim("default", 1)
    tell(ledger, report(email_id, "delivered"))
    settle(ledger, again, REFUSED, Status.FAILED)
    assert [row.type for row in rows(ledger, Event)] == ["email.delivered", "email.sent"]


def test_reports_and_what_they_are_about_do_not_wait_for_each_other(postgresql_url: str) -> None:
    database = Database(typed_database_url(postgresql_url))
    database.upgrade()
    ledger = Ledger(database, lease_seconds=60, attempts_allowed=99)
    people = [f"r{number}@example.com" for number in range(40)]
    errors: list[BaseException] = []

    def at_once(*calls: Callable[[], object]) -> None:
        start = threading.Barrier(len(calls))

        def run(call: Callable[[], object]) -> None:
            start.wait(10)
            try:
                call()
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=run, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

    for number in range(10):
        email_id, other_id = one(ledger, *people), one(ledger, *people)
        batch = ledger.claim("default", 1000)
        backwards = [
            settlement(claimed, DEFERRED, Status.QUEUED, delay=9999)
            for claimed in reversed(batch.deliveries)
        ]
        told = [report(email_id, recipients=[who], source_id=f"{number}a{who}") for who in people]
        others = [report(other_id, recipients=[who], source_id=f"{number}b{who}") for who in people]
        at_once(partial(ledger.settle, batch.token, backwards), partial(tell, ledger, *told))
        ledger.unsuppress(actor="test", addresses=people)
        at_once(partial(tell, ledger, *others), partial(tell, ledger, *reversed(
            [one._replace(source_id=f"c{one.source_id}") for one in told]
        )))  # fmt: skip
        ledger.unsuppress(actor="test", addresses=people)
    database.close()
    assert errors == []
