"""Several messages at once, and a server that does at any of them whatever a server can do.

Six messages travel as a group, and the fault is at the fourth, unless a test says otherwise.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from mailer.outcome import Kind, Outcome
from mailer.smtp import Envelope
from mailer.transport import GROUP_BYTES, Transport

from .smtp_server import CLOSE, GOOD, HANG, RESET, VANISH, Certificates, Do, SMTPServer
from .test_transport import envelopes, kinds, recipients, transport_to

FEATURES = ("PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8")
BEFORE, MANY = 3, 6
SENT, AMBIGUOUS = Kind.SENT, Kind.AMBIGUOUS
BYE = Do(b"421 4.3.2 closing\r\n", "close")
STAYS = Do(b"421 4.7.0 try again later\r\n")
LATER, NEVER = Do(b"451 4.3.0 later\r\n"), Do(b"550 5.1.1 never\r\n")
GARBAGE = Do(b"hello there\r\n")
TWICE = Do(b"250 2.0.0 ok\r\n250 2.0.0 and one too many\r\n")
LARGE = 32_000_000
"""Bytes that do not fit into the buffers of a loopback connection, which may grow to 10 MB."""

Script = Mapping[str, Sequence[Do]]


@contextmanager
def group_to(
    smtp: SMTPServer, *, most: int = 1000, new: bool = False, **options: Any
) -> Iterator[Transport]:
    """Return a transport that knows the server's pace, with a connection unless it is to be
    ``new``."""
    with transport_to(smtp, most=most, **options) as transport:
        assert kinds(list(transport.send(envelopes(1, "before")))) == [SENT]
        transport.pace.took(0.001, 1)
        transport.pace.reckon(10, 0.01)
        assert transport.group == 10
        if new:
            transport.close()
        smtp.messages.clear()
        smtp.commands.clear()
        yield transport


@contextmanager
def grouped(
    script: Script | None = None,
    *,
    bdat: Literal["good", "undiscarded", "unknown"] = "good",
    **options: Any,
) -> Iterator[tuple[SMTPServer, Transport]]:
    with (
        SMTPServer(features=FEATURES, bdat=bdat) as smtp,
        group_to(smtp, **options) as transport,
    ):
        for stage, items in (script or {}).items():
            smtp.then(stage, *items)
        yield smtp, transport


def fourth(stage: str, *do: Do) -> Script:
    return {stage: [*[GOOD] * BEFORE, *do]}


def sessions(smtp: SMTPServer) -> list[int]:
    """Return over which connection each message came; the first is 0."""
    seen = [message.session for message in smtp.messages]
    return [number - min(seen) for number in seen]


def check(smtp: SMTPServer, given: Sequence[Envelope], outcomes: Sequence[Outcome]) -> None:
    """Check that the outcomes are those of the envelopes, and agree with what was accepted."""
    assert len(outcomes) == len(given)
    accepted = Counter(smtp.recipients)
    for envelope, outcome in zip(given, outcomes, strict=True):
        copies = accepted.pop(envelope.recipient, 0)
        assert copies == 1 if outcome.kind is SENT else copies <= (outcome.kind is AMBIGUOUS)
    assert not accepted


def send(smtp: SMTPServer, transport: Transport, count: int = MANY) -> list[Outcome]:
    given = envelopes(count)
    outcomes = list(transport.send(given))
    check(smtp, given, outcomes)
    return outcomes


# When all is well


def test_ten_messages_cost_one_round_trip() -> None:
    with grouped() as (smtp, transport):
        before = len(smtp.sessions[0].replies)
        assert kinds(send(smtp, transport, 20)) == [SENT] * 20
        assert smtp.recipients == recipients(20)
        assert len(smtp.sessions[0].replies) - before == 2
        assert smtp.lines.count("BDAT 17 LAST") == 10
        assert "DATA" not in smtp.lines


def test_a_message_arrives_as_it_is() -> None:
    messages = [b"Subject: x\r\n\r\n.\r\n..\r\nRSET\r\n", "Subject: ä\r\n\r\n".encode(), b"\r\n"]
    given = [Envelope("a@b.example", f"{n}@c.example", m) for n, m in enumerate(messages)]
    with grouped() as (smtp, transport):
        assert kinds(list(transport.send(given))) == [SENT] * 3
        assert [message.data for message in smtp.messages] == messages
        assert [line for line in smtp.lines if line.startswith("MAIL")] == [
            "MAIL FROM:<a@b.example>",
            "MAIL FROM:<a@b.example> BODY=8BITMIME",
            "MAIL FROM:<a@b.example>",
        ]


def test_a_group_goes_through_tls(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    tls = certificates.server("good")
    with SMTPServer(features=FEATURES, tls=tls) as smtp:
        options: dict[str, Any] = {"security": "starttls", "ca_file": certificates.ca_file}
        with group_to(smtp, **options) as transport:
            smtp.then("dot", *[GOOD] * 14, CLOSE)
            assert kinds(send(smtp, transport, 20)) == [*[SENT] * 14, *[AMBIGUOUS] * 6]
            assert smtp.sessions[0].encrypted_from is not None


@pytest.mark.parametrize("missing", ["CHUNKING", "PIPELINING"])
def test_a_server_without_what_it_takes_gets_one_after_the_other(missing: str) -> None:
    features = [feature for feature in FEATURES if feature != missing]
    with SMTPServer(features=features) as smtp, transport_to(smtp) as transport:
        for _ in range(2):
            transport.pace.took(0.001, 1)
            transport.pace.reckon(10, 0.01)
            assert transport.group == 1
            assert kinds(list(transport.send(envelopes(12)))) == [SENT] * 12
        assert not [line for line in smtp.lines if line.startswith("BDAT")]


@pytest.mark.parametrize(("seconds", "group"), [(0.01, 10), (0.3, 3), (2, 1)])
def test_a_slow_server_gets_as_many_at_once_as_it_takes_in_a_second(
    seconds: float, group: int
) -> None:
    with grouped() as (_, transport):
        transport.pace.took(seconds * 5, 5)
        transport.pace.reckon(10, 0.01)
        assert transport.group == group


def test_what_is_to_travel_alone_does_and_in_its_place() -> None:
    given = envelopes(8)
    for position in (0, 3, 4, 7):
        given[position] = given[position]._replace(alone=True)
    with grouped() as (smtp, transport):
        assert kinds(list(transport.send(given))) == [SENT] * 8
        assert smtp.recipients == recipients(8)
        words = [line.split()[0] for line in smtp.lines]
        ways = ["DATA", "BDAT", "BDAT", "DATA", "DATA", "BDAT", "BDAT", "DATA"]
        assert [word for word in words if word in {"DATA", "BDAT"}] == ways


def test_no_message_joins_a_group_that_is_large() -> None:
    half = GROUP_BYTES // 2
    given = [one._replace(message=bytes(half)) for one in envelopes(5)]
    with grouped() as (smtp, transport):
        before = len(smtp.sessions[0].replies)
        taken = itertools.count()
        source = (envelope for envelope in given if next(taken) >= 0)
        outcomes = transport.send(source)
        assert next(outcomes).kind is SENT
        assert next(taken) == 2, "more were taken than travel"
        assert kinds(list(outcomes)) == [SENT] * 4
        assert smtp.recipients == recipients(5)
        assert len(smtp.sessions[0].replies) - before >= 3


def test_a_large_message_does_not_travel_with_those_before_it() -> None:
    given = envelopes(5)
    given[2] = given[2]._replace(message=bytes(GROUP_BYTES))
    with grouped() as (smtp, transport):
        before = len(smtp.sessions[0].replies)
        assert kinds(list(transport.send(given))) == [SENT] * 5
        assert smtp.recipients == recipients(5)
        # Two small ones, the large one, two small ones.
        assert len(smtp.sessions[0].replies) - before >= 3


@pytest.fixture
def groups_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a message travel with others that no buffer on the way takes in whole."""
    monkeypatch.setattr("mailer.transport.GROUP_BYTES", 10 * LARGE)


