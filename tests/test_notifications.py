from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import blinker
import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from mailer import create_app, notifications, signals, state, users
from mailer.content import Context
from mailer.models import Delivery, Email, User
from mailer.users import Tokens, Verdict

ADDRESS = "anna@example.com"
NOBODY = "nobody@example.com"
SECRET = "a secret for tests only"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    app = create_app(
        {
            "SECRET_KEY": SECRET,
            "TESTING": True,
            "MAILER_DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.sqlite3'}",
            "MAILER_BASE_URL": "https://app.example.com/base",
            "MAIL_DEFAULT_SENDER": "service@example.com",
            "CELERY": {"broker_url": "memory://", "result_backend": "disabled"},
        }
    )
    state.of(app).database.upgrade()
    with app.app_context():
        yield app
    state.of(app).close()


@pytest.fixture
def anna(app: Flask) -> User:
    with state.of(app).database.session() as session:
        user = users.sign_up(session, ADDRESS, "correct horse battery")
    assert user is not None
    return user


def confirm(app: Flask, user: User) -> None:
    with state.of(app).database.session() as session:
        assert users.confirm(session, user)


def emails(app: Flask) -> list[sa.Row[tuple[Email, str]]]:
    """Every email's template, context and expiry, with its recipient."""
    query = sa.select(
        Email.template, Email.context, Email.expires_at, Email.lane, Delivery.recipient
    ).join(Delivery, Delivery.email_id == Email.id)
    with state.of(app).database.read() as connection:
        return list(connection.execute(query))


@pytest.mark.parametrize(
    ("signal", "confirmed", "template"),
    [
        (signals.user_signed_up, False, "confirm_email"),
        (signals.sign_up_repeated, False, "already_registered"),
        (signals.sign_up_repeated, True, "already_registered"),
        (signals.address_confirmed, True, "welcome"),
        (signals.password_reset_requested, True, "reset_password"),
        (signals.password_changed, True, "password_changed"),
    ],
)
def test_each_signal_sends_its_template_to_the_user(
    app: Flask, anna: User, signal: blinker.Signal, confirmed: bool, template: str
) -> None:
    if confirmed:
        confirm(app, anna)
    with state.of(app).database.session() as session:
        signal.send(app, user_id=anna.id, address=ADDRESS, session=session)
    (email,) = emails(app)
    assert (email.template, email.recipient) == (template, ADDRESS)


@pytest.mark.parametrize(
    "signal", [signals.user_signed_up, signals.address_confirmed, signals.password_changed]
)
def test_a_user_who_is_gone_by_then_is_sent_nothing(app: Flask, signal: blinker.Signal) -> None:
    with state.of(app).database.session() as session:
        signal.send(app, user_id=1, session=session)
    assert emails(app) == []


def test_an_email_is_stored_with_the_transaction_of_the_flow_or_not_at_all(
    app: Flask, anna: User
) -> None:
    def flow(session: Session) -> None:
        signals.user_signed_up.send(app, user_id=anna.id, session=session)
        raise LookupError

    with pytest.raises(LookupError), state.of(app).database.session() as session:
        flow(session)
    assert emails(app) == []


def test_an_app_hears_its_own_signals_alone(app: Flask, anna: User) -> None:
    with state.of(app).database.session() as session:
        signals.user_signed_up.send(Flask("other"), user_id=anna.id, session=session)
    assert emails(app) == []


def test_a_link_is_not_sent_when_it_would_have_expired(app: Flask, anna: User) -> None:
    with state.of(app).database.session() as session:
        signals.user_signed_up.send(app, user_id=anna.id, session=session)
        signals.password_reset_requested.send(app, address=ADDRESS, session=session)
    for email in emails(app):
        validity = {"confirm_email": 172_800, "reset_password": 3600}[email.template]
        expected = datetime.now(UTC) + timedelta(seconds=validity)
        assert abs(email.expires_at - expected) < timedelta(seconds=60)
        assert email.lane == "critical"


def test_a_reset_is_dispatched_alike_for_an_address_without_an_account(app: Flask) -> None:
    with state.of(app).database.session() as session:
        signals.password_reset_requested.send(app, address="nobody@example.com", session=session)
    (email,) = emails(app)
    assert email.template == "reset_password"
    assert email.context == {"address": "nobody@example.com"}


# Context loaders


def test_the_confirmation_link_carries_a_token_of_the_user(app: Flask, anna: User) -> None:
    context = notifications.load_confirm_email(Context({"user_id": anna.id}, [ADDRESS]))
    assert context is not None
    assert context["expires_in"] == "2 days"
    start, token = context["confirm_url"].rsplit("/", 1)
    assert start == "https://app.example.com/base/confirm"
    with users.reading(state.of(app).database) as session:
        verdict, user = Tokens([SECRET]).read(session, "confirm", token, max_age=60)
    assert verdict is Verdict.OK
    assert user is not None
    assert user.id == anna.id


def test_the_reset_link_carries_a_token_of_the_user(app: Flask, anna: User) -> None:
    context = notifications.load_reset_password(Context({"address": ADDRESS}, [ADDRESS]))
    assert context is not None
    assert context["expires_in"] == "1 hour"
    start, token = context["reset_url"].rsplit("/", 1)
    assert start == "https://app.example.com/base/reset"
    with users.reading(state.of(app).database) as session:
        verdict, user = Tokens([SECRET]).read(session, "reset", token, max_age=60)
    assert verdict is Verdict.OK
    assert user is not None
    assert user.id == anna.id


def test_a_link_that_nobody_needs_any_more_is_not_made(app: Flask, anna: User) -> None:
    assert notifications.load_reset_password(Context({"address": NOBODY}, [NOBODY])) is None
    assert notifications.load_confirm_email(Context({"user_id": anna.id + 1}, [ADDRESS])) is None
    confirm(app, anna)
    assert notifications.load_confirm_email(Context({"user_id": anna.id}, [ADDRESS])) is None


def test_a_link_is_not_made_for_anybody_but_the_owner_of_the_account(
    app: Flask, anna: User
) -> None:
    for recipients in ([NOBODY], [ADDRESS, NOBODY]):
        assert notifications.load_reset_password(Context({"address": ADDRESS}, recipients)) is None
        assert notifications.load_confirm_email(Context({"user_id": anna.id}, recipients)) is None
    context = Context({"address": ADDRESS}, [ADDRESS.upper()])
    assert notifications.load_reset_password(context) is not None


def test_the_worker_uses_these_loaders(app: Flask) -> None:
    assert state.of(app).loaders == {
        "confirm_email": notifications.load_confirm_email,
        "reset_password": notifications.load_reset_password,
    }


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (60, "1 minute"),
        (119, "1 minute"),
        (1800, "30 minutes"),
        (3600, "1 hour"),
        (5400, "90 minutes"),
        (7200, "2 hours"),
        (86_400, "1 day"),
        (129_600, "36 hours"),
        (172_800, "2 days"),
        (2_592_000, "30 days"),
        (3599.5, "59 minutes"),
    ],
)
def test_a_validity_is_said_as_people_say_it(seconds: float, words: str) -> None:
    assert notifications.in_words(seconds) == words
