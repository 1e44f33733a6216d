"""Groups over connections that are kept, and what a caller of `Transport.send` may do meanwhile."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from mailer.outcome import Kind
from mailer.smtp import Connection, Envelope, Server
from mailer.transport import Transport

from .smtp_server import CLOSE, GOOD, HANG, Do, SMTPServer
from .test_group import BYE, FEATURES, MANY, SENT, check, fourth, grouped, send, sessions
from .test_transport import envelopes, kinds, recipients, transport_to

# Connections that were kept


def test_a_connection_closed_while_idle_is_replaced_unnoticed() -> None:
    with grouped() as (smtp, transport):
        smtp.hang_up()
        assert smtp.sessions[0].ended.wait(5)
        assert kinds(send(smtp, transport)) == [SENT] * MANY


def is_asked(smtp: SMTPServer, transport: Transport) -> bool:
    smtp.messages.clear()
    smtp.commands.clear()
    assert kinds(send(smtp, transport)) == [SENT] * MANY
    return "NOOP" in smtp.lines


def test_a_connection_that_was_silent_for_a_second_is_asked_for_a_word() -> None:
    with grouped() as (smtp, transport):
        is_asked(smtp, transport)
        assert not is_asked(smtp, transport)
        time.sleep(1.05)  # no condition: this is about time that passes
        assert is_asked(smtp, transport)
        assert not is_asked(smtp, transport)
        assert len(smtp.sessions) == 1


@pytest.mark.parametrize("death", [HANG, CLOSE, BYE, Do(b"554 5.5.1 too many\r\n")])
def test_one_that_is_dead_without_our_knowing_leaves_nobody_in_doubt(death: Do) -> None:
    with grouped(timeout=0.5) as (smtp, transport):
        time.sleep(1.05)
        smtp.then("noop", death)
        assert kinds(send(smtp, transport)) == [SENT] * MANY
        assert len(smtp.sessions) == 2
        assert sessions(smtp) == [0] * MANY


def test_who_hears_the_outcomes_may_take_long_and_the_connection_is_asked_all_the_same() -> None:
    with grouped() as (smtp, transport):
        outcomes = transport.send(envelopes(20))
        assert [next(outcomes).kind for _ in range(10)] == [SENT] * 10
        time.sleep(1.05)
        assert kinds(list(outcomes)) == [SENT] * 10
        assert smtp.lines.count("NOOP") == 1


def test_a_stale_connection_is_replaced_by_a_new_one_not_by_another_stale_one() -> None:
    with grouped(timeout=0.5) as (smtp, transport):
        one, two = transport.send(envelopes(2, "a")), transport.send(envelopes(2, "b"))
        next(one), next(two)  # both hold one
        assert kinds([*one, *two]) == [SENT] * 2
        smtp.messages.clear()
        time.sleep(1.05)
        smtp.then("noop", HANG)
        assert kinds(send(smtp, transport)) == [SENT] * MANY
        assert {message.session for message in smtp.messages} == {2}


def test_a_connection_carries_so_many_messages_and_no_more() -> None:
    with grouped(most=4, new=True) as (smtp, transport):
        assert kinds(send(smtp, transport, 10)) == [SENT] * 10
        assert sessions(smtp) == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
        assert smtp.lines.count("QUIT") == 2


def test_a_server_that_offers_it_on_one_connection_and_not_on_the_next_gets_all() -> None:
    with grouped({"mail": [*[GOOD] * 4, BYE]}) as (smtp, transport):
        smtp.features.remove("CHUNKING")
        assert kinds(send(smtp, transport, 14)) == [SENT] * 14
        assert sessions(smtp) == [*[0] * 4, *[1] * 10]
        assert transport.group == 1
        smtp.messages.clear()
        smtp.features.append("CHUNKING")
        smtp.then("mail", *[GOOD] * 4, BYE)
        assert kinds(send(smtp, transport, 14)) == [SENT] * 14


def test_an_envelope_whose_commands_are_said_by_then_is_never_said_again_in_a_group() -> None:
    """The second is announced with the first, and then another connection offers CHUNKING."""
    with SMTPServer(features=FEATURES) as smtp, transport_to(smtp) as transport:
        transport.pace.took(0.001, 1)
        transport.pace.reckon(10, 0.01)
        # The reply to DATA takes its time, so that the connection is still silent.
        smtp.then("data", GOOD, Do(call=lambda: time.sleep(0.2)))
        outcomes = transport.send(envelopes(4))
        assert next(outcomes).kind is SENT
        assert transport.group == 10
        assert kinds(list(outcomes)) == [SENT] * 3
        assert smtp.recipients == recipients(4)
        assert len(smtp.sessions) == 1


# The caller


def test_once_nothing_may_start_the_next_group_does_not() -> None:
    with grouped() as (smtp, transport):
        given = envelopes(25)
        outcomes = list(transport.send(given, may_start=lambda: len(smtp.messages) < 5))
        assert kinds(outcomes) == [*[SENT] * 10, *[Kind.NOT_STARTED] * 15]
        check(smtp, given, outcomes)


def test_nor_does_what_is_left_of_a_group_when_the_connection_ends() -> None:
    with grouped(fourth("mail", BYE)) as (smtp, transport):
        given = envelopes(6)
        outcomes = list(transport.send(given, may_start=lambda: not smtp.messages))
        assert kinds(outcomes) == [*[SENT] * 3, *[Kind.NOT_STARTED] * 3]
        check(smtp, given, outcomes)


def test_a_mark_that_is_denied_ends_the_group_before_that_message() -> None:
    asked: list[int] = []

    def mark(position: int) -> bool:
        asked.append(position)
        assert not smtp.messages
        return position < 4

    with grouped() as (smtp, transport):
        given = envelopes(12)
        outcomes = list(transport.send(given, mark=mark))
        assert kinds(outcomes) == [*[SENT] * 4, *[Kind.NOT_STARTED] * 8]
        assert asked == [0, 1, 2, 3, 4]
        check(smtp, given, outcomes)
        assert kinds(list(transport.send(envelopes(2, "next")))) == [SENT] * 2
        assert len(smtp.sessions) == 1


def test_a_mark_is_asked_by_the_place_among_those_whose_outcome_is_to_come() -> None:
    given = envelopes(7)
    given[1] = given[1]._replace(recipient="no address")
    asked: list[int] = []
    waiting = [envelope.recipient for envelope in given]

    def mark(position: int) -> bool:
        asked.append(position)
        marked.append(waiting[position])
        return True

    marked: list[str] = []
    with grouped(fourth("mail", BYE)) as (_, transport):
        for outcome in transport.send(given, mark=mark):
            assert outcome.kind is (Kind.REFUSED if waiting[0] == "no address" else SENT)
            waiting.pop(0)
    # Four, with the one that nobody can take among them, had an outcome; then the connection ended.
    assert asked == [0, 2, 3, 4, 5, 6, 0, 1, 2]
    assert marked[-3:] == recipients(7)[4:]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_is_raised_before_the_group_leaves_sends_nothing(error: type[BaseException]) -> None:
    def mark(position: int) -> bool:
        if position == 3:
            raise error
        return True

    with grouped() as (smtp, transport):
        with pytest.raises(error):
            list(transport.send(envelopes(6), mark=mark))
        assert smtp.sessions[0].ended.wait(5)
        assert smtp.messages == []
        assert kinds(send(smtp, transport)) == [SENT] * MANY


def test_an_error_of_the_source_comes_through_and_sends_nothing_more() -> None:
    def source() -> Iterator[Envelope]:
        yield from envelopes(12)
        raise RuntimeError("the source")

    with grouped() as (smtp, transport):
        sending = transport.send(source())
        assert [next(sending).kind for _ in range(10)] == [SENT] * 10
        with pytest.raises(RuntimeError, match="the source"):
            next(sending)
        assert smtp.recipients == recipients(10)


class TimeUp(Exception):
    pass


@pytest.fixture
def time_limit() -> Iterator[Callable[[], None]]:
    """Return what raises `TimeUp` in the main thread wherever that is, as Celery's limit does."""

    def raise_it(*_: object) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGUSR1, raise_it)
    main = threading.main_thread().ident
    assert main is not None
    yield lambda: signal.pthread_kill(main, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def test_what_was_heard_counts_although_a_time_limit_strikes_while_the_rest_is_waited_for(
    time_limit: Callable[[], None],
) -> None:
    heard = threading.Semaphore(0)

    def observe(who: str, words: str) -> None:
        if words.endswith("queued"):
            heard.release()

    def strike() -> None:
        for _ in range(5):
            assert heard.acquire(timeout=5)
        time_limit()

    with SMTPServer(features=FEATURES) as smtp:
        # A reply that drips has those before it leave.
        smtp.then("dot", GOOD, *[GOOD] * 3, Do(b"250 2.0.0 queued\r\n", every=0.001))
        smtp.then("dot", Do(b"", "hang", call=strike))
        server = Server(host="127.0.0.1", port=smtp.port, timeout=5, final_timeout=5)
        transport = Transport("relay", server, observe=observe)
        assert kinds(list(transport.send(envelopes(1, "before")))) == [SENT]
        transport.pace.took(0.001, 1)
        transport.pace.reckon(10, 0.01)
        outcomes = []
        with pytest.raises(TimeUp):
            for outcome in transport.send(envelopes(MANY)):
                outcomes.append(outcome)
        assert kinds(outcomes) == [SENT] * 4
        assert smtp.recipients[1:] == recipients(4)
        assert kinds(list(transport.send(envelopes(1, "after")))) == [SENT]
        assert len(smtp.sessions) == 2, "a connection in the middle of something is kept"
        transport.close()


def test_a_call_that_is_given_up_leaves_no_connection_in_the_middle_of_something() -> None:
    with grouped() as (smtp, transport):
        sending = transport.send(envelopes(20))
        assert next(sending).kind is SENT
        sending.close()
        assert smtp.sessions[0].ended.wait(5)
        assert smtp.recipients == recipients(10), "what had left has arrived"
        smtp.messages.clear()
        assert kinds(send(smtp, transport)) == [SENT] * MANY


def test_nothing_is_waited_for_beyond_the_end_but_the_replies_to_what_has_left() -> None:
    with grouped({"dot": [Do(call=lambda: time.sleep(0.3))]}) as (smtp, transport):
        given = envelopes(MANY)
        began = time.monotonic()
        outcomes = list(transport.send(given, until=began + 0.1))
        assert kinds(outcomes) == [SENT] * MANY, "they had left"
        time.sleep(1.05)
        smtp.then("noop", HANG)
        began = time.monotonic()
        outcomes = list(transport.send(given, until=began + 0.1))
        assert outcomes[0].kind is Kind.DEFERRED
        assert time.monotonic() - began < 1


def test_goodbye_is_said_however_long_ago_the_last_group_was() -> None:
    with grouped(final_timeout=0.2) as (smtp, transport):
        assert kinds(send(smtp, transport)) == [SENT] * MANY
        time.sleep(0.25)
        transport.close()
        assert smtp.sessions[0].ended.wait(5)
        assert smtp.lines[-1] == "QUIT"


def test_an_observer_sees_what_is_said_and_no_message() -> None:
    seen: list[str] = []
    with SMTPServer(features=FEATURES) as smtp:
        connection = Connection(
            Server(host="127.0.0.1", port=smtp.port),
            observe=lambda who, words: seen.append(f"{who}: {words}"),
        )
        assert connection.takes_groups
        seen.clear()
        assert kinds(list(connection.deliver_group(envelopes(2)))) == [SENT] * 2
        connection.abandon()
    said = ["RSET", "MAIL FROM:<orders@shop.example>", "RCPT TO:<user0@example.org>"]
    assert seen[:5] == [
        *(f"client: {line}" for line in said),
        "client: BDAT 17 LAST",
        "client: (17 bytes of message)",
    ]
    assert seen.count("server: 250 2.0.0 queued") == 2
