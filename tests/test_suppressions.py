"""Whom not to mail: kept in the ledger, heeded by the worker, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from mailer import Filters, dispatch, dispatcher
from mailer.delivery import drain
from mailer.dev.catcher import Catcher
from mailer.errors import NotFound
from mailer.ledger import Ledger
from mailer.ledger.suppressions import Suppressed
from mailer.models import Email
from mailer.prepared import Prepared
from mailer.state import of

from .conftest import AppFactory


@pytest.fixture
def app(make_app: AppFactory, catcher: Catcher, database_url: str, tmp_path: Path) -> Flask:
    """The service without a worker: `sent` drains."""
    folder = tmp_path / "emails" / "alarm"
    folder.mkdir(parents=True)
    (folder / "subject.txt").write_text("Alarm")
    (folder / "body.txt").write_text("Somebody signed in.")
    (folder / "template.toml").write_text('lane = "critical"\noverride_suppressions = true\n')
    return make_app(
        MAIL_PORT=catcher.smtp_port,
        MAILER_DATABASE_URL=database_url,
        MAILER_TEMPLATES=str(tmp_path / "emails"),
        CELERY={"broker_url": "memory://"},
    )


def sent(app: Flask, *to: str, **more: Any) -> list[Any]:
    """Send an email now; return its deliveries."""
    given: dict[str, Any] = {"subject": "Hello", "text": "Hello"} if "template" not in more else {}
    with app.app_context():
        email = dispatch(to=list(to), **given, **more)
    drain(of(app), email.lane)
    return of(app).ledger.show(email.id).deliveries


def recipients(catcher: Catcher) -> list[str]:
    return [message.recipients[0] for message in catcher.messages()]


def addresses(ledger: Ledger) -> list[str]:
    return [one.address for one in ledger.suppressions(100).suppressions]


def test_who_is_suppressed_is_not_mailed_and_the_others_are(app: Flask, catcher: Catcher) -> None:
    of(app).ledger.suppress(["ADA@example.com"], origin="manual", words="by anna")
    ada, bob = sent(app, "Ada@Example.com", "bob@example.com")
    assert (ada.status, bob.status) == ("suppressed", "sent")
    assert recipients(catcher) == ["bob@example.com"]
    assert ada.reason.startswith("added to the suppressions on 20")
    assert ada.reason.endswith(
        ": by anna; `mailer suppressions remove ada@example.com` lets mail through again"
    )
    (attempt,) = of(app).ledger.show(ada.email_id).attempts[ada.id]
    assert (attempt.outcome, attempt.status, attempt.words) == (
        "suppressed", "suppressed", ada.reason,
    )  # fmt: skip


def test_who_is_suppressed_after_the_dispatch_is_not_mailed(app: Flask, catcher: Catcher) -> None:
    with app.app_context():
        dispatch(to="ada@example.com", subject="Hello", text="Hello")
    of(app).ledger.suppress(["ada@example.com"], origin="complaint")
    drain(of(app), "default")
    assert [row.status for row in of(app).ledger.list(Filters(), 10)] == ["suppressed"]
    assert recipients(catcher) == []


@pytest.mark.parametrize(
    ("category", "status"), [("newsletter", "suppressed"), ("offers", "sent"), (None, "sent")]
)
def test_who_unsubscribed_from_one_category_gets_all_other_mail(
    app: Flask, category: str | None, status: str
) -> None:
    of(app).ledger.suppress(["ada@example.com"], origin="unsubscribe", category="newsletter")
    (ada,) = sent(app, "ada@example.com", category=category)
    assert ada.status == status


def test_what_stops_all_mail_stops_that_of_every_category(app: Flask) -> None:
    of(app).ledger.suppress(["ada@example.com"], origin="complaint")
    of(app).ledger.suppress(["ada@example.com"], origin="unsubscribe", category="newsletter")
    (ada,) = sent(app, "ada@example.com", category="newsletter")
    assert ada.reason.startswith("its recipient complained on ")


@pytest.mark.parametrize("stage", ["rcpt", "dot"])
@pytest.mark.parametrize("enhanced", ["5.1.1", "5.1.6", "5.1.10"])
def test_an_address_that_nobody_has_is_not_tried_twice(
    app: Flask, catcher: Catcher, stage: str, enhanced: str
) -> None:
    catcher.script(stage, f"550 {enhanced} no such user", times=1)
    (first,) = sent(app, "Ada@example.com")
    assert first.status == "failed"
    (known,) = of(app).ledger.suppressions_of(["ada@example.com"])
    assert (known.origin, known.category, known.email_id) == ("bounce", "", first.email_id)
    assert known.words == f"550 {enhanced} no such user"
    (second,) = sent(app, "ada@example.com")
    assert second.status == "suppressed"
    assert second.reason == (
        f"bounced on {known.created_at:%Y-%m-%d}: 550 {enhanced} no such user; "
        "`mailer suppressions remove ada@example.com` lets mail through again"
    )


@pytest.mark.parametrize(
    ("stage", "reply"),
    [
        ("rcpt", "550 5.7.1 not from you"),
        ("rcpt", "550 no such user"),
        ("rcpt", "550 5.1.2 no such domain"),
        ("rcpt", "450 4.1.1 not yet"),
        ("mail", "550 5.1.1 the sender is unknown"),
    ],
)
def test_what_may_mend_itself_or_is_about_another_suppresses_nobody(
    app: Flask, catcher: Catcher, stage: str, reply: str
) -> None:
    catcher.script(stage, reply, times=1)
    sent(app, "ada@example.com")
    assert addresses(of(app).ledger) == []


def test_bounces_suppress_nobody_where_that_is_switched_off(
    make_app: AppFactory, catcher: Catcher
) -> None:
    app = make_app(MAIL_PORT=catcher.smtp_port, MAILER_SUPPRESS_BOUNCES=False)
    catcher.script("rcpt", "550 5.1.1 no such user", times=1)
    assert [sent(app, "ada@example.com")[0].status for _ in range(2)] == ["failed", "sent"]


def test_a_bounce_of_a_test_email_says_nothing_of_anybody(app: Flask, catcher: Catcher) -> None:
    catcher.script("rcpt", "550 5.1.1 no such user")
    with app.app_context():
        dispatch(to="ada@example.com", subject="Hello", text="Hello")
    with of(app).database.begin() as connection:
        connection.execute(sa.update(Email).values(is_test=True))
    drain(of(app), "default")
    assert addresses(of(app).ledger) == []


def test_a_retry_leaves_what_is_suppressed_until_mail_is_let_through(
    app: Flask, catcher: Catcher
) -> None:
    state = of(app)
    state.ledger.suppress(["ada@example.com"], origin="manual")
    (ada,) = sent(app, "ada@example.com")

    def retried() -> str:
        with app.app_context():
            changed = dispatcher.retry(Filters(email_id=ada.email_id), actor="test")
        assert drain(state, "default") == len(changed)
        (found,) = state.ledger.show(ada.email_id).deliveries
        return str(found.status)

    assert retried() == "suppressed"
    assert len(state.ledger.show(ada.email_id).attempts[ada.id]) == 1
    state.ledger.unsuppress(actor="test", addresses=["Ada@example.com"])
    assert retried() == "sent"
    assert recipients(catcher) == ["ada@example.com"]


def test_what_a_retry_holds_back_is_what_a_claim_would_not_send(
    app: Flask, catcher: Catcher
) -> None:
    ledger = of(app).ledger
    catcher.script("rcpt", "550 5.7.1 not wanted", times=6)
    everybody = ("Ada@example.com", "bob@example.com")
    sent(app, *everybody)
    sent(app, *everybody, category="newsletter")
    sent(app, *everybody, template="alarm")
    ledger.suppress(["ada@example.com"], origin="manual")
    ledger.suppress(["ada@example.com", "bob@example.com"], origin="manual", category="newsletter")
    number, held = ledger.held_back(Filters(), 2)
    assert number == 3
    assert [(one.recipient, one.suppressed.category) for one in held] == [
        ("bob@example.com", "newsletter"),
        ("Ada@example.com", ""),
    ]
    would, newest = ledger.would_retry(Filters(), 1)
    assert (would, len(newest)) == (3, 1)
    with app.app_context():
        retried = dispatcher.retry(Filters(), actor="test")
    assert len(retried) == 3
    assert drain(of(app), "critical") + drain(of(app), "default") == 3
    assert sorted(recipients(catcher)) == ["Ada@example.com", "bob@example.com", "bob@example.com"]
    assert ledger.held_back(Filters(), None)[0] == 3


def test_a_retry_brings_nothing_forward_that_would_end_as_suppressed(
    app: Flask, catcher: Catcher
) -> None:
    app.config.update(MAILER_BACKOFF_BASE_SECONDS=600, MAILER_BACKOFF_CAP_SECONDS=600)
    catcher.script("rcpt", "451 4.3.0 later", times=2)
    ada, bob = sent(app, "ada@example.com", "bob@example.com")
    of(app).ledger.suppress(["ada@example.com"], origin="manual")
    with app.app_context():
        (changed,) = dispatcher.retry(Filters(), actor="test")
    assert changed.delivery_id == bob.id
    assert [one.delivery_id for one in of(app).ledger.held_back(Filters(), 9)[1]] == [ada.id]


def test_a_template_that_overrides_reaches_whom_nothing_else_does(
    app: Flask, catcher: Catcher
) -> None:
    of(app).ledger.suppress(["ada@example.com"], origin="complaint")
    (alarm,) = sent(app, "ada@example.com", template="alarm")
    # In another lane it is no security mail.
    (same,) = sent(app, "ada@example.com", template="alarm", lane="default")
    assert (alarm.status, same.status) == ("sent", "suppressed")
    assert recipients(catcher) == ["ada@example.com"]


def test_the_accounts_emails_reach_who_is_suppressed_but_a_greeting_does_not(app: Flask) -> None:
    renderer = of(app).renderer
    overriding = {
        name
        for name in renderer.names()
        if renderer.overrides_suppressions(name, renderer.template(name).lane)
    }
    assert overriding == {
        "alarm", "already_registered", "confirm_email", "password_changed", "reset_password",
    }  # fmt: skip


def test_an_address_is_suppressed_once_and_keeps_its_reason(ledger: Ledger) -> None:
    first = ledger.suppress(["ada@example.com"], origin="bounce", words="550 5.1.1 no")
    again = ledger.suppress(
        ["ADA@example.com", "bob@example.com", "Bob@example.com"], origin="manual"
    )
    assert again["ada@example.com"] == first["ada@example.com"]
    assert sorted(again) == ["ada@example.com", "bob@example.com"]
    assert ledger.suppression("Ada@example.com").origin == "bounce"


def test_suppressions_are_found_by_id_and_address_and_category(ledger: Ledger) -> None:
    (all_mail,) = ledger.suppress(["ada@example.com"], origin="manual").values()
    (news,) = ledger.suppress(
        ["ada@example.com"], origin="unsubscribe", category="newsletter"
    ).values()
    assert ledger.suppression(news).category == "newsletter"
    assert ledger.suppression("ada@example.com").id == all_mail
    assert ledger.suppression("ada@example.com", "newsletter").id == news
    with pytest.raises(NotFound, match="for category offers, but for all mail, newsletter"):
        ledger.suppression("ada@example.com", "offers")
    with pytest.raises(NotFound, match=r"'bob@example\.com' is not suppressed"):
        ledger.suppression("bob@example.com")
    with pytest.raises(NotFound, match="there is no suppression 'x'"):
        ledger.suppression("x")


def test_to_let_mail_through_leaves_what_somebody_unsubscribed_from(ledger: Ledger) -> None:
    ledger.suppress(["ada@example.com"], origin="bounce")
    ledger.suppress(["ada@example.com"], origin="unsubscribe", category="newsletter")
    assert len(ledger.unsuppress(actor="test", addresses=["ada@example.com"])) == 1
    assert len(ledger.unsuppress(actor="test", addresses=["ada@example.com"])) == 0
    (left,) = ledger.suppressions_of(["ada@example.com"])
    assert left.category == "newsletter"
    assert ledger.unsuppress(actor="test", ids=[left.id, "unknown"]) == [left.id]


def test_who_subscribes_again_undoes_only_their_own_wish(ledger: Ledger) -> None:
    ledger.suppress(["ada@example.com"], origin="unsubscribe", category="newsletter")
    ledger.suppress(["bob@example.com"], origin="manual", category="newsletter")
    ledger.suppress(["ada@example.com"], origin="complaint")
    ledger.resubscribe("Ada@example.com", "newsletter")
    ledger.resubscribe("bob@example.com", "newsletter")
    left = [(one.address, one.origin) for one in ledger.suppressions(10).suppressions]
    assert sorted(left) == [("ada@example.com", "complaint"), ("bob@example.com", "manual")]


def test_suppressions_are_listed_page_by_page(ledger: Ledger) -> None:
    for number in range(5):
        ledger.suppress([f"{number}@example.com"], origin="bounce")
    ledger.suppress(["ada@example.com"], origin="unsubscribe", category="newsletter")
    all_of_them = ledger.suppressions(10, origin="bounce").suppressions
    ids = [one.id for one in all_of_them]
    assert ids == sorted(ids, reverse=True)  # of one millisecond, in any order
    assert len(ids) == 5
    newest = ledger.suppressions(2, origin="bounce")
    assert (newest.suppressions, newest.has_more) == (all_of_them[:2], True)
    rest = ledger.suppressions(10, after=ids[1], origin="bounce")
    assert (rest.suppressions, rest.has_more) == (all_of_them[2:], False)
    newer = ledger.suppressions(1, before=ids[2], origin="bounce")
    assert (newer.suppressions, newer.has_more) == ([all_of_them[1]], True)
    (ada,) = ledger.suppressions(10, category="newsletter").suppressions
    assert len(ledger.suppressions(10, category="").suppressions) == 5
    a_second = timedelta(seconds=1)
    assert ada in ledger.suppressions(10, since=ada.created_at - a_second).suppressions
    assert ledger.suppressions(10, since=ada.created_at + a_second).suppressions == []


def test_two_that_suppress_the_same_addresses_do_not_wait_for_each_other(ledger: Ledger) -> None:
    many = [f"{number}@example.com" for number in range(50)]
    found: list[dict[str, str]] = []

    def suppress(some: list[str]) -> None:
        for _ in range(5):
            found.append(ledger.suppress(some, origin="manual"))

    threads = [threading.Thread(target=suppress, args=[some]) for some in (many, many[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 10
    assert all(one == found[0] for one in found)
    assert sorted(addresses(ledger)) == sorted(many)


def test_a_batch_in_which_nobody_is_suppressed_is_claimed_with_three_statements(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Prepared] = []
    rows = Prepared.rows

    def counted(self: Prepared, *arguments: Any) -> Any:
        made.append(self)
        return rows(self, *arguments)

    monkeypatch.setattr(Prepared, "rows", counted)
    with app.app_context():
        dispatch(to=["ada@example.com", "bob@example.com"], subject="Hello", text="Hello")
    of(app).ledger.suppress(["eve@example.com"], origin="manual")
    made.clear()
    assert len(of(app).ledger.claim("default", 1).deliveries) == 1
    assert len(made) == 3
    of(app).ledger.suppress(["bob@example.com"], origin="manual")
    made.clear()
    (bob,) = of(app).ledger.claim("default", 1).deliveries
    assert (bob.suppression is not None, len(made)) == (True, 4)


@pytest.mark.parametrize(
    ("origin", "category", "words", "reason"),
    [
        ("bounce", "", "550 5.1.1 no", "bounced on 2026-11-24: 550 5.1.1 no"),
        ("complaint", "", None, "its recipient complained on 2026-11-24"),
        ("unsubscribe", "", None, "its recipient unsubscribed from all mail on 2026-11-24"),
        ("unsubscribe", "news", None, "its recipient unsubscribed from news on 2026-11-24"),
        ("manual", "", "by anna", "added to the suppressions on 2026-11-24: by anna"),
    ],
)
def test_the_reason_says_why_and_what_to_do(
    origin: str, category: str, words: str | None, reason: str
) -> None:
    at = datetime(2026, 11, 24, 12, tzinfo=UTC)
    one = Suppressed("o'neil@example.com", category, origin, words, at)
    option = f" --category {category}" if category else ""
    command = f"""mailer suppressions remove 'o'"'"'neil@example.com'{option}"""
    assert one.reason == f"{reason}; `{command}` lets mail through again"
