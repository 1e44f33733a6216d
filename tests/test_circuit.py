"""The circuit of a transport: what trips it, for how long, and what closes it."""

from __future__ import annotations

import pytest

from mailer.circuit import (
    CLOSED,
    FAILURES_ALLOWED,
    FORGOTTEN_SECONDS,
    LONGEST_PAUSE_SECONDS,
    Circuit,
    after,
    probe,
)
from mailer.outcome import Kind, Outcome

NOW = 1_000_000.0
REFUSED_CONNECTION = Outcome(Kind.UNAVAILABLE, "connect", words="refused")
LOST = Outcome(Kind.DEFERRED, "rcpt", words="hung up", transport="a")
LOST_AFTER_DOT = Outcome(Kind.AMBIGUOUS, "dot", words="hung up", transport="a")
BYE = Outcome(Kind.DEFERRED, "mail", 421, words="too busy")
SENT = Outcome(Kind.SENT, "dot", 250)


@pytest.mark.parametrize(
    "outcome",
    [
        REFUSED_CONNECTION,
        Outcome(Kind.UNAVAILABLE, "banner", 554),
        Outcome(Kind.UNAVAILABLE, "starttls"),
        Outcome(Kind.UNAVAILABLE, "auth", 535),
    ],
)
def test_a_server_that_cannot_be_used_trips_it_at_once(outcome: Outcome) -> None:
    circuit = after(CLOSED, outcome, NOW)
    assert circuit.state(NOW) == "open"
    assert circuit.closed_for(NOW) == 1
    assert (circuit.stage, circuit.code) == (outcome.stage, outcome.code)


@pytest.mark.parametrize("outcome", [LOST, LOST_AFTER_DOT, BYE])
def test_lost_connections_and_421_trip_it_after_some_in_a_row(outcome: Outcome) -> None:
    circuit = CLOSED
    for number in range(1, FAILURES_ALLOWED + 1):
        assert circuit.state(NOW) == "closed", number
        circuit = after(circuit, outcome, NOW + number)
    assert circuit.state(NOW + number) == "open"


@pytest.mark.parametrize("outcome", [LOST, BYE])
def test_failures_with_a_success_or_a_long_time_between_are_not_in_a_row(outcome: Outcome) -> None:
    circuit = CLOSED
    for number in range(3 * FAILURES_ALLOWED):
        circuit = after(circuit, outcome, NOW + number * (FORGOTTEN_SECONDS + 1))
        assert circuit.state(NOW) == "closed"
    for _ in range(3):
        for _ in range(FAILURES_ALLOWED - 1):
            circuit = after(circuit, outcome, NOW)
        circuit = after(circuit, SENT, NOW)
        assert circuit == CLOSED


@pytest.mark.parametrize(
    "outcome",
    [
        SENT,
        Outcome(Kind.REFUSED, "rcpt", 550),
        Outcome(Kind.REFUSED, "mail", words="needs SMTPUTF8"),
        Outcome(Kind.DEFERRED, "rcpt", 451),
        Outcome(Kind.DEFERRED, "auth", 454),
        Outcome(Kind.NOT_STARTED),
        Outcome(Kind.UNRENDERABLE, "render"),
    ],
)
def test_what_is_about_an_email_never_trips_it(outcome: Outcome) -> None:
    circuit = CLOSED
    for _ in range(1000):
        circuit = after(circuit, outcome, NOW)
    assert circuit == CLOSED


def test_one_probes_at_a_time_and_its_success_closes_it() -> None:
    circuit = after(CLOSED, REFUSED_CONNECTION, NOW)
    later = NOW + 1
    assert circuit.state(later) == "half-open"
    assert circuit.closed_for(later) == 0
    circuit = probe(circuit, later, 30)
    assert circuit.closed_for(later) == 30, "nobody else probes meanwhile"
    assert circuit.closed_for(later + 30) == 0, "the prober may have died"
    assert after(circuit, SENT, later + 1) == CLOSED


@pytest.mark.parametrize("outcome", [REFUSED_CONNECTION, LOST, BYE])
def test_a_failed_probe_opens_it_for_twice_as_long_up_to_a_limit(outcome: Outcome) -> None:
    circuit, now, pauses = after(CLOSED, REFUSED_CONNECTION, NOW), NOW, []
    for _ in range(8):
        pauses.append(circuit.closed_for(now))
        now = circuit.open_until
        circuit = after(probe(circuit, now, 30), outcome, now)
    assert pauses == [1, 2, 4, 8, 16, *[LONGEST_PAUSE_SECONDS] * 3]
    assert circuit.opened_at == NOW, "since when it is an outage"


def test_several_workers_that_meet_the_same_outage_trip_it_once() -> None:
    circuit = after(CLOSED, REFUSED_CONNECTION, NOW)
    assert after(circuit, REFUSED_CONNECTION, NOW + 0.5) == circuit


def test_the_default_is_closed() -> None:
    assert Circuit() == CLOSED
    assert CLOSED.state(NOW) == "closed"
    assert CLOSED.closed_for(NOW) == 0
