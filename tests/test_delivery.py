"""Drain: what each outcome makes of a delivery, and what happens around it."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
import tracemalloc
from typing import Any

import pytest
from flask import Flask
from flask_mail import email_dispatched

from mailer import Attachment, Filters, dispatch, shutdown, signals
from mailer.delivery import drain
from mailer.dev.catcher import Catcher
from mailer.errors import InvalidEmail, LedgerUnavailable, TemplateError
from mailer.state import of

from .conftest import AppFactory, let_circuits_probe, let_time_pass
from .smtp_server import Do, SMTPServer


def delivery(app: Flask) -> Any:
    (row,) = of(app).ledger.list(Filters(), 10)
    return row


def send(**more: Any) -> Any:
    return dispatch(None, to="ada@example.com", subject="Hello", text="Hello Ada", **more)


def test_a_550_fails_after_one_attempt_with_code_and_words(app: Flask, catcher: Catcher) -> None:
    catcher.script("rcpt", "550 5.1.1 No such user here")
    with app.app_context():
        email = send()
    row = delivery(app)
    assert (row.status, row.attempts, row.stage) == ("failed", 1, "rcpt")
    assert (row.code, row.enhanced, row.reason) == (550, "5.1.1", "No such user here")
    history = of(app).ledger.show(email.id)
    assert len(history.attempts[row.delivery_id]) == 1


def test_a_451_is_deferred_and_then_sent_with_the_same_message_id_and_date(
    app: Flask, catcher: Catcher
) -> None:
    catcher.script("dot", "451 4.3.0 Try again later", times=1)
    with app.app_context():
        email = send()
    # No wait between attempts in this test, so the drain itself came round to the second one.
    row = delivery(app)
    assert (row.status, row.attempts) == ("sent", 2)
    first, second = of(app).ledger.show(email.id).attempts[row.delivery_id]
    assert (first.code, first.status, first.words) == (451, "queued", "Try again later")
    assert (second.code, second.status) == (250, "sent")
    (message,) = catcher.messages()
    assert f"Message-ID: <{email.id}@acme.example>".encode() in message.raw


def test_the_message_is_equal_on_attempts_one_and_two(app: Flask, catcher: Catcher) -> None:
    catcher.script("dot", "drop", stored=True, times=1)
    with app.app_context():
        send()
    first, second = catcher.messages()
    assert first.raw == second.raw
    assert b"\r\nMessage-ID: <" in first.raw
    assert b"\r\nDate: " in first.raw
    assert delivery(app).status == "sent"


def test_of_three_recipients_one_is_refused_and_the_others_mailed_once(
    app: Flask, catcher: Catcher
) -> None:
    catcher.script("rcpt", "550 5.1.1 unknown", address="bob@*")
    with app.app_context():
        dispatch(
            None,
            to=["ada@example.com", "bob@example.com"],
            bcc="eve@example.com",
            subject="Hello",
            text="all",
        )
    rows = {row.recipient: row.status for row in of(app).ledger.list(Filters(), 10)}
    assert rows == {
        "ada@example.com": "sent",
        "bob@example.com": "failed",
        "eve@example.com": "sent",
    }
    assert sorted(message.recipients[0] for message in catcher.messages()) == [
        "ada@example.com",
        "eve@example.com",
    ]
    for message in catcher.messages():
        assert b"eve@" not in message.raw


def test_a_server_that_is_down_defers_without_charging_and_is_used_when_it_is_back(
    app: Flask, catcher: Catcher
) -> None:
    catcher.stop()
    with app.app_context():
        email = send()
    row = delivery(app)
    assert (row.status, row.attempts, row.stage) == ("queued", 0, "connect")
    assert "refused" in row.reason.lower()
    catcher.start()
    let_time_pass(of(app).database, "due_at", 2)
    let_circuits_probe(app)
    with app.app_context():
        drain(of(app), "default")
    assert delivery(app).status == "sent"
    outcomes = [one.outcome for one in of(app).ledger.show(email.id).attempts[row.delivery_id]]
    assert outcomes == ["unavailable", "sent"]


def test_while_the_server_is_down_one_email_knocks_for_all(
    make_app: AppFactory, catcher: Catcher
) -> None:
    app = make_app(
        MAIL_PORT=catcher.smtp_port,
        MAILER_BACKOFF_BASE_SECONDS=60,
        MAILER_BACKOFF_CAP_SECONDS=60,
        CELERY={"broker_url": "memory://"},
    )
    catcher.stop()
    with app.app_context():
        for _ in range(5):
            send()
    state = of(app)
    drain(state, "default")
    assert state.ledger.counts().due == {"default": 4}
    assert drain(state, "default") == 0  # nobody knocks again at once
    let_circuits_probe(app)
    assert drain(state, "default") == 1
    assert state.ledger.counts().due == {"default": 3}


def test_a_broken_template_fails_its_own_email_with_file_line_and_reason(
    make_app: AppFactory, catcher: Catcher, tmp_path: Any
) -> None:
    folder = tmp_path / "emails" / "broken"
    folder.mkdir(parents=True)
    (folder / "subject.txt").write_text("Broken")
    (folder / "body.html").write_text("<p>\n{{ person.name.upper() }}\n</p>")
    app = make_app(MAIL_PORT=catcher.smtp_port, MAILER_TEMPLATES=str(tmp_path / "emails"))
    with app.app_context():
        dispatch("broken", to="ada@example.com", context={"person": {}})
        send()
    sent, failed = of(app).ledger.list(Filters(), 10)
    assert sent.status == "sent"
    assert (failed.status, failed.stage) == ("failed", "render")
    assert "broken/body.html" in failed.reason
    assert "line 2" in failed.reason
    assert "name" in failed.reason


def test_a_context_loader_that_says_none_cancels_and_mails_nothing(
    app: Flask, catcher: Catcher
) -> None:
    of(app).loaders["welcome"] = lambda context: None
    with app.app_context():
        dispatch("welcome", to="ada@example.com", context={"user_id": 1})
    assert delivery(app).status == "cancelled"
    assert catcher.messages() == []


def test_a_context_loader_that_raises_is_tried_again(app: Flask, catcher: Catcher) -> None:
    answers: list[Any] = [RuntimeError("canary"), {"start_url": "https://a.example"}]

    def load(context: dict[str, Any]) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    of(app).loaders["welcome"] = load
    with app.app_context():
        email = dispatch("welcome", to="ada@example.com", context={"user_id": 1})
    row = delivery(app)
    assert row.status == "sent"
    first = of(app).ledger.show(email.id).attempts[row.delivery_id][0]
    assert (first.outcome, first.words) == (
        "deferred",
        "the context loader of 'welcome' raised RuntimeError",
    )


class Nothing:
    pass


@pytest.mark.parametrize(
    ("load", "told"),
    [
        (lambda context: {"start_url": context["user_id"]}, "needs 'user_id', which was not"),
        (lambda context: dict[str, str]()["canary"], "raised KeyError"),
        (lambda context: [][context["user"]], "raised IndexError"),
        (lambda context: context["user"] + "canary", "raised TypeError"),
        (lambda context: Nothing().canary, "raised AttributeError"),  # type: ignore[attr-defined]
        (lambda context: 1 / (context["user"] - 1), "raised ZeroDivisionError"),
    ],
)
def test_a_context_loader_that_fails_on_what_it_was_given_fails_its_delivery_at_once(
    app: Flask, catcher: Catcher, caplog: pytest.LogCaptureFixture, load: Any, told: str
) -> None:
    of(app).loaders["welcome"] = load
    with app.app_context():
        dispatch("welcome", to="ada@example.com", context={"user": 1})
    row = delivery(app)
    assert (row.status, row.attempts) == ("failed", 1)
    assert row.reason.startswith(f"the context loader of 'welcome' {told}")
    assert "canary" not in row.reason
    assert "in <lambda>" in caplog.text
    assert catcher.messages() == []


def test_what_a_loader_loads_is_mailed_but_never_stored(app: Flask, catcher: Catcher) -> None:
    of(app).loaders["welcome"] = lambda context: {"start_url": "https://a.example/canary-token"}
    catcher.script("rcpt", "451 later", times=1)
    with app.app_context():
        dispatch("welcome", to="ada@example.com", context={"user_id": 1})
    assert b"canary-token" in catcher.messages()[0].raw
    path = of(app).database.url.database
    assert path
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert "canary-token" not in "\n".join(connection.iterdump())


def test_a_bug_in_the_middle_settles_what_was_sent_and_hands_the_rest_back(
    make_app: AppFactory, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(MAIL_PORT=catcher.smtp_port, CELERY={"broker_url": "memory://"})
    with app.app_context():
        for _ in range(5):
            send()
    state = of(app)
    send_all = state.traffic.transports["default"].send

    def fails_after_two(*args: Any, **kwargs: Any) -> Any:
        for number, outcome in enumerate(send_all(*args, **kwargs)):
            yield outcome
            if number == 1:
                raise RuntimeError("a bug")

    monkeypatch.setattr(state.traffic.transports["default"], "send", fails_after_two)
    with pytest.raises(RuntimeError, match="a bug"):
        drain(state, "default")
    found = [row.status for row in reversed(state.ledger.list(Filters(), 10))]
    assert found[:2] == ["sent", "sent"]
    # Of the third no more than the envelope had left.
    assert found[2:] == ["queued"] * 3


def test_a_drain_whose_time_is_over_hands_back_what_it_has_not_started(
    make_app: AppFactory, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(MAIL_PORT=catcher.smtp_port, CELERY={"broker_url": "memory://"})
    with app.app_context():
        for _ in range(3):
            send()
    monkeypatch.setitem(app.config, "MAILER_DRAIN_SECONDS", -1)
    rung = []
    monkeypatch.setattr(of(app).doorbell, "pass_on", lambda lane, id: rung.append(lane))
    drain(of(app), "default")
    rows = of(app).ledger.list(Filters(), 10)
    assert [(row.status, row.attempts) for row in rows] == [("queued", 0)] * 3
    assert catcher.messages() == []
    assert rung == ["default"]


def test_a_server_slower_than_a_drain_holds_up_nobody_for_good(make_app: AppFactory) -> None:
    slow = [Do(call=lambda: time.sleep(0.3)) for _ in range(9)]
    with SMTPServer(script={"mail": slow[:], "rcpt": slow[:], "data": slow[:]}) as smtp:
        app = make_app(
            MAIL_PORT=smtp.port, MAILER_DRAIN_SECONDS=0.5, CELERY={"broker_url": "memory://"}
        )
        with app.app_context():
            send()
        drain(of(app), "default")
        assert [row.status for row in of(app).ledger.list(Filters(), 10)] == ["sent"]


def test_an_attempt_tells_how_long_its_server_took(make_app: AppFactory) -> None:
    slow = Do(call=lambda: time.sleep(0.3))
    with SMTPServer(script={"rcpt": [Do(b"451 4.3.0 Later\r\n"), slow]}) as smtp:
        app = make_app(MAIL_PORT=smtp.port, CELERY={"broker_url": "memory://"})
        with app.app_context():
            email = send()
        drain(of(app), "default")
        ((deferred, sent),) = of(app).ledger.show(email.id).attempts.values()
    assert 0 < deferred.seconds < sent.seconds
    assert 0.3 <= sent.seconds < 5


def test_an_attempt_that_began_nothing_took_no_time(app: Flask) -> None:
    of(app).ledger.suppress(["ada@example.com"], origin="manual")
    with app.app_context():
        email = send()
    ((attempt,),) = of(app).ledger.show(email.id).attempts.values()
    assert (attempt.outcome, attempt.seconds) == ("suppressed", None)


@pytest.mark.parametrize("verb", ["mark", "is_due"])
def test_a_ledger_that_fails_before_a_message_leaves_leaves_nothing_to_its_lease(
    make_app: AppFactory, catcher: Catcher, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    app = make_app(
        MAIL_PORT=catcher.smtp_port, MAILER_DRAIN_SECONDS=0.5, CELERY={"broker_url": "memory://"}
    )
    state = of(app)
    with app.app_context():
        for _ in range(3):
            send(on_unknown="hold")

    def away(*_: Any) -> bool:
        raise LedgerUnavailable("locked")

    monkeypatch.setattr("mailer.settling.SETTLE_SECONDS", 0)
    with monkeypatch.context() as patch, contextlib.suppress(LedgerUnavailable):
        patch.setattr(state.ledger, verb, away)
        drain(state, "default")
    assert {row.status for row in state.ledger.list(Filters(), 10)} <= {"queued", "sent"}
    assert {row.attempts for row in state.ledger.list(Filters(statuses={"queued"}), 10)} == {0}
    drain(state, "default")
    assert {row.status for row in state.ledger.list(Filters(), 10)} == {"sent"}
    assert len(catcher.messages()) == 3


def test_a_worker_that_is_to_end_starts_no_more_and_hands_back_the_rest(
    make_app: AppFactory, catcher: Catcher
) -> None:
    app = make_app(MAIL_PORT=catcher.smtp_port, CELERY={"broker_url": "memory://"})
    with app.app_context():
        for _ in range(20):
            send()

    state = of(app)
    send_all = state.traffic.transports["default"].send

    def watched(*args: Any, **kwargs: Any) -> Any:
        for number, outcome in enumerate(send_all(*args, **kwargs), 1):
            if number == 5:
                shutdown.announce()
            yield outcome

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(state.traffic.transports["default"], "send", watched)
            drain(state, "default")
    finally:
        shutdown._flag[0] = 0
    found = [row.status for row in state.ledger.list(Filters(), 30)]
    # The next one's commands had travelled with the fifth; its message had not.
    assert (found.count("sent"), found.count("queued")) == (5, 15)
    assert len(catcher.messages()) == 5


def test_a_reset_does_not_wait_for_a_newsletter(
    make_app: AppFactory, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(MAIL_PORT=catcher.smtp_port, MAILER_BATCH=5, CELERY={"broker_url": "memory://"})
    with app.app_context():
        for _ in range(20):
            send(lane="bulk")
        send(lane="critical")
    rung = []
    monkeypatch.setattr(of(app).doorbell, "pass_on", lambda lane, id: rung.append(lane))
    assert drain(of(app), "bulk") == 5
    assert rung[-1] == "bulk"
    assert drain(of(app), "critical") == 1


def test_a_slow_batch_ends_once_a_more_urgent_lane_has_mail(
    make_app: AppFactory, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(MAIL_PORT=catcher.smtp_port, CELERY={"broker_url": "memory://"})
    with app.app_context():
        for _ in range(20):
            send(lane="bulk")
        send(lane="critical")
    monkeypatch.setattr("mailer.settling.SETTLE_SECONDS", -1)  # look after every email
    drain(of(app), "bulk")
    # The one that was sent, and perhaps the one whose commands had travelled with it.
    assert len(catcher.messages()) <= 2


def test_attachments_and_headers_arrive(app: Flask, catcher: Catcher) -> None:
    file = Attachment(filename="Rechnung März.pdf", data=b"%PDF", content_type="application/pdf")
    with app.app_context():
        send(attachments=[file], headers={"X-Order": "42"}, reply_to="Help <help@acme.example>")
    from email import message_from_bytes, policy

    message = message_from_bytes(catcher.messages()[0].raw, policy=policy.default)
    (part,) = list(message.iter_attachments())
    assert (part.get_filename(), part.get_content()) == ("Rechnung März.pdf", b"%PDF")
    assert message["X-Order"] == "42"
    assert message["Reply-To"] == "Help <help@acme.example>"


def test_signals_tell_what_happened_and_a_receiver_that_raises_harms_nothing(
    app: Flask, catcher: Catcher
) -> None:
    told: list[tuple[str, Any]] = []

    def receive(name: str) -> Any:
        def receiver(sender: Flask, **arguments: Any) -> None:
            told.append((name, arguments["outcome"].code))
            raise RuntimeError("a receiver's bug")

        return receiver

    receivers = {name: receive(name) for name in ("email_sent", "email_deferred", "email_failed")}
    catcher.script("rcpt", "451 later", times=1)
    catcher.script("rcpt", "550 no", address="bob@*")
    try:
        for name, receiver in receivers.items():
            getattr(signals, name).connect(receiver, sender=app)
        with app.app_context():
            send()
            dispatch(None, to="bob@example.com", subject="Hello", text="Hello Bob")
    finally:
        for name, receiver in receivers.items():
            getattr(signals, name).disconnect(receiver, sender=app)
    assert told == [("email_deferred", 451), ("email_sent", 250), ("email_failed", 550)]


def test_flask_mails_email_dispatched_fires_in_the_worker_with_the_bytes_that_were_sent(
    app: Flask, catcher: Catcher
) -> None:
    seen: list[Any] = []

    def receiver(sender: Flask, message: Any) -> None:
        seen.append((sender, message.subject, message.recipients, message.as_bytes()))

    with email_dispatched.connected_to(receiver), app.app_context():
        send()
    assert seen == [(app, "Hello", ["ada@example.com"], catcher.messages()[0].raw)]


def test_record_messages_and_testing_work_without_a_server(
    make_app: AppFactory, catcher: Catcher
) -> None:
    catcher.stop()
    app = make_app(TESTING=True, MAIL_PORT=catcher.smtp_port)
    with app.app_context(), app.extensions["mail"].record_messages() as outbox:
        send()
    assert [message.subject for message in outbox] == ["Hello"]
    assert delivery(app).status == "sent"


def test_each_transition_is_one_log_line_with_ids_and_without_addresses(
    app: Flask, catcher: Catcher, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    catcher.script("rcpt", "451 later", times=1)
    with app.app_context():
        email = dispatch("welcome", to="ada@example.com", context={"start_url": "https://canary"})
    lines = [one.getMessage() for one in caplog.records if one.name == "mailer.settling"]
    assert len(lines) == 2
    assert f"email={email.id} attempt=1 status=queued stage=rcpt code=451" in lines[0]
    assert f"email={email.id} attempt=2 status=sent stage=dot code=250" in lines[1]
    assert "ada@" not in caplog.text
    assert "canary" not in caplog.text


def test_emails_in_a_row_share_a_connection(app: Flask, catcher: Catcher) -> None:
    with app.app_context():
        for _ in range(5):
            send()
    assert len(catcher.messages()) == 5
    assert catcher.counts["connections"] == 1


def test_mail_debug_logs_the_conversation_without_the_password(
    make_app: AppFactory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with Catcher(credentials=("ada", "hunter2 hunter2")) as catcher:
        app = make_app(
            MAIL_PORT=catcher.smtp_port,
            MAIL_DEBUG=True,
            MAIL_USERNAME="ada",
            MAIL_PASSWORD="hunter2 hunter2",
        )
        with app.app_context():
            send()
    assert delivery(app).status == "sent"
    assert "smtp client: RCPT TO:<ada@example.com>" in caplog.text
    assert "smtp server: 250 2.1.5" in caplog.text
    assert "smtp client: AUTH PLAIN ***" in caplog.text
    assert "hunter2" not in caplog.text


def test_no_transaction_is_open_while_the_network_is_used(
    app: Flask, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = of(app)
    send_all = state.traffic.transports["default"].send
    open_while_sending: list[int] = []

    def watched(*args: Any, **kwargs: Any) -> Any:
        for outcome in send_all(*args, **kwargs):
            open_while_sending.append(state.database.engine.pool.checkedout())  # type: ignore[attr-defined]
            yield outcome

    monkeypatch.setattr(state.traffic.transports["default"], "send", watched)
    with app.app_context():
        send()
    assert open_while_sending == [0]


def test_a_250_is_recorded_though_the_ledger_was_away_for_a_moment(
    app: Flask, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = of(app)
    settle, failures = (
        state.ledger.settle,
        [LedgerUnavailable("locked"), LedgerUnavailable("locked")],
    )

    def away_at_first(*args: Any) -> None:
        if failures:
            raise failures.pop()
        settle(*args)

    monkeypatch.setattr("mailer.settling.PATIENCE", (0, 0, 0))
    monkeypatch.setattr(state.ledger, "settle", away_at_first)
    with app.app_context():
        send()
    assert failures == []
    assert delivery(app).status == "sent"
    assert len(catcher.messages()) == 1


def test_a_long_batch_is_settled_while_it_goes_on(
    make_app: AppFactory, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(MAIL_PORT=catcher.smtp_port, CELERY={"broker_url": "memory://"})
    with app.app_context():
        for _ in range(5):
            send()
    state = of(app)
    settle, settled = state.ledger.settle, []

    def watched(token: str, settlements: Any) -> None:
        settled.append(len(settlements))
        settle(token, settlements)

    monkeypatch.setattr("mailer.settling.SETTLE_SECONDS", -1)
    monkeypatch.setattr(state.ledger, "settle", watched)
    drain(state, "default")
    assert settled == [1, 1, 1, 1, 1]


def test_a_template_that_this_worker_does_not_have_is_tried_again(
    app: Flask, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "MAILER_BACKOFF_BASE_SECONDS", 60)
    monkeypatch.setitem(app.config, "MAILER_BACKOFF_CAP_SECONDS", 60)
    with app.app_context():
        monkeypatch.setattr(
            of(app).renderer, "render", lambda *args: pytest.fail("must not be rendered")
        )
        state = of(app)
        known = state.renderer.template
        monkeypatch.setattr(state.doorbell, "ring_for_commit", lambda *args: None)
        dispatch("welcome", to="ada@example.com", context={"start_url": "https://a"})

        def unknown(name: str) -> Any:
            raise TemplateError(f"there is no template {name!r}")

        monkeypatch.setattr(state.renderer, "template", unknown)
        drain(state, "default")
        monkeypatch.setattr(state.renderer, "template", known)
    row = delivery(app)
    assert (row.status, row.attempts) == ("queued", 1)
    assert "no template" in row.reason


def test_the_message_of_a_loaders_error_is_in_no_log(
    app: Flask, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(context: dict[str, Any]) -> Any:
        raise RuntimeError("canary")

    of(app).loaders["welcome"] = load
    monkeypatch.setitem(app.config, "MAILER_BACKOFF_BASE_SECONDS", 60)
    monkeypatch.setitem(app.config, "MAILER_BACKOFF_CAP_SECONDS", 60)
    with app.app_context():
        dispatch("welcome", to="ada@example.com", context={"user_id": 1})
    assert "raised RuntimeError" in caplog.text
    assert "in load" in caplog.text
    assert "canary" not in caplog.text.replace('raise RuntimeError("canary")', "")


def test_handing_back_keeps_the_reason_of_the_last_attempt(
    app: Flask, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    catcher.script("rcpt", "451 4.7.1 Greylisted", times=1)
    monkeypatch.setitem(app.config, "MAILER_BACKOFF_BASE_SECONDS", 60)
    monkeypatch.setitem(app.config, "MAILER_BACKOFF_CAP_SECONDS", 60)
    with app.app_context():
        send()
        let_time_pass(of(app).database, "due_at", 100)
        monkeypatch.setitem(app.config, "MAILER_DRAIN_SECONDS", -1)
        drain(of(app), "default")
    row = delivery(app)
    assert (row.status, row.attempts, row.code, row.reason) == ("queued", 1, 451, "Greylisted")


def test_large_attachments_are_in_memory_one_email_at_a_time(
    make_app: AppFactory, catcher: Catcher
) -> None:
    app = make_app(MAIL_PORT=catcher.smtp_port, CELERY={"broker_url": "memory://"})
    file = Attachment(filename="a.bin", data=b"x" * 1_000_000)
    with app.app_context():
        for _ in range(20):
            send(attachments=[file])
    tracemalloc.start()
    try:
        drain(of(app), "default")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [row.status for row in of(app).ledger.list(Filters(), 30)] == ["sent"] * 20
    # Each is some 1.4 MB on the wire, and the catcher in this process keeps what it gets.
    kept = sum(len(message.raw) for message in catcher.messages())
    assert peak < kept + 15_000_000


def test_a_signals_documented_arguments_are_what_a_receiver_gets(
    app: Flask, catcher: Catcher
) -> None:
    told = []

    def receiver(
        sender: Flask,
        *,
        email_id: str,
        delivery_id: int,
        recipient: str,
        attempt: int,
        outcome: Any,
    ) -> None:
        told.append((email_id, recipient, attempt, outcome.code))

    with signals.email_sent.connected_to(receiver, sender=app), app.app_context():
        email = send()
    assert told == [(email.id, "ada@example.com", 1, 250)]


def test_a_broken_note_beside_one_template_costs_no_other(
    make_app: AppFactory, catcher: Catcher, tmp_path: Any
) -> None:
    folder = tmp_path / "emails" / "broken"
    folder.mkdir(parents=True)
    (folder / "subject.txt").write_text("Broken")
    (folder / "body.txt").write_text("text")
    (folder / "template.toml").write_text('lane = "critcal"')
    app = make_app(MAIL_PORT=catcher.smtp_port, MAILER_TEMPLATES=str(tmp_path / "emails"))
    with app.app_context():
        dispatch("welcome", to="ada@example.com", context={"start_url": "https://a"})
        with pytest.raises(InvalidEmail, match="critcal"):
            dispatch("broken", to="ada@example.com")
    assert delivery(app).status == "sent"


def test_an_exit_while_it_settles_loses_no_250(
    make_app: AppFactory, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(MAIL_PORT=catcher.smtp_port, CELERY={"broker_url": "memory://"})
    with app.app_context():
        for _ in range(3):
            send()
    state = of(app)
    settle = state.ledger.settle
    tries: list[int] = []

    def cut_off_once(token: str, settlements: Any) -> None:
        tries.append(len(settlements))
        if len(tries) == 1:
            raise SystemExit
        settle(token, settlements)

    monkeypatch.setattr("mailer.settling.SETTLE_SECONDS", -1)  # after every email
    monkeypatch.setattr(state.ledger, "settle", cut_off_once)
    with pytest.raises(SystemExit):
        drain(state, "default")
    sent = len(catcher.messages())
    assert sent >= 1
    found = [row.status for row in state.ledger.list(Filters(), 10)]
    assert sorted(found) == sorted(["sent"] * sent + ["queued"] * (3 - sent))