# What a server says


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("stage", ["mail", "rcpt", "dot"])
@pytest.mark.parametrize(("do", "kind"), [(LATER, Kind.DEFERRED), (NEVER, Kind.REFUSED)])
def test_what_the_server_refuses_costs_no_other_anything(
    stage: str, do: Do, kind: Kind, *, new: bool
) -> None:
    with grouped(fourth(stage, do), new=new) as (smtp, transport):
        outcomes = send(smtp, transport, 12)
        assert kinds(outcomes) == [*[SENT] * 3, kind, *[SENT] * 8]
        assert (outcomes[3].stage, outcomes[3].code) == (stage, int((do.reply or b"")[:3]))
        assert set(sessions(smtp)) == {0}


def test_all_may_be_refused() -> None:
    with grouped({"rcpt": [NEVER, LATER] * 5}) as (smtp, transport):
        assert kinds(send(smtp, transport, 11)) == [Kind.REFUSED, Kind.DEFERRED] * 5 + [SENT]
        assert set(sessions(smtp)) == {0}


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("stage", ["rset", "mail", "rcpt"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_after_a_goodbye_before_a_message_nobody_is_in_doubt(
    stage: str, how: Literal["close", "reset"], *, new: bool
) -> None:
    with grouped(fourth(stage, Do(BYE.reply, how)), new=new) as (smtp, transport):
        assert kinds(send(smtp, transport)) == [SENT] * MANY
        assert smtp.recipients == recipients(MANY)
        assert sessions(smtp) == [0, 0, 0, 1, 1, 1]


def test_a_goodbye_to_a_message_defers_it_and_the_others_go_elsewhere() -> None:
    with grouped(fourth("dot", BYE)) as (smtp, transport):
        outcomes = send(smtp, transport)
        assert kinds(outcomes) == [SENT, SENT, SENT, Kind.DEFERRED, SENT, SENT]
        assert (outcomes[3].stage, outcomes[3].code) == ("dot", 421)
        assert sessions(smtp) == [0, 0, 0, 1, 1]


def test_a_goodbye_in_place_of_the_reply_to_what_was_refused_leaves_nobody_in_doubt() -> None:
    """So does Postfix when it has seen too many errors."""
    with grouped({**fourth("rcpt", NEVER), **fourth("dot", BYE)}) as (smtp, transport):
        outcomes = send(smtp, transport)
        assert kinds(outcomes) == [SENT, SENT, SENT, Kind.REFUSED, SENT, SENT]
        assert (outcomes[3].stage, outcomes[3].code) == ("rcpt", 550)
        assert sessions(smtp) == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("stage", ["mail", "rcpt", "dot"])
def test_a_server_that_says_421_and_stays_gets_nothing_twice(stage: str) -> None:
    """So does go-smtp when its backend says so, and aiosmtpd."""
    with grouped(fourth(stage, STAYS)) as (smtp, transport):
        outcomes = send(smtp, transport)
        assert kinds(outcomes) == [SENT, SENT, SENT, Kind.DEFERRED, SENT, SENT]
        assert (outcomes[3].stage, outcomes[3].code) == (stage, 421)
        assert set(sessions(smtp)) == {0}


@pytest.mark.parametrize("stage", ["mail", "dot"])
def test_a_421_after_which_the_server_neither_leaves_nor_speaks_is_no_goodbye(stage: str) -> None:
    """It may be at work on what follows."""
    with grouped(fourth(stage, Do(BYE.reply, "hang")), timeout=0.5) as (smtp, transport):
        outcomes = send(smtp, transport)
        assert kinds(outcomes) == [*[SENT] * 3, Kind.DEFERRED, *[AMBIGUOUS] * 2]
        assert outcomes[3].code == 421


def test_a_goodbye_to_the_first_message_of_a_new_connection_is_its_answer() -> None:
    with grouped({"mail": [BYE, BYE]}) as (smtp, transport):
        outcomes = send(smtp, transport)
        assert kinds(outcomes) == [Kind.DEFERRED, *[SENT] * 5], "the kept one told nothing"
        assert (outcomes[0].stage, outcomes[0].code) == ("mail", 421)
        assert sessions(smtp) == [0] * 5


def test_a_goodbye_after_the_last_reply_changes_nothing() -> None:
    bye = Do(b"250 2.0.0 queued\r\n421 4.3.2 closing\r\n", "close")
    with grouped({"dot": [*[GOOD] * 9, bye]}) as (smtp, transport):
        assert kinds(send(smtp, transport, 15)) == [SENT] * 15
        assert sessions(smtp) == [*[0] * 10, *[1] * 5]


def test_a_server_that_takes_five_for_each_connection_gets_them_all_and_each_once() -> None:
    limited = {"mail": [*[*[GOOD] * 5, BYE] * 20]}
    with grouped(limited, new=True) as (smtp, transport):
        assert kinds(send(smtp, transport, 40)) == [SENT] * 40
        assert smtp.recipients == recipients(40)
        assert sessions(smtp) == [n // 5 for n in range(40)]


# What breaks


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("stage", ["rset", "mail", "rcpt", "body", "dot"])
@pytest.mark.parametrize("loss", [CLOSE, RESET])
def test_what_was_answered_before_a_loss_is_sent_and_the_rest_is_in_doubt(
    stage: str, loss: Do, *, new: bool
) -> None:
    with grouped(fourth(stage, loss), new=new) as (smtp, transport):
        outcomes = send(smtp, transport)
        assert kinds(outcomes) == [*[SENT] * 3, *[AMBIGUOUS] * 3]
        assert {(one.stage, one.code) for one in outcomes[3:]} == {("dot", None)}
        assert smtp.recipients == recipients(3)


@pytest.mark.parametrize("stage", ["mail", "rcpt", "dot"])
def test_a_server_that_vanishes_with_its_replies_leaves_all_in_doubt(stage: str) -> None:
    with grouped(fourth(stage, VANISH)) as (smtp, transport):
        assert kinds(send(smtp, transport)) == [AMBIGUOUS] * MANY
        assert smtp.recipients == recipients(3)


@pytest.mark.parametrize("stage", ["mail", "dot"])
@pytest.mark.parametrize("loss", [HANG, GARBAGE, Do(b"250 2.0.", "close"), Do(b"250", "hang")])
def test_silence_garbage_and_half_a_reply_leave_the_rest_in_doubt(stage: str, loss: Do) -> None:
    script = fourth(stage, loss)
    with grouped(script, timeout=0.5, final_timeout=0.5) as (smtp, transport):
        outcomes = send(smtp, transport)
        assert kinds(outcomes) == [*[SENT] * 3, *[AMBIGUOUS] * 3]
        assert set(smtp.recipients) >= set(recipients(3))


def test_a_group_is_not_waited_for_longer_than_a_message() -> None:
    slow = Do(call=lambda: time.sleep(0.2))
    with grouped({"dot": [slow] * 10}, timeout=5, final_timeout=0.5) as (smtp, transport):
        began = time.monotonic()
        outcomes = send(smtp, transport)
        assert time.monotonic() - began < 0.8
        assert kinds(outcomes)[-1] is AMBIGUOUS


def test_a_refusal_counts_although_the_server_leaves_right_after_it() -> None:
    with grouped(fourth("rcpt", Do(NEVER.reply, "close"))) as (smtp, transport):
        outcomes = send(smtp, transport)
        assert kinds(outcomes) == [*[SENT] * 3, Kind.REFUSED, *[AMBIGUOUS] * 2]
        assert (outcomes[3].stage, outcomes[3].code) == ("rcpt", 550)


@pytest.mark.usefixtures("groups_of_any_size")
def test_what_was_answered_counts_when_the_write_breaks_half_way() -> None:
    given = envelopes(5)
    given[3] = given[3]._replace(message=bytes(LARGE))
    with grouped(fourth("body", CLOSE)) as (smtp, transport):
        outcomes = list(transport.send(given))
        # The message that had not left in whole goes over another connection at once.
        assert kinds(outcomes) == [SENT] * 5
        assert smtp.recipients == recipients(5)
        assert sessions(smtp) == [0, 0, 0, 1, 1]


@pytest.mark.usefixtures("groups_of_any_size")
def test_what_was_answered_counts_when_the_server_reads_no_more() -> None:
    given = envelopes(5)
    given[3] = given[3]._replace(message=bytes(LARGE))
    with grouped(fourth("body", HANG), timeout=0.3) as (smtp, transport):
        assert kinds(list(transport.send(given))) == [SENT] * 5
        assert sessions(smtp) == [0, 0, 0, 1, 1]


@pytest.mark.usefixtures("groups_of_any_size")
def test_a_goodbye_half_way_through_the_write_leaves_nobody_in_doubt() -> None:
    given = envelopes(5)
    given[3] = given[3]._replace(message=bytes(LARGE))
    with grouped(fourth("rcpt", BYE), new=True) as (smtp, transport):
        assert kinds(list(transport.send(given))) == [SENT] * 5
        assert sessions(smtp) == [0, 0, 0, 1, 1]


def test_of_a_new_connection_that_breaks_before_all_else_one_pays() -> None:
    given = envelopes(3)
    given[0] = given[0]._replace(message=bytes(LARGE))
    with grouped({"body": [CLOSE]}, new=True) as (_, transport):
        assert kinds(list(transport.send(given))) == [Kind.DEFERRED, SENT, SENT]


def test_three_connections_in_a_row_that_break_end_the_batch() -> None:
    with grouped({"dot": [GOOD, CLOSE] * 4}) as (smtp, transport):
        outcomes = send(smtp, transport, 40)
        assert kinds(outcomes) == [SENT, *[AMBIGUOUS] * 9] * 3 + [Kind.UNAVAILABLE] * 10
        assert "3 connections in a row" in outcomes[-1].words


def test_a_server_that_goes_away_ends_the_batch() -> None:
    with grouped() as (smtp, transport):
        smtp.then("dot", GOOD, Do(b"", "close", call=smtp.stop_listening))
        outcomes = send(smtp, transport, 14)
        assert kinds(outcomes) == [SENT, *[AMBIGUOUS] * 9, *[Kind.UNAVAILABLE] * 4]


# A server that loses count


@pytest.mark.parametrize("stage", ["rset", "mail", "rcpt", "dot"])
@pytest.mark.parametrize("slow", [False, True])
def test_after_a_reply_too_many_none_is_taken_for_that_to_a_message(
    stage: str, *, slow: bool
) -> None:
    """The last is refused, and every reply before it is a 250."""
    script = {**fourth(stage, TWICE)}
    refusal = Do(b"554 5.7.1 never\r\n")
    script["dot"] = [*script.get("dot", [GOOD] * 4), GOOD, refusal]
    if slow:  # each reply leaves by itself
        script["mail"] = [
            Do(do.reply or b"250 2.1.0 ok\r\n", every=0.001)
            for do in [*script.get("mail", []), *[GOOD] * MANY]
        ]
    with grouped(script) as (smtp, transport):
        outcomes = send(smtp, transport)
        assert kinds(outcomes) == [AMBIGUOUS] * MANY
        assert transport.group == 1, "it goes on sending groups"


def test_a_421_too_many_is_no_goodbye_of_a_server_that_stays() -> None:
    """Perhaps it is the reply to the last message, and that one was taken for it is another's."""
    script = {**fourth("mail", TWICE), "dot": [*[GOOD] * 5, STAYS]}
    with grouped(script) as (smtp, transport):
        assert kinds(send(smtp, transport)) == [AMBIGUOUS] * MANY
        assert transport.group == 1


@pytest.mark.parametrize("stage", ["rset", "mail", "rcpt", "dot"])
def test_a_reply_that_no_command_asked_for_leaves_all_in_doubt(stage: str) -> None:
    with grouped(fourth(stage, Do(b"354 go on\r\n"))) as (smtp, transport):
        outcomes = send(smtp, transport)
        assert kinds(outcomes) == [AMBIGUOUS] * MANY
        assert "unexpected reply 354" in outcomes[0].words
        assert transport.group == 1


def test_a_250_to_what_was_refused_leaves_all_in_doubt() -> None:
    script = {**fourth("rcpt", NEVER), **fourth("dot", Do(b"250 2.0.0 queued\r\n", accept=False))}
    with grouped(script) as (smtp, transport):
        assert kinds(send(smtp, transport)) == [AMBIGUOUS] * MANY
        assert transport.group == 1


@pytest.mark.usefixtures("groups_of_any_size")
def test_a_250_before_the_message_has_left_is_not_believed() -> None:
    given = envelopes(4)
    given[3] = given[3]._replace(message=bytes(LARGE))
    early = Do(b"250 2.0.0 queued\r\n", "close", accept=False)
    with grouped(fourth("body", early)) as (smtp, transport):
        outcomes = list(transport.send(given))
        assert kinds(outcomes) == [*[AMBIGUOUS] * 3, SENT]
        assert smtp.recipients == recipients(4)


def test_a_server_that_reads_a_refused_message_as_commands_is_found_out() -> None:
    with grouped(fourth("rcpt", NEVER), bdat="undiscarded") as (smtp, transport):
        outcomes = send(smtp, transport)
        assert kinds(outcomes) == [*[SENT] * 3, Kind.REFUSED, *[AMBIGUOUS] * 2]
        smtp.messages.clear()
        smtp.then("rcpt", NEVER)
        assert kinds(send(smtp, transport)) == [Kind.REFUSED, *[SENT] * 5], "another group"


# A server that takes no chunks


@pytest.mark.parametrize("code", [500, 502, 503])
def test_a_server_that_does_not_know_bdat_refuses_no_email_for_that(code: int) -> None:
    with grouped({"dot": [Do(b"%d 5.5.1 what?\r\n" % code)]}) as (smtp, transport):
        assert kinds(send(smtp, transport)) == [Kind.DEFERRED, *[SENT] * 5]


def test_one_that_reads_every_message_as_commands_gets_them_the_other_way() -> None:
    with grouped(bdat="unknown") as (smtp, transport):
        assert kinds(send(smtp, transport)) == [Kind.DEFERRED, *[AMBIGUOUS] * 5]
        assert smtp.messages == []
        assert kinds(send(smtp, transport)) == [SENT] * MANY


@pytest.mark.parametrize("loss", [HANG, CLOSE])
def test_one_that_does_not_answer_the_first_message_gets_the_next_the_other_way(loss: Do) -> None:
    with grouped({"dot": [loss]}, timeout=0.5, final_timeout=0.5) as (smtp, transport):
        assert kinds(send(smtp, transport)) == [AMBIGUOUS] * MANY
        assert kinds(send(smtp, transport)) == [SENT] * MANY
        assert smtp.lines.count("DATA") == MANY


# What the server cannot take


def test_a_message_that_does_not_fit_in_the_middle_costs_no_other_anything() -> None:
    given = envelopes(6)
    given[2] = given[2]._replace(message=bytes(2000))
    given[3] = given[3]._replace(smtputf8=True)
    given[5] = given[5]._replace(recipient="no address")
    features = ["PIPELINING", "CHUNKING", "SIZE 1000"]
    with SMTPServer(features=features) as smtp, group_to(smtp) as transport:
        outcomes = list(transport.send(given))
        refused = Kind.REFUSED
        assert kinds(outcomes) == [SENT, SENT, refused, refused, SENT, refused]
        assert [one.words for one in outcomes if one.kind is refused] == [
            "2000 bytes; the server takes at most 1000",
            "the message needs SMTPUTF8, which the server does not offer",
            "an address that cannot stand in an SMTP command",
        ]
        check(smtp, given, outcomes)
        assert kinds(list(transport.send(given[2:4]))) == [refused] * 2
        assert kinds(list(transport.send(given[:2]))) == [SENT] * 2
        assert len(smtp.sessions) == 1
