"""The door in: what is accepted, what is refused and how, and in whose transaction."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import flask_mail
import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from mailer import (
    Attachment,
    Filters,
    IdempotencyConflict,
    InvalidEmail,
    LedgerUnavailable,
    Mailer,
    cancel,
    dispatch,
    dispatch_many,
    retry,
    signals,
)
from mailer.dev.catcher import Catcher
from mailer.errors import MailerError, NotFound
from mailer.models import Delivery, Email
from mailer.state import of

from .conftest import AppFactory

HELLO: dict[str, Any] = {"to": "ada@example.com", "subject": "Hello", "text": "Hello Ada"}


@pytest.fixture
def app(make_app: AppFactory) -> Iterator[Flask]:
    """The service without any server: what is dispatched stays queued."""
    app = make_app(CELERY={"broker_url": "memory://"}, MAILER_MAX_RECIPIENTS=3)
    with app.app_context():
        yield app


def stored(app: Flask) -> int:
    with of(app).database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(Email)).scalar_one()


def problems(**arguments: Any) -> dict[str, str]:
    with pytest.raises(InvalidEmail) as caught:
        dispatch(**arguments)
    return dict(caught.value.problems)


BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("malformed recipient", {"to": "ada"}, "to", "'ada'"),
    ("no recipient", {"to": ()}, "to", "at least one"),
    ("empty recipient", {"to": ""}, "to", "''"),
    ("two in one string", {"to": "a@b.example, c@d.example"}, "to", "a@b.example, c@d.example"),
    ("recipient of a wrong type", {"to": 5}, "to", "5"),
    ("one bad of two", {"to": ["ada@example.com", "x"]}, "to[1]", "'x'"),
    ("too many", {"to": [f"u{n}@example.com" for n in range(4)]}, "to", "at most 3"),
    ("newline in an address", {"to": "ada@example.com\r\nBcc: eve@example.com"}, "to", "expected"),
    ("newline in a name", {"to": ("Ada\nBcc: x", "ada@example.com")}, "to", "expected"),
    ("newline in the subject", {"subject": "Hi\r\nBcc: eve@example.com"}, "subject", "U+000D"),
    ("control character in the subject", {"subject": "Hi\x0bthere"}, "subject", "U+000B"),
    ("line separator in the subject", {"subject": "Hi\u2028there"}, "subject", "U+2028"),
    ("NUL in the text", {"text": "a\0b"}, "text", "NUL"),
    ("text of a wrong type", {"text": b"bytes"}, "text", "expected text"),
    ("no subject", {"subject": None}, "subject", "expected one"),
    ("no body", {"text": None}, "template", "expected a template"),
    ("bad sender", {"sender": "nobody"}, "sender", "'nobody'"),
    ("bad reply-to", {"reply_to": "nobody"}, "reply_to", "'nobody'"),
    ("bad cc", {"cc": ["nobody"]}, "cc[0]", "'nobody'"),
    ("bad bcc", {"bcc": "nobody"}, "bcc", "'nobody'"),
    ("header of ours", {"headers": {"Subject": "x"}}, "headers", "Subject"),
    ("newline in a header", {"headers": {"X-A": "x\r\nBcc: y@z.example"}}, "headers", "U+000D"),
    ("bad header name", {"headers": {"X A": "x"}}, "headers", "'X A'"),
    ("too many headers", {"headers": {f"X-{n}": "x" for n in range(51)}}, "headers", "at most 50"),
    ("header twice", {"headers": {"X-A": "1", "x-a": "2"}}, "headers", "once"),
    ("headers of a wrong type", {"headers": ["X"]}, "headers", "a mapping"),
    ("attachment name with a path", {"attachments": [Attachment(filename="../x", data=b"")]},
     "attachments[0]", "'../x'"),
    ("attachment of a wrong type", {"attachments": ["x"]}, "attachments[0]", "mailer.Attachment"),
    ("attachments too large", {"attachments": [Attachment(filename="x", data=b"x" * 10_000_001)]},
     "attachments", "at most 10000000"),
    ("content id twice",
     {"attachments": [Attachment(filename=n, data=b"", content_id="logo") for n in "ab"]},
     "attachments", "once"),
    ("body too large", {"text": "x" * 1_000_001}, "text", "at most 1000000 bytes"),
    ("naive time", {"send_at": datetime(2030, 1, 1)}, "send_at", "aware"),  # noqa: DTZ001
    ("time out of reach", {"send_at": datetime.max.replace(tzinfo=UTC)}, "send_at", "within"),
    ("too late", {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "expires_at", "to come"),
    ("late before early", {"send_at": datetime(2030, 1, 2, tzinfo=UTC),
                           "expires_at": datetime(2030, 1, 1, tzinfo=UTC)},
     "expires_at", "after send_at"),
    ("unknown lane", {"lane": "critcal"}, "lane", "did you mean critical"),
    ("unknown policy", {"on_unknown": "drop"}, "on_unknown", "one of resend, hold"),
    ("bad locale", {"locale": "../de"}, "locale", "such as de-AT"),
    ("bad tag", {"tags": {"a b": "c"}}, "tags", "'a b'"),
    ("too many tags", {"tags": {f"t{n}": "x" for n in range(21)}}, "tags", "at most 20"),
    ("long key", {"idempotency_key": "k" * 257}, "idempotency_key", "1 to 256"),
    ("context without a template", {"context": {"a": 1}}, "context", "no template"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "field", "words"),
    [row[1:] for row in BAD],
    ids=[row[0] for row in BAD],
)
def test_bad_input_is_refused_by_field_and_nothing_is_stored(
    app: Flask, arguments: dict[str, Any], field: str, words: str
) -> None:
    found = problems(**{**HELLO, **arguments})
    assert field in found
    assert words in found[field]
    assert stored(app) == 0


BAD_TEMPLATES: list[tuple[str, dict[str, Any], str, str]] = [
    ("unknown template", {"template": "wellcome"}, "template", "welcome"),
    ("no name", {"template": 5}, "template", "got 5"),
    ("path", {"template": "../welcome"}, "template", "../welcome"),
    ("missing variables", {"context": {}}, "context", "start_url"),
    ("not JSON", {"context": {"start_url": object()}}, "context", "JSON"),
    ("not a number of JSON", {"context": {"start_url": float("nan")}}, "context", "JSON"),
    ("key of a wrong type", {"context": {1: "x"}}, "context", "text keys"),
    ("context too large", {"context": {"start_url": "x" * 70_000}}, "context", "at most 65536"),
    ("template and text", {"text": "x"}, "text", "'welcome' has it"),
]


@pytest.mark.parametrize(
    ("arguments", "field", "words"),
    [row[1:] for row in BAD_TEMPLATES],
    ids=[row[0] for row in BAD_TEMPLATES],
)
def test_a_bad_template_or_context_is_refused_and_nothing_is_stored(
    app: Flask, arguments: dict[str, Any], field: str, words: str
) -> None:
    good = {"template": "welcome", "to": "ada@example.com", "context": {"start_url": "https://a"}}
    found = problems(**{**good, **arguments})
    assert field in found
    assert words in found[field]
    assert stored(app) == 0


def test_every_problem_is_named_at_once(app: Flask) -> None:
    found = problems(to="x", subject="a\nb", text="x", lane="fast", headers={"To": "x"})
    assert set(found) == {"to", "subject", "lane", "headers"}


def test_the_sender_may_be_missing_only_when_a_default_is_set(make_app: AppFactory) -> None:
    app = make_app()
    app.config["MAIL_DEFAULT_SENDER"] = None
    with app.app_context():
        assert "MAIL_DEFAULT_SENDER" in problems(**HELLO)["sender"]


def test_what_a_context_loader_needs_is_asked_of_the_caller(app: Flask) -> None:
    told = problems(template="reset_password", to="ada@example.com", context={"adress": "x"})
    assert told == {"context": "template 'reset_password' also needs: address"}
    own = Flask("own")
    own.config.update(MAIL_DEFAULT_SENDER="a@example.com", CELERY={"broker_url": "memory://"})
    mailer = Mailer(own)
    mailer.loader("welcome", needs=["user_id"])(lambda context: None)
    with own.app_context():
        told = problems(template="welcome", to="ada@example.com", context={"user": 7})
    assert told == {"context": "template 'welcome' also needs: user_id"}


def test_a_template_says_lane_expiry_and_policy_and_the_caller_can_override(app: Flask) -> None:
    email = dispatch("reset_password", to="ada@example.com", context={"address": "x"})
    assert email.lane == "critical"
    assert email.expires_at == email.created_at + timedelta(hours=1)
    soon = datetime.now(UTC) + timedelta(minutes=5)
    other = dispatch(
        "reset_password",
        to="ada@example.com",
        context={"address": "x"},
        lane="bulk",
        expires_at=soon,
        on_unknown="hold",
    )
    assert (other.lane, other.expires_at, other.on_unknown) == ("bulk", soon, "hold")


def test_who_stands_in_two_fields_gets_one_copy(app: Flask) -> None:
    email = dispatch(**{**HELLO, "cc": "ADA@EXAMPLE.com", "bcc": ["ada@example.com"]})
    history = of(app).ledger.show(email.id)
    assert len({row.recipient.lower() for row in history.deliveries}) == 1


def test_the_same_key_and_content_is_the_same_email_and_other_content_an_error(app: Flask) -> None:
    first = dispatch(**HELLO, idempotency_key="order-1")
    assert dispatch(**HELLO, idempotency_key="order-1").id == first.id
    with pytest.raises(IdempotencyConflict, match="order-1"):
        dispatch(**{**HELLO, "text": "Hello Bob"}, idempotency_key="order-1")
    assert stored(app) == 1


CHANGES: list[dict[str, Any]] = [
    {"to": "bob@example.com"},
    {"bcc": "bob@example.com"},
    {"subject": "Other"},
    {"html": "<p>x</p>"},
    {"sender": "other@acme.example"},
    {"reply_to": "other@acme.example"},
    {"headers": {"X-A": "1"}},
    {"tags": {"a": "1"}},
    {"lane": "bulk"},
    {"locale": "de"},
    {"on_unknown": "hold"},
    {"attachments": [Attachment(filename="a.txt", data=b"1")]},
]


@pytest.mark.parametrize("change", CHANGES, ids=["-".join(change) for change in CHANGES])
def test_every_argument_counts_as_content(app: Flask, change: dict[str, Any]) -> None:
    dispatch(**HELLO, idempotency_key="k")
    with pytest.raises(IdempotencyConflict):
        dispatch(**{**HELLO, **change}, idempotency_key="k")


def test_who_says_in_an_hour_again_an_instant_later_means_the_same_email(app: Flask) -> None:
    def once() -> str:
        soon = datetime.now(UTC) + timedelta(hours=1)
        late = soon + timedelta(hours=1)
        return dispatch(**HELLO, idempotency_key="k", send_at=soon, expires_at=late).id

    assert once() == once()


def test_send_at_waits_in_the_ledger(app: Flask) -> None:
    at = datetime.now(UTC) + timedelta(hours=1)
    email = dispatch(**HELLO, send_at=at)
    (delivery,) = of(app).ledger.show(email.id).deliveries
    assert abs(delivery.due_at - at) < timedelta(milliseconds=1)
    assert of(app).ledger.claim("default", 1).deliveries == []


def test_many_are_stored_together_or_not_at_all(app: Flask) -> None:
    with pytest.raises(InvalidEmail) as caught:
        dispatch_many([HELLO, {**HELLO, "to": "x"}, {**HELLO, "colour": "red"}])
    assert [problem.field for problem in caught.value.problems] == ["emails[1].to", "emails[2]"]
    assert "there is no argument colour" in str(caught.value)
    assert stored(app) == 0
    emails = dispatch_many([{**HELLO, "to": f"u{n}@example.com"} for n in range(50)])
    assert len({email.id for email in emails}) == 50
    assert stored(app) == 50
    assert dispatch_many([]) == []


def test_a_flask_mail_message_is_dispatched_whole(app: Flask) -> None:
    message = flask_mail.Message(
        "Grüße",
        recipients=["ada@example.com", ("Bob, B.", "bob@example.com")],
        body="text",
        html="<p>html</p>",
        sender=("Acme, Inc.", "shop@acme.example"),
        bcc=["eve@example.com"],
        reply_to="help@acme.example",
        extra_headers={"X-Order": "1"},
    )
    message.attach("a.txt", "text/plain", b"file")
    email = dispatch(message, lane="bulk")
    history = of(app).ledger.show(email.id)
    assert [row.recipient for row in history.deliveries] == [
        "ada@example.com",
        "bob@example.com",
        "eve@example.com",
    ]
    assert history.email.addresses == {
        "from": [["Acme, Inc.", "shop@acme.example"]],
        "to": [["", "ada@example.com"], ["Bob, B.", "bob@example.com"]],
        "cc": [],
        "reply_to": [["", "help@acme.example"]],
    }
    assert (history.email.subject, history.email.text, history.email.html) == (
        "Grüße", "text", "<p>html</p>",
    )  # fmt: skip
    assert (history.email.lane, history.email.headers) == ("bulk", {"X-Order": "1"})


def test_what_a_message_has_is_not_taken_from_the_arguments_too(app: Flask) -> None:
    message = flask_mail.Message("Hi", recipients=["ada@example.com"], body="x")
    with pytest.raises(InvalidEmail) as caught:
        dispatch(message, to="bob@example.com", context={"a": 1})
    assert {problem.field for problem in caught.value.problems} == {"to", "context"}
    assert stored(app) == 0


def test_a_hostile_flask_mail_message_is_refused(app: Flask) -> None:
    message = flask_mail.Message("Hi", recipients=["a@b.example, c@d.example"], body="x")
    message.extra_headers = {"X-A": "x\r\nBcc: eve@example.com"}
    with pytest.raises(InvalidEmail) as caught:
        dispatch(message)
    assert {problem.field for problem in caught.value.problems} == {"to[0]", "headers"}


def test_dispatch_without_the_extension_says_what_to_do() -> None:
    with Flask("bare").app_context(), pytest.raises(MailerError, match=r"Mailer\(\).init_app"):
        dispatch(**HELLO)


def test_email_queued_is_told_after_the_commit(app: Flask) -> None:
    told: list[tuple[str, int]] = []

    def receiver(sender: Flask, email: Email) -> None:
        told.append((email.id, stored(app)))

    with signals.email_queued.connected_to(receiver, sender=app):
        email = dispatch(**HELLO)
        dispatch(**HELLO, idempotency_key="k")
        dispatch(**HELLO, idempotency_key="k")
    assert told[0] == (email.id, 1)
    assert len(told) == 2  # a repetition is no new email


def test_a_receiver_of_email_queued_that_raises_fails_nobody(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def receiver(sender: Flask, email: Email) -> None:
        raise RuntimeError

    with signals.email_queued.connected_to(receiver, sender=app):
        dispatch(**HELLO)
    assert stored(app) == 1


# In the caller's own transaction


def rings(app: Flask, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    rung: list[str] = []
    doorbell = of(app).doorbell
    monkeypatch.setattr(doorbell, "ring_for_commit", lambda lane, email_id: rung.append(email_id))
    return rung


def test_in_a_session_nothing_rings_before_its_commit(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung = rings(app, monkeypatch)
    with Session(of(app).database.engine) as session:
        email = dispatch(**HELLO, session=session)
        assert rung == []
        session.commit()
        assert rung == [email.id]
        session.commit()
        assert rung == [email.id]


def test_a_rollback_sends_nothing_and_rings_nothing(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung = rings(app, monkeypatch)
    with Session(of(app).database.engine) as session:
        dispatch(**HELLO, session=session)
        session.rollback()
        assert stored(app) == 0
        dispatch(**HELLO, session=session)
        session.commit()
    assert stored(app) == 1
    assert len(rung) == 1


def test_a_savepoint_that_commits_inside_a_rollback_rings_nothing(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung = rings(app, monkeypatch)
    with Session(of(app).database.engine) as session:
        with session.begin_nested():
            dispatch(**HELLO, session=session)
        assert rung == []
        session.rollback()
    assert stored(app) == 0
    assert rung == []


def test_a_savepoint_rolled_back_leaves_the_rest(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung = rings(app, monkeypatch)
    with Session(of(app).database.engine) as session:
        kept = dispatch(**HELLO, session=session)
        with pytest.raises(RuntimeError), session.begin_nested():
            dispatch(**HELLO, session=session)
            raise RuntimeError
        session.commit()
    assert stored(app) == 1
    assert rung == [kept.id]


def test_what_follows_a_savepoint_that_was_rolled_back_rings_for_itself(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung = rings(app, monkeypatch)
    with Session(of(app).database.engine) as session:
        with pytest.raises(RuntimeError), session.begin_nested():
            dispatch(**HELLO, session=session)
            raise RuntimeError
        kept = dispatch(**HELLO, session=session)
        session.commit()
    assert rung == [kept.id]


def test_flask_sqlalchemys_session_commits_user_and_email_together(
    catcher: Catcher, settings: dict[str, Any], database_url: str
) -> None:
    """Also on PostgreSQL: the extension's tables lie beside the application's own."""
    from mailer.values import database_url as typed

    app = Flask("shop")
    app.config.update(settings)
    app.config.update(
        SQLALCHEMY_DATABASE_URI=typed(database_url),
        MAILER_DATABASE_URL=database_url,
        MAIL_PORT=catcher.smtp_port,
    )
    db = SQLAlchemy(app)

    class Order(db.Model):  # type: ignore[name-defined, misc]
        id = sa.Column(sa.Integer, primary_key=True)

    Mailer(app)
    with app.app_context():
        of(app).database.upgrade()
        db.create_all()
        db.session.add(Order())
        dispatch(**HELLO, session=db.session)
        db.session.rollback()
        assert (stored(app), db.session.query(Order).count()) == (0, 0)
        db.session.add(Order())
        db.session.flush()
        dispatch(**HELLO, session=db.session)
        assert catcher.messages() == []
        db.session.commit()
        assert (stored(app), db.session.query(Order).count()) == (1, 1)
        assert len(catcher.messages()) == 1
        db.session.remove()
        db.engine.dispose()
    of(app).close()


# Ops


def test_retry_rings_and_cancel_knows_what_does_not_exist(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung = rings(app, monkeypatch)
    email = dispatch(**HELLO)
    assert len(cancel(Filters(email_id=email.id), actor="test")) == 1
    assert cancel(Filters(email_id=email.id), actor="test") == []
    assert len(retry(Filters(email_id=email.id), actor="test")) == 1
    assert rung == [email.id, email.id]
    with pytest.raises(NotFound):
        cancel(Filters(email_id="nope"), actor="test")


# Trouble


def test_a_ledger_that_is_gone_is_an_error_that_says_so(make_app: AppFactory) -> None:
    app = make_app()
    with app.app_context():
        with of(app).database.begin() as connection:
            connection.execute(sa.text("ALTER TABLE mailer_emails RENAME TO gone"))
        with pytest.raises(LedgerUnavailable, match="mailer db upgrade"):
            dispatch(**HELLO)


def test_from_many_threads_each_email_is_stored_once(app: Flask) -> None:
    def work() -> None:
        with app.app_context():
            for _ in range(20):
                dispatch(**HELLO)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stored(app) == 100
    with of(app).database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(Delivery)).scalar() == 100


anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(arguments=st.dictionaries(
    st.sampled_from(sorted(set(HELLO) | {"cc", "bcc", "sender", "reply_to", "headers", "tags",
                                         "html", "locale", "lane", "attachments", "context",
                                         "send_at", "expires_at", "idempotency_key"})),
    anything, max_size=3,
))  # fmt: skip
@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_comes_is_accepted_or_refused_in_words(
    app: Flask, arguments: dict[str, Any]
) -> None:
    before = stored(app)
    refusal: MailerError | None = None
    try:
        dispatch(**{**HELLO, **arguments})
    except (InvalidEmail, IdempotencyConflict) as error:
        refusal = error
    assert refusal is None or stored(app) == before
    assert refusal is None or re.match(r"\w+(\[\d+\])?: \S", str(refusal))
