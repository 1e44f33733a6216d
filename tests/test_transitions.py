"""What each outcome makes of a delivery."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.ledger import Claimed
from mailer.models import Status
from mailer.outcome import Kind, Outcome
from mailer.transitions import UNAVAILABLE_SECONDS, backoff, transition


class Row:
    """The columns of an email that a transition looks at."""

    id = "an id"
    is_test = False

    def __init__(self, on_unknown: str) -> None:
        self.on_unknown = on_unknown


def claimed(attempt: int = 1, allowed: int = 3, on_unknown: str = "resend") -> Claimed:
    row: Any = Row(on_unknown)
    return Claimed(1, row, "ada@example.com", attempt, allowed)


TRANSITIONS = [
    (Kind.SENT, claimed(), Status.SENT, 0, True),
    (Kind.REFUSED, claimed(), Status.FAILED, 0, True),
    (Kind.UNRENDERABLE, claimed(), Status.FAILED, 0, True),
    (Kind.UNWANTED, claimed(), Status.CANCELLED, 0, True),
    (Kind.SUPPRESSED, claimed(), Status.SUPPRESSED, 0, True),
    (Kind.DEFERRED, claimed(1), Status.QUEUED, 30, True),
    (Kind.DEFERRED, claimed(2), Status.QUEUED, 60, True),
    (Kind.DEFERRED, claimed(3), Status.FAILED, 0, True),
    (Kind.AMBIGUOUS, claimed(1), Status.QUEUED, 30, True),
    (Kind.AMBIGUOUS, claimed(3), Status.UNKNOWN, 0, True),
    (Kind.AMBIGUOUS, claimed(1, on_unknown="hold"), Status.UNKNOWN, 0, True),
    (Kind.UNAVAILABLE, claimed(3), Status.QUEUED, 30, False),
    (Kind.NOT_STARTED, claimed(3), Status.QUEUED, 0, False),
    (Kind.CAPPED, claimed(3), Status.QUEUED, 0, False),
]


@pytest.mark.parametrize(
    ("kind", "one", "status", "delay", "charged"),
    TRANSITIONS,
    ids=[f"{kind}-{one.attempt}-{one.email.on_unknown}" for kind, one, *_ in TRANSITIONS],
)
def test_each_outcome_has_its_transition(
    kind: Kind, one: Claimed, status: Status, delay: float, charged: bool
) -> None:
    settled = transition(one, Outcome(kind), base=30, cap=14_400, random=lambda: 1.0)
    assert (settled.status, settled.delay, settled.charged) == (status, delay, charged)


def test_every_kind_of_outcome_is_in_that_table() -> None:
    assert {kind for kind, *_ in TRANSITIONS} == set(Kind)


@given(st.integers(1, 60), st.floats(0, 1))
def test_the_wait_doubles_up_to_the_cap_and_varies_by_half(attempt: int, random: float) -> None:
    full = min(14_400, 30 * 2 ** (attempt - 1))
    assert full / 2 <= backoff(attempt, random=lambda: random) <= full


def test_a_transport_that_cannot_be_used_is_left_alone_for_a_second_at_least() -> None:
    settled = transition(claimed(), Outcome(Kind.UNAVAILABLE), base=0, cap=0)
    assert settled.delay == UNAVAILABLE_SECONDS


GREYLISTED = Outcome(Kind.DEFERRED, "rcpt", 450, "4.2.0", "Greylisted, come back later")
GREYLISTED_BY_CODE = Outcome(Kind.DEFERRED, "rcpt", 451, "4.7.1", "come back later")
BUSY = Outcome(Kind.DEFERRED, "rcpt", 451, "4.3.2", "busy")
FULL = Outcome(Kind.REFUSED, "rcpt", 552, "5.2.2", "mailbox full")
TOO_LARGE = Outcome(Kind.REFUSED, "mail", 552, "5.3.4", "too large")

MORE: list[tuple[str, Outcome, int, Status, float]] = [
    ("greylisted", GREYLISTED, 1, Status.QUEUED, 300),
    ("greylisted, by code alone", GREYLISTED_BY_CODE, 1, Status.QUEUED, 300),
    ("only busy", BUSY, 1, Status.QUEUED, 30),
    ("mailbox full", FULL, 1, Status.QUEUED, 30),
    ("mailbox full again", FULL, 2, Status.QUEUED, 60),
    ("mailbox full for the third time", FULL, 3, Status.FAILED, 0),
    ("too large", TOO_LARGE, 1, Status.FAILED, 0),
]


@pytest.mark.parametrize(
    ("outcome", "attempt", "status", "delay"),
    [row[1:] for row in MORE],
    ids=[row[0] for row in MORE],
)
def test_some_replies_mean_more_than_their_first_digit(
    outcome: Outcome, attempt: int, status: Status, delay: float
) -> None:
    settled = transition(claimed(attempt, 12), outcome, base=30, cap=14_400, random=lambda: 1.0)
    assert (settled.status, settled.delay) == (status, delay)
