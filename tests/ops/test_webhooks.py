"""Webhooks in the console, told over real HTTP"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from mailer import dispatch, webhooks
from mailer.dev.catcher import Catcher
from mailer.models import Event, Webhook
from mailer.state import of

from ..conftest import AppFactory, let_time_pass
from ..receiver import Receiver, answer
from ..receiver import receiver as running
from .conftest import SignIn, hidden, submit

PATH = "/ops/webhooks"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running(answer("500 Sorry", "<b>no</b>")) as server:
        yield server


@pytest.fixture
def app(make_app: AppFactory, catcher: Catcher) -> Flask:
    return make_app(MAIL_PORT=catcher.smtp_port, MAILER_WEBHOOK_ALLOW="127.0.0.1")


def _made(app: Flask, receiver: Receiver) -> str:
    made: str = webhooks.create(of(app), receiver.url, ["email.sent"], actor="test").id
    return made


def test_one_is_made_and_its_secret_is_shown_this_once(
    app: Flask, sign_in: SignIn, receiver: Receiver
) -> None:
    browser = sign_in("admin")

    made = submit(browser, PATH, url=receiver.url, type=["email.sent", "email.failed"])

    assert made.status_code == 200
    (row,) = webhooks.listing(of(app), limit=10).rows
    assert row.events == ["email.sent", "email.failed"]
    assert row.secret in made.text
    for path in (PATH, f"{PATH}/{row.id}"):
        page = browser.get(path).text
        assert receiver.url in page
        assert row.secret not in page


def test_a_form_sent_twice_makes_one_webhook(
    app: Flask, sign_in: SignIn, receiver: Receiver
) -> None:
    browser = sign_in("admin")
    fields = {**hidden(browser.get(PATH).text, PATH), "url": receiver.url}
    first, second = (browser.post(PATH, data=fields) for _ in range(2))
    (row,) = webhooks.listing(of(app), limit=10).rows
    assert (first.status_code, second.status_code) == (200, 409)
    assert f"No second one was made: the webhook {row.id} was made already" in second.text
    assert row.secret not in second.text


def test_a_form_sent_twice_rotates_the_secret_once(
    app: Flask, sign_in: SignIn, receiver: Receiver
) -> None:
    webhook_id = _made(app, receiver)
    before = webhooks.get(of(app), webhook_id).secret
    browser, at = sign_in("admin"), f"{PATH}/{webhook_id}"
    path = f"{at}/rotate"
    fields = hidden(browser.get(at).text, path)
    first, second = (browser.post(path, data=fields) for _ in range(2))
    row = webhooks.get(of(app), webhook_id)
    assert (first.status_code, second.status_code) == (200, 409)
    assert row.previous_secret == before
    assert row.secret in first.text
    assert "The secret stays as it is" in second.text
    assert row.secret not in second.text
    assert browser.post(path, data=hidden(first.text, path)).status_code == 200  # on purpose


def test_a_wrong_endpoint_is_named(app: Flask, sign_in: SignIn) -> None:
    wrong = submit(sign_in("admin"), PATH, url="http://shop.example/<b>")
    assert wrong.status_code == 422
    assert "endpoint: expected" in wrong.text
    assert webhooks.listing(of(app), limit=10).rows == []


def test_another_secret_is_shown_this_once(app: Flask, sign_in: SignIn, receiver: Receiver) -> None:
    webhook_id = _made(app, receiver)
    before = webhooks.get(of(app), webhook_id).secret
    at = f"{PATH}/{webhook_id}"
    page = submit(sign_in("admin"), f"{at}/rotate", at=at).text
    assert webhooks.get(of(app), webhook_id).secret in page
    assert before not in page


def test_what_failed_is_shown_with_its_answer_and_told_again(
    app: Flask, sign_in: SignIn, receiver: Receiver
) -> None:
    webhook_id = _made(app, receiver)
    with app.app_context():
        dispatch(subject="One", text="x", to="ann@example.com")
    browser = sign_in("operator")
    page = browser.get(f"{PATH}/{webhook_id}").text
    event = re.search(rf"{PATH}/{webhook_id}/events/(msg_[0-9a-f]+)", page)
    assert event
    address = f"{PATH}/{webhook_id}/events/{event[1]}"
    assert ">1</th>" in browser.get(address).text
    assert "&lt;b&gt;no&lt;/b&gt;" in browser.get(address).text

    submit(browser, f"{address}/replay", at=address)

    assert len(receiver.heard) == 2
    assert ">2</th>" in browser.get(address).text
    at = f"{PATH}/{webhook_id}"
    submit(browser, f"{at}/replay", at=at, hours="6")
    assert "0 that failed and 1 that waited are told now." in browser.get(at).text
    assert len(receiver.heard) == 3


def _event_page(browser: FlaskClient, at: str) -> str:
    event = re.search(rf"{at}/events/msg_[0-9a-f]+", browser.get(at).text)
    assert event
    return browser.get(event[0]).text


def test_what_an_event_says_is_shown_as_its_receiver_got_it(
    app: Flask, sign_in: SignIn, receiver: Receiver
) -> None:
    at = f"{PATH}/{_made(app, receiver)}"
    with app.app_context():
        dispatch(subject="<b>One</b>", text="canary", to="ann@example.com", tags={"order": "7"})
    page = _event_page(sign_in("viewer"), at)
    shown = re.search(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)
    assert shown
    assert json.loads(unescape(shown[1])) == receiver.heard[0].document
    assert "&lt;b&gt;One&lt;/b&gt;" in shown[1]
    assert "canary" not in page
    assert "whsec_" not in page


def test_the_subject_of_security_mail_is_not_shown_in_its_events(
    app: Flask, sign_in: SignIn, receiver: Receiver
) -> None:
    at = f"{PATH}/{_made(app, receiver)}"
    with app.app_context():
        dispatch(subject="canary 123456", text="x", to="ann@example.com", lane="critical")
    page = _event_page(sign_in("admin"), at)
    assert "canary" not in page
    assert "&#34;subject&#34;: &#34;[hidden subject]&#34;" in page


def test_an_event_that_waits_says_until_when_and_one_that_is_due_for_how_long(
    app: Flask, sign_in: SignIn, receiver: Receiver
) -> None:
    webhook_id = _made(app, receiver)
    with app.app_context():
        dispatch(subject="One", text="x", to="ann@example.com")
    browser, at = sign_in("viewer"), f"{PATH}/{webhook_id}"
    assert re.search(r"pending</span> <small><time [^>]*>in \d", browser.get(at).text)
    let_time_pass(of(app).database, "due_at", 36_000, model=Event)
    assert re.search(r"pending</span> <small><time [^>]*>due for 10 h<", browser.get(at).text)


def test_a_pause_and_a_secret_that_are_over_are_not_said_to_last(
    app: Flask, sign_in: SignIn, receiver: Receiver
) -> None:
    webhook_id = _made(app, receiver)
    browser, at = sign_in("viewer"), f"{PATH}/{webhook_id}"
    words = ("rests until", "signs as well until")
    for seconds in (60, -60):
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        with of(app).database.begin() as connection:
            values = {"failures": 2, "failing_since": until, "rests_until": until}
            connection.execute(sa.update(Webhook).values(**values, previous_until=until))
        assert [one in browser.get(at).text for one in words] == [seconds > 0] * 2


def test_one_is_disabled_says_by_whom_and_is_deleted_only_then(
    app: Flask, sign_in: SignIn, receiver: Receiver
) -> None:
    webhook_id = _made(app, receiver)
    browser, at = sign_in("admin"), f"{PATH}/{webhook_id}"
    refused = submit(browser, f"{at}/delete", at=at)
    assert (refused.status_code, "disable it first" in refused.text) == (422, True)
    submit(browser, f"{at}/disable", at=at)
    assert "disabled by member admin" in browser.get(at).text
    refused = submit(browser, f"{at}/replay", at=at)
    assert (refused.status_code, "enable it first" in refused.text) == (422, True)
    submit(browser, f"{at}/enable", at=at)
    assert '<span class="state good">well</span>' in browser.get(at).text
    submit(browser, f"{at}/disable", at=at)
    submit(browser, f"{at}/delete", at=at)
    assert browser.get(at).status_code == 404
