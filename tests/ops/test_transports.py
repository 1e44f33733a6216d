"""Transports and lanes in the console, over a real SMTP server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from limits import parse

from mailer import dispatch, members
from mailer.dev.catcher import Catcher
from mailer.dev.ports import free_port
from mailer.ops import limits
from mailer.ops.routes import transports
from mailer.state import of

from ..conftest import AppFactory
from ..smtp_server import Certificates
from .conftest import SignIn, submit

PASSWORD = "correct horse"


@pytest.fixture
def app(make_app: AppFactory, catcher: Catcher) -> Flask:
    first = f"first=smtp://127.0.0.1:{catcher.smtp_port}?rate=14"
    second = f"second=smtp://127.0.0.1:{free_port()}?lane=bulk"
    return make_app(MAILER_TRANSPORTS=f"{first},{second}", MAILER_BACKOFF_CAP_SECONDS=600)


def test_each_transport_is_shown_with_its_figures_limits_and_last_trouble(
    app: Flask, sign_in: SignIn, catcher: Catcher
) -> None:
    catcher.script("rcpt", "550 5.1.1 <b>no such user</b>", times=1)
    with app.app_context():
        dispatch(subject="One", text="x", to="gone@example.com")
        dispatch(subject="Two", text="x", to="ann@example.com")

    page = sign_in("viewer").get("/ops/transports").text

    assert f"127.0.0.1:{catcher.smtp_port}, no TLS, no login" in page
    assert "1 sent, 1 refused" in page
    assert "14/s" in page
    assert "only lane bulk" in page
    assert "550 5.1.1 &lt;b&gt;no such user&lt;/b&gt;" in page
    assert '<button class="button quiet small"' not in page  # for operators


def test_an_open_circuit_says_since_when_and_when_it_is_tried(app: Flask, sign_in: SignIn) -> None:
    with app.app_context():
        of(app).ledger.pause_transport("first", actor="somebody")
        dispatch(subject="One", text="x", to="ann@example.com", lane="bulk")

    page = sign_in("viewer").get("/ops/transports").text

    assert '<span class="state bad">not usable</span>' in page
    assert "tried again in" in page
    assert "Connection refused" in page


def test_a_transport_is_paused_and_resumed_by_who_did_it(app: Flask, sign_in: SignIn) -> None:
    browser = sign_in("operator")

    answer = submit(browser, "/ops/transports/first/pause", at="/ops/transports")

    assert (answer.status_code, answer.location) == (303, "/ops/transports")
    assert of(app).ledger.paused_transports()["first"].actor == "member operator"
    page = browser.get("/ops/transports").text
    assert "Transport first is paused." in page
    assert "by member operator, " in page
    submit(browser, "/ops/transports/first/pause", at="/ops/transports")
    assert "Transport first was paused already." in browser.get("/ops/transports").text
    submit(browser, "/ops/transports/first/resume", at="/ops/transports")
    assert of(app).ledger.paused_transports() == {}


def test_a_lane_is_paused_and_its_mail_goes_on_once_it_is_resumed(
    app: Flask, sign_in: SignIn, catcher: Catcher
) -> None:
    browser = sign_in("operator")
    submit(browser, "/ops/lanes/bulk/pause", at="/ops/transports")
    with app.app_context():
        dispatch(subject="One", text="x", to="ann@example.com", lane="bulk")
    assert catcher.messages() == []
    page = browser.get("/ops/transports").text
    assert '<td data-label="Due now" class="number">1</td>' in page

    submit(browser, "/ops/lanes/bulk/resume", at="/ops/transports")

    assert len(catcher.messages()) == 1


@pytest.mark.parametrize(
    "path", ["/ops/transports/third/pause", "/ops/lanes/third/pause", "/ops/transports/third/test"]
)
def test_what_is_not_there_is_said_to_be(sign_in: SignIn, path: str) -> None:
    answer = submit(sign_in("operator"), path, at="/ops/transports")
    assert answer.status_code == 404
    assert "&#39;third&#39;; there are " in answer.text


def test_a_test_without_an_address_shows_the_conversation_and_sends_nothing(
    sign_in: SignIn, catcher: Catcher
) -> None:
    answer = submit(sign_in("operator"), "/ops/transports/first/test", at="/ops/transports/first")

    assert answer.status_code == 200
    assert "The server can be used." in answer.text
    assert "&gt; EHLO " in answer.text
    assert "&lt; 250 PIPELINING" in answer.text
    assert "&gt; MAIL" not in answer.text
    assert catcher.messages() == []


def test_a_test_with_an_address_sends_a_message_there(
    app: Flask, sign_in: SignIn, catcher: Catcher
) -> None:
    answer = submit(
        sign_in("operator"),
        "/ops/transports/first/test",
        at="/ops/transports/first",
        address="ann@example.com",
    )

    assert "The server took the message to ann@example.com." in answer.text
    (message,) = catcher.messages()
    assert message.recipients == ("ann@example.com",)
    acts, _ = of(app).ledger.acts(5, action="send test")
    assert [(one.actor, one.about) for one in acts] == [("member operator", "transport first")]


def test_nothing_is_sent_to_an_address_that_is_suppressed(
    app: Flask, sign_in: SignIn, catcher: Catcher
) -> None:
    of(app).ledger.suppress(["ann@example.com"], origin="complaint")
    of(app).ledger.suppress(["ben@example.com"], origin="manual", category="news")
    browser, page = sign_in("operator"), "/ops/transports/first"
    answer = submit(browser, f"{page}/test", at=page, address="Ann@example.com")
    assert answer.status_code == 422
    assert "ann@example.com is suppressed (complaint): nothing is sent there" in answer.text
    assert catcher.counts["connections"] == 0
    assert of(app).ledger.acts(5, action="send test")[0] == []
    assert submit(browser, f"{page}/test", at=page, address="ben@example.com").status_code == 200


def test_messages_to_test_a_transport_have_a_rate_and_conversations_none(
    sign_in: SignIn, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transports, "TESTS", limits.TESTS._replace(rate=parse("1/hour")))
    browser, page = sign_in("operator"), "/ops/transports/first"
    tries = ["", "ann@example.com", "ann@example.com", ""]
    answers = [submit(browser, f"{page}/test", at=page, address=one) for one in tries]
    assert [one.status_code for one in answers] == [200, 200, 429, 200]
    assert "That was tried too often." in answers[2].text
    assert len(catcher.messages()) == 1


def test_a_wrong_address_is_named_and_no_server_is_asked(sign_in: SignIn, catcher: Catcher) -> None:
    answer = submit(
        sign_in("operator"),
        "/ops/transports/first/test",
        at="/ops/transports/first",
        address="<ann",
    )

    assert answer.status_code == 422
    assert "expected" in answer.text
    assert catcher.counts["connections"] == 0


def test_a_server_that_is_not_there_is_told_with_its_reason(sign_in: SignIn) -> None:
    answer = submit(sign_in("operator"), "/ops/transports/second/test", at="/ops/transports/second")
    assert "Unavailable at connect: " in answer.text
    assert "Connection refused" in answer.text


@pytest.fixture
def careful(certificates: Certificates) -> Iterator[Catcher]:
    with Catcher(tls=certificates.server("good"), credentials=("ann", PASSWORD)) as server:
        yield server


def test_no_page_has_the_password(
    make_app: AppFactory, careful: Catcher, certificates: Certificates
) -> None:
    app = make_app(
        MAIL_PORT=careful.smtp_port, MAIL_USE_TLS=True, MAIL_CA_FILE=certificates.ca_file,
        MAIL_USERNAME="ann", MAIL_PASSWORD=PASSWORD,
    )  # fmt: skip
    members.add(of(app).database, "ben", "operator", "another horse battery staple", actor="test")
    browser = app.test_client()
    submit(browser, "/ops/sign-in", name="ben", password="another horse battery staple")

    answer = submit(browser, "/ops/transports/default/test", at="/ops/transports/default")

    assert "The server can be used." in answer.text
    assert "AUTH PLAIN ***" in answer.text
    assert "login as ann" in answer.text
    for secret in (PASSWORD, "AGFubgBjb3JyZWN0IGhvcnNl"):  # the second: as AUTH PLAIN has it
        assert secret not in answer.text + browser.get("/ops/transports").text
