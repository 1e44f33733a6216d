"""How a delivery goes on after an attempt: the one place that decides it."""

from __future__ import annotations

import random
from collections.abc import Callable

from .ledger import Claimed, Settlement
from .models import Status
from .outcome import Kind, Outcome

UNAVAILABLE_SECONDS = 1.0
"""The least wait after the transport could not be used, whatever the settings say."""

GREYLISTED_SECONDS = 300.0
"""The least wait after a greylisting: most servers want five minutes, and count anew if pressed."""

NO_MAILBOX = frozenset({"5.1.1", "5.1.6", "5.1.10"})
"""Nobody has the address: never, no longer (RFC 3463), or nobody of the domain has one (RFC 7505;
Exchange Online says it of one mailbox). Others, such as 5.1.2, a mended DNS may prove wrong."""

FULL_MAILBOX_ATTEMPTS = 3
"""A full mailbox is a 5xx, but people empty theirs."""


def transition(
    claimed: Claimed,
    outcome: Outcome,
    *,
    base: float,
    cap: float,
    suppress_bounces: bool = True,
    random: Callable[[], float] = random.random,
) -> Settlement:
    """Return what an outcome makes of a delivery. ``base`` and ``cap`` are those of `backoff`.
    ``suppress_bounces``: an address that nobody has is not mailed again."""
    status, delay, charged = Status.QUEUED, 0.0, True
    match outcome.kind:
        case Kind.SENT:
            status = Status.SENT
        case Kind.REFUSED if _is_full_mailbox(claimed, outcome):
            delay = backoff(claimed.attempt, base=base, cap=cap, random=random)
        case Kind.REFUSED | Kind.UNRENDERABLE:
            status = Status.FAILED
        case Kind.UNWANTED:
            status = Status.CANCELLED
        case Kind.SUPPRESSED:
            status = Status.SUPPRESSED
        case Kind.AMBIGUOUS if claimed.email.on_unknown == "hold":
            status = Status.UNKNOWN
        case Kind.DEFERRED | Kind.AMBIGUOUS if claimed.attempt < claimed.attempts_allowed:
            delay = backoff(claimed.attempt, base=base, cap=cap, random=random)
            if _is_greylisting(outcome):
                delay = max(delay, min(GREYLISTED_SECONDS, cap))
        case Kind.DEFERRED:
            status = Status.FAILED
        case Kind.AMBIGUOUS:
            status = Status.UNKNOWN  # perhaps accepted: "failed" would be a guess
        case Kind.UNAVAILABLE:
            delay = max(UNAVAILABLE_SECONDS, backoff(1, base=base, cap=cap, random=random))
            charged = False
        case Kind.NOT_STARTED | Kind.CAPPED:
            charged = False
    return Settlement(
        delivery_id=claimed.delivery_id,
        email_id=claimed.email.id,
        attempt=claimed.attempt,
        outcome=outcome,
        status=status,
        delay=delay,
        charged=charged,
        suppresses=suppress_bounces and not claimed.email.is_test and _is_no_mailbox(outcome),
    )


def _is_no_mailbox(outcome: Outcome) -> bool:
    # Not in answer to MAIL: that is about the sender.
    refused = outcome.kind is Kind.REFUSED and outcome.stage != "mail"
    return refused and outcome.enhanced in NO_MAILBOX


def _is_full_mailbox(claimed: Claimed, outcome: Outcome) -> bool:
    allowed = min(FULL_MAILBOX_ATTEMPTS, claimed.attempts_allowed)
    return outcome.enhanced == "5.2.2" and claimed.attempt < allowed


def _is_greylisting(outcome: Outcome) -> bool:
    # RFC 6647 has 450 or 451 with 4.7.1, which others use for more; so the words count as well.
    words = outcome.words.lower()
    named = "greylist" in words or "graylist" in words
    return outcome.code in {450, 451} and (named or outcome.enhanced == "4.7.1")


def backoff(
    attempt: int,
    *,
    base: float = 30,
    cap: float = 14_400,
    random: Callable[[], float] = random.random,
) -> float:
    """Return seconds to wait after failed attempt number ``attempt`` (from 1).

    Doubles from ``base`` up to ``cap``, then takes a random 50-100 %, so that
    a relay coming back is not met by every email at once.
    """
    seconds: float = min(cap, base * 2 ** (attempt - 1))
    return seconds * (0.5 + random() / 2)
