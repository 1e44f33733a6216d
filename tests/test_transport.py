"""Batches over kept connections, against a server that does what each test tells it."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailer.outcome import Kind, Outcome
from mailer.smtp import Envelope, Server
from mailer.transport import Transport
from tests.smtp_server import CLOSE, GOOD, HANG, RESET, Certificates, Do, SMTPServer

BYE = Do(b"421 4.7.0 too many messages\r\n", "close")


@contextmanager
def transport_to(
    smtp: SMTPServer, *, most: int = 1000, idle: float = 30, **options: object
) -> Iterator[Transport]:
    defaults: dict[str, object] = {"connect_timeout": 2, "timeout": 2, "final_timeout": 2}
    server = Server(host="127.0.0.1", port=smtp.port, **(defaults | options))  # type: ignore[arg-type]
    transport = Transport("relay", server, max_messages_per_connection=most, max_idle_seconds=idle)
    try:
        yield transport
    finally:
        transport.close()


def envelopes(count: int, prefix: str = "user") -> list[Envelope]:
    return [
        Envelope("orders@shop.example", f"{prefix}{n}@example.org", b"Subject: %d\r\n\r\nx\r\n" % n)
        for n in range(count)
    ]


def recipients(count: int, prefix: str = "user") -> list[str]:
    return [envelope.recipient for envelope in envelopes(count, prefix)]


def kinds(outcomes: list[Outcome]) -> list[Kind]:
    return [outcome.kind for outcome in outcomes]


# One call


def test_every_envelope_has_one_outcome_in_order() -> None:
    script = {"rcpt": [GOOD, Do(b"550 5.1.1 unknown\r\n"), Do(b"451 4.3.0 later\r\n")]}
    with SMTPServer(script=script) as smtp, transport_to(smtp) as transport:
        outcomes = list(transport.send(envelopes(5)))
        assert kinds(outcomes) == [
            Kind.SENT, Kind.REFUSED, Kind.DEFERRED, Kind.SENT, Kind.SENT,
        ]  # fmt: skip
        assert {outcome.transport for outcome in outcomes} == {"relay"}
        everyone = recipients(5)
        assert smtp.recipients == [everyone[0], *everyone[3:]]
        assert len(smtp.sessions) == 1


def test_a_message_costs_one_round_trip() -> None:
    with SMTPServer() as smtp, transport_to(smtp) as transport:
        assert set(kinds(list(transport.send(envelopes(50))))) == {Kind.SENT}
        # The banner, EHLO, the first commands, and then each message.
        assert len(smtp.sessions[0].replies) == 3 + 50


def test_envelopes_are_taken_one_ahead_and_no_further() -> None:
    taken = []

    def source() -> Iterator[Envelope]:
        for envelope in envelopes(4):
            taken.append(envelope)
            yield envelope

    with SMTPServer() as smtp, transport_to(smtp) as transport:
        ahead = []
        for n, _ in enumerate(transport.send(source()), 1):
            assert smtp.recipients == recipients(n)
            ahead.append(len(taken) - n)
    assert ahead == [1, 1, 1, 0]


def test_nothing_to_send_opens_no_connection() -> None:
    with SMTPServer() as smtp, transport_to(smtp) as transport:
        assert list(transport.send([])) == []
        assert smtp.sessions == []


def test_the_same_envelope_can_be_sent_twice() -> None:
    with SMTPServer() as smtp, transport_to(smtp) as transport:
        assert kinds(list(transport.send(envelopes(1) * 3))) == [Kind.SENT] * 3
        assert smtp.recipients == recipients(1) * 3


# Kept connections


def test_a_connection_is_kept_for_the_next_call() -> None:
    with SMTPServer() as smtp, transport_to(smtp) as transport:
        for _ in range(3):
            assert kinds(list(transport.send(envelopes(2)))) == [Kind.SENT] * 2
        assert len(smtp.sessions) == 1


def test_a_connection_closed_while_idle_is_replaced_unnoticed() -> None:
    with SMTPServer() as smtp, transport_to(smtp) as transport:
        list(transport.send(envelopes(1)))
        smtp.hang_up()
        assert smtp.sessions[0].ended.wait(5)
        assert kinds(list(transport.send(envelopes(2)))) == [Kind.SENT] * 2
        assert len(smtp.sessions) == 2


def test_no_mail_goes_over_a_connection_that_the_server_took_back() -> None:
    with SMTPServer() as smtp, transport_to(smtp) as transport:
        list(transport.send(envelopes(1)))
        smtp.say(b"421 4.4.2 idle for too long\r\n")
        assert kinds(list(transport.send(envelopes(1)))) == [Kind.SENT]
        mails = [c.session for c in smtp.commands if c.line.startswith("MAIL")]
        assert mails == [0, 1]


def test_a_stale_connection_is_replaced_by_a_new_one_not_by_another_stale_one() -> None:
    with SMTPServer() as smtp, transport_to(smtp) as transport:
        one, two = transport.send(envelopes(2, "a")), transport.send(envelopes(2, "b"))
        next(one), next(two)  # both hold one
        assert kinds([*one, *two]) == [Kind.SENT] * 2
        smtp.then("mail", CLOSE)
        assert kinds(list(transport.send(envelopes(1)))) == [Kind.SENT]
        assert smtp.messages[-1].session == 2


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
@pytest.mark.parametrize("loss", [CLOSE, RESET, HANG, BYE, Do(b"garbage\r\n")])
def test_a_kept_connection_that_breaks_before_the_message_costs_no_attempt(
    stage: str, loss: Do
) -> None:
    with SMTPServer() as smtp, transport_to(smtp, timeout=0.5) as transport:
        list(transport.send(envelopes(1)))
        smtp.then(stage, loss)
        assert kinds(list(transport.send(envelopes(2)))) == [Kind.SENT] * 2
        assert smtp.recipients == [*recipients(1), *recipients(2)]
        assert len(smtp.sessions) == 2


@pytest.mark.parametrize("loss", [CLOSE, BYE])
def test_what_a_new_connection_does_is_the_answer(loss: Do) -> None:
    with SMTPServer() as smtp, transport_to(smtp) as transport:
        list(transport.send(envelopes(1)))
        smtp.then("mail", loss, loss)
        outcomes = list(transport.send(envelopes(2)))
        assert kinds(outcomes) == [Kind.DEFERRED, Kind.SENT]
        assert outcomes[0].stage == "mail"
        assert len(smtp.sessions) == 3


def test_a_connection_carries_so_many_messages_and_no_more() -> None:
    with SMTPServer() as smtp, transport_to(smtp, most=2) as transport:
        assert kinds(list(transport.send(envelopes(3)))) == [Kind.SENT] * 3
        assert kinds(list(transport.send(envelopes(2)))) == [Kind.SENT] * 2
        assert [message.session for message in smtp.messages] == [0, 0, 1, 1, 2]
        assert not smtp.sessions[0].abandoned, "it was left without QUIT"


def test_nor_does_it_carry_more_in_the_next_call() -> None:
    with SMTPServer() as smtp, transport_to(smtp, most=2) as transport:
        for _ in range(2):
            list(transport.send(envelopes(1)))
        for _ in range(2):
            list(transport.send(envelopes(1)))
        assert [message.session for message in smtp.messages] == [0, 0, 1, 1]
        assert smtp.lines.count("QUIT") == 2


def test_a_connection_that_was_idle_for_long_is_not_used_again() -> None:
    with SMTPServer() as smtp, transport_to(smtp, idle=0) as transport:
        list(transport.send(envelopes(1)))
        list(transport.send(envelopes(1)))
        assert [message.session for message in smtp.messages] == [0, 1]
        assert smtp.sessions[0].ended.wait(5)


def test_threads_share_no_connection_at_a_time() -> None:
    everyone = threading.Barrier(4, timeout=10)

    def send(prefix: str) -> None:
        outcomes = transport.send(envelopes(20, prefix))
        next(outcomes)
        everyone.wait()  # so that all four hold one
        assert set(kinds(list(outcomes))) == {Kind.SENT}

    with SMTPServer() as smtp, transport_to(smtp) as transport:
        threads = [threading.Thread(target=send, args=(prefix,)) for prefix in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        expected = [name for prefix in "abcd" for name in recipients(20, prefix)]
        assert sorted(smtp.recipients) == sorted(expected)
        assert len(smtp.sessions) == 4
        for session in range(4):
            senders = {m.recipient[0] for m in smtp.messages if m.session == session}
            assert len(senders) == 1
        list(transport.send(envelopes(1)))
        assert len(smtp.sessions) == 4, "none of the four was kept"


def test_closing_says_quit_on_every_kept_connection() -> None:
    with SMTPServer() as smtp, transport_to(smtp) as transport:
        list(transport.send(envelopes(1)))
        transport.close()
        assert smtp.sessions[0].ended.wait(5)
        assert smtp.lines[-1] == "QUIT"
        assert kinds(list(transport.send(envelopes(1)))) == [Kind.SENT]


@pytest.mark.parametrize("end", ["forget", "nothing"])
def test_a_forked_child_leaves_the_connection_to_its_parent(end: str) -> None:
    with SMTPServer() as smtp, transport_to(smtp) as transport:
        list(transport.send(envelopes(1, "before")))
        with warnings.catch_warnings():
            # Python 3.12 and later: the server's threads are not there in the child.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            status = 1
            try:
                if end == "forget":
                    transport.forget()
                sent = kinds(list(transport.send(envelopes(1, "child"))))
                status = 0 if sent == [Kind.SENT] else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        list(transport.send(envelopes(1, "after")))
        assert [(message.recipient[:5], message.session) for message in smtp.messages] == [
            ("befor", 0),
            ("child", 1),
            ("after", 0),
        ]


# Losses


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize("loss", [CLOSE, RESET, HANG, Do(b"garbage\r\n")])
def test_commands_that_travelled_with_a_lost_message_are_said_again(
    loss: Do, *, accepted: bool
) -> None:
    script = {"dot": [GOOD, Do(loss.reply, loss.then, accept=accepted)]}
    with SMTPServer(script=script) as smtp, transport_to(smtp, final_timeout=0.5) as transport:
        outcomes = list(transport.send(envelopes(4)))
        assert kinds(outcomes) == [Kind.SENT, Kind.AMBIGUOUS, Kind.SENT, Kind.SENT]
        everyone = recipients(4)
        if not accepted:
            everyone.pop(1)
        assert smtp.recipients == everyone
        assert len(smtp.sessions) == 2


def test_a_server_that_leaves_after_a_250_costs_nobody_anything() -> None:
    script = {"dot": [Do(b"250 2.0.0 queued\r\n", "close")] * 3}
    with SMTPServer(script=script) as smtp, transport_to(smtp) as transport:
        assert kinds(list(transport.send(envelopes(4)))) == [Kind.SENT] * 4
        assert smtp.recipients == recipients(4)
        assert len(smtp.sessions) == 4


def test_a_421_to_a_message_defers_it_and_the_next_goes_elsewhere() -> None:
    with SMTPServer(script={"dot": [BYE]}) as smtp, transport_to(smtp) as transport:
        outcomes = list(transport.send(envelopes(2)))
        assert kinds(outcomes) == [Kind.DEFERRED, Kind.SENT]
        assert [message.session for message in smtp.messages] == [1]


def test_one_failure_to_connect_ends_the_batch() -> None:
    with SMTPServer(script={"banner": [BYE]}) as smtp, transport_to(smtp) as transport:
        outcomes = list(transport.send(envelopes(3)))
        assert kinds(outcomes) == [Kind.UNAVAILABLE] * 3
        assert [outcome.code for outcome in outcomes] == [421] * 3
        assert outcomes[0].stage == "banner"
        assert outcomes[0].transport == "relay"
        assert len(smtp.sessions) == 1
        assert kinds(list(transport.send(envelopes(1)))) == [Kind.SENT]


def test_a_server_that_goes_away_in_the_middle_ends_the_batch() -> None:
    with SMTPServer() as smtp, transport_to(smtp) as transport:
        smtp.then("dot", GOOD, Do(b"", "close", call=smtp.stop_listening))
        outcomes = list(transport.send(envelopes(5)))
        assert kinds(outcomes) == [Kind.SENT, Kind.AMBIGUOUS, *[Kind.UNAVAILABLE] * 3]
        assert outcomes[2].stage == "connect"


def test_three_broken_connections_in_a_row_end_the_batch() -> None:
    with SMTPServer(script={"rcpt": [CLOSE] * 9}) as smtp, transport_to(smtp) as transport:
        outcomes = list(transport.send(envelopes(6)))
        assert kinds(outcomes) == [*[Kind.DEFERRED] * 3, *[Kind.UNAVAILABLE] * 3]
        assert "3 connections in a row" in outcomes[3].words
        assert len(smtp.sessions) == 3


def test_a_broken_connection_now_and_then_ends_nothing() -> None:
    script = {"body": [CLOSE, CLOSE, GOOD] * 3}
    with SMTPServer(script=script) as smtp, transport_to(smtp) as transport:
        outcomes = list(transport.send(envelopes(9)))
        assert Kind.UNAVAILABLE not in kinds(outcomes)
        assert kinds(outcomes).count(Kind.SENT) == 3


# Permission to start


@pytest.mark.parametrize("pipelining", [True, False])
def test_once_nothing_may_start_nothing_is_started(*, pipelining: bool) -> None:
    asked = []

    def may_start() -> bool:
        asked.append(len(smtp.messages))
        return len(smtp.messages) < 2

    features = ["PIPELINING"] if pipelining else []
    with SMTPServer(features=features) as smtp, transport_to(smtp) as transport:
        outcomes = list(transport.send(envelopes(5), may_start=may_start))
        assert kinds(outcomes) == [*[Kind.SENT] * 2, *[Kind.NOT_STARTED] * 3]
        assert asked.count(2) == 1, "asked again after it had said no"
        assert "DATA" in smtp.lines[-1] if pipelining else smtp.lines.count("DATA") == 2
        transport.close()
        assert smtp.sessions[0].ended.wait(5)
        assert smtp.recipients == recipients(2)
        assert kinds(list(transport.send(envelopes(1)))) == [Kind.SENT]


def test_nothing_is_said_for_what_may_not_start() -> None:
    with SMTPServer() as smtp, transport_to(smtp) as transport:
        outcomes = list(transport.send(envelopes(2), may_start=lambda: False))
        assert kinds(outcomes) == [Kind.NOT_STARTED] * 2
        assert smtp.sessions == []


def test_a_mark_is_asked_for_when_only_the_message_is_left_to_send() -> None:
    lines: list[list[str]] = []

    def mark(position: int) -> bool:
        lines.append([line.split()[0] for line in smtp.lines])
        return True

    with SMTPServer() as smtp, transport_to(smtp) as transport:
        list(transport.send(envelopes(2), mark=mark))
    once = ["MAIL", "RCPT", "DATA"]
    assert lines == [["EHLO", *once], ["EHLO", *once, *once]]


def test_no_reply_is_waited_for_beyond_the_end_but_the_one_to_a_message_that_left() -> None:
    slowly = {stage: [Do(call=lambda: time.sleep(0.4))] for stage in ("rcpt", "dot")}
    with SMTPServer(script=slowly) as smtp, transport_to(smtp) as transport:
        began = time.monotonic()
        (outcome,) = transport.send(envelopes(1), until=began + 0.2)
        assert outcome.kind is Kind.DEFERRED
        assert time.monotonic() - began < 0.35
        (outcome,) = transport.send(envelopes(1), until=time.monotonic() + 0.2)
        assert outcome.kind is Kind.SENT, "its dot took longer, but it had left"


# Errors of the caller


def test_an_error_of_the_source_comes_through_and_sends_nothing_more() -> None:
    def source() -> Iterator[Envelope]:
        yield from envelopes(2)
        raise RuntimeError("the source")

    with SMTPServer() as smtp, transport_to(smtp) as transport:
        sending = transport.send(source())
        assert next(sending).kind is Kind.SENT
        with pytest.raises(RuntimeError, match="the source"):
            next(sending)
        assert smtp.sessions[0].ended.wait(5)
        assert smtp.recipients == recipients(1)
        assert kinds(list(transport.send(envelopes(1)))) == [Kind.SENT]


def test_a_call_that_is_given_up_sends_nothing_more() -> None:
    with SMTPServer() as smtp, transport_to(smtp) as transport:
        sending = transport.send(envelopes(3))
        assert next(sending).kind is Kind.SENT
        sending.close()
        assert smtp.sessions[0].ended.wait(5)
        assert smtp.recipients == recipients(1)
        assert smtp.sessions[0].abandoned
        assert kinds(list(transport.send(envelopes(1)))) == [Kind.SENT]


# A test of the transport


def test_a_test_tells_what_was_said_and_never_a_secret(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    with (
        SMTPServer(features=["AUTH PLAIN", "SIZE 1000"], tls=certificates.server("good")) as smtp,
        transport_to(
            smtp,
            security="starttls",
            ca_file=certificates.ca_file,
            username="app",
            password="correct horse",
        ) as transport,
    ):
        steps = list(transport.test(envelopes(1)[0]))
        assert smtp.recipients == recipients(1)
        assert smtp.sessions[0].ended.wait(5)
    told = [f"{step.who}: {step.words}" for step in steps]
    for expected in (
        f"note: connected to 127.0.0.1 port {smtp.port}",
        "server: 220 test.example ESMTP",
        "client: EHLO [127.0.0.1]",
        "server: 250 AUTH PLAIN",
        "client: STARTTLS",
        "client: AUTH PLAIN ***",
        "server: 235 2.7.0 welcome",
        "client: MAIL FROM:<orders@shop.example> SIZE=17",
        "client: (17 bytes of message and the final dot)",
        "client: QUIT",
    ):
        assert expected in told
    tls = next(words for words in told if "TLSv1" in words)
    assert "commonName=good" in tls
    assert "valid until Dec 31 00:00:00 2049 GMT" in tls
    assert not [words for words in told if "horse" in words]
    assert steps[-1].who == "result"
    assert steps[-1].words == "sent at dot: 250 2.0.0 queued"
    assert steps[-1].outcome is not None
    assert steps[-1].outcome.kind is Kind.SENT


def test_a_test_without_a_message_sends_none() -> None:
    with SMTPServer() as smtp, transport_to(smtp) as transport:
        steps = list(transport.test())
        assert smtp.lines == ["EHLO [127.0.0.1]", "QUIT"]
        assert (steps[-1].who, steps[-1].outcome) == ("result", None)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({"banner": [Do(b"554 5.3.2 go away\r\n")]}, "unavailable at banner: 554 5.3.2 go away"),
        ({"rcpt": [Do(b"550 5.1.1 who?\r\n")]}, "refused at rcpt: 550 5.1.1 who?"),
        ({"mail": [CLOSE]}, "deferred at mail: the server closed the connection"),
    ],
)
def test_a_test_ends_with_what_went_wrong(script: dict[str, list[Do]], words: str) -> None:
    with SMTPServer(script=script) as smtp, transport_to(smtp) as transport:
        steps = list(transport.test(envelopes(1)[0]))
    assert steps[0].words.startswith("connected to")
    assert (steps[-1].who, steps[-1].words) == ("result", words)
    assert steps[-1].outcome is not None
