"""Drain a lane: claim a batch, compose, send, settle, until nothing is due."""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from blinker import Signal
from flask_mail import email_dispatched

from . import signals
from .composition import Composed, compose
from .errors import MailerError
from .interchange import Sent
from .ledger import Batch, Claimed, Settlement
from .models import Status
from .outcome import Kind, Outcome
from .smtp import Envelope
from .state import State

log = logging.getLogger(__name__)


def drain(state: State, lane: str) -> int:
    """Send what is due in ``lane`` for a bounded time; return how many deliveries were tried.

    A full batch rings for the next worker before it sends, so workers join in one by one while
    there is more than one can do.
    """
    started = time.monotonic()
    limit = state.config["MAILER_BATCH"]
    tried = 0
    while True:
        # Before the claim: whoever commits after it finds the bell silent and rings anew.
        state.doorbell.answer(lane)
        claimed_at = time.monotonic()
        # After a failure to connect, one email probes the server instead of a whole batch.
        batch = state.ledger.claim(lane, 1 if state.transport.failing else limit)
        if not batch.deliveries:
            return tried
        full = len(batch.deliveries) == limit
        if full:
            state.doorbell.ring(lane, batch.deliveries[-1].email.id)
        _deliver(state, batch, _deadline(state, started, claimed_at))
        tried += len(batch.deliveries)
        if state.transport.failing:
            return tried  # beat rings again; a loop here would only knock at a closed door
        if time.monotonic() - started > state.config["MAILER_DRAIN_SECONDS"]:
            state.doorbell.ring(lane, batch.deliveries[-1].email.id)
            return tried


def _deadline(state: State, started: float, claimed_at: float) -> float:
    """Return until when an email may be started: it must end within the task and the lease."""
    ends: float = min(
        started + state.config["MAILER_TASK_SECONDS"],
        claimed_at + state.config["MAILER_LEASE_SECONDS"],
    )
    return ends - state.message_budget


def _deliver(state: State, batch: Batch, deadline: float) -> None:
    """Send a batch and settle every delivery of it, whatever happens on the way."""
    sending = _Sending(state, batch)
    try:
        sending.run(lambda: time.monotonic() < deadline)
    finally:
        # Also after an error of ours: what was learned is recorded, what was never begun goes
        # back at once. An email that was under way is left to its lease: its fate is not known.
        sending.hand_back()
        state.ledger.settle(batch.token, sending.settlements)
        _announce(state, batch, sending)


class _Sending:
    """One batch on its way through composition and transport."""

    def __init__(self, state: State, batch: Batch) -> None:
        self.state = state
        self.batch = batch
        self.settlements: list[Settlement] = []
        self.under_way: deque[Claimed] = deque()
        self.waiting = deque(batch.deliveries)
        self.composed: dict[str, Composed | Outcome] = {}
        """By email id: the recipients of one email share its bytes."""
        self.over = False

    def run(self, may_start: Callable[[], bool]) -> None:
        send = _record_only if self.state.app.extensions["mail"].suppress else self._transport_send
        for outcome in send(self._envelopes(), may_start):
            self._settle(self.under_way.popleft(), outcome)
            if outcome.kind is Kind.NOT_STARTED or self.state.transport.failing:
                self.over = True  # the rest would only be composed to be told the same

    def hand_back(self) -> None:
        while self.waiting:
            self._settle(self.waiting.popleft(), Outcome(Kind.NOT_STARTED))

    def _transport_send(
        self, envelopes: Iterable[Envelope], may_start: Callable[[], bool]
    ) -> Iterator[Outcome]:
        return self.state.transport.send(envelopes, may_start=may_start, mark=self._mark)

    def _mark(self) -> bool:
        """For ``hold`` alone: commit that the message is about to leave. Others pay nothing."""
        claimed = self.under_way[0]  # the oldest without an outcome is the one being sent
        if claimed.email.on_unknown != "hold":
            return True
        return self.state.ledger.mark(self.batch.token, claimed.delivery_id)

    def _envelopes(self) -> Iterator[Envelope]:
        """Compose one email at a time, just when the transport asks for it."""
        while self.waiting and not self.over:
            claimed = self.waiting.popleft()
            composed = self._compose(claimed)
            if isinstance(composed, Outcome):
                self._settle(claimed, composed)
                continue
            self.under_way.append(claimed)
            smtputf8 = composed.smtputf8 or not claimed.recipient.isascii()
            yield Envelope(composed.sender, claimed.recipient, composed.message, smtputf8)

    def _compose(self, claimed: Claimed) -> Composed | Outcome:
        email = claimed.email
        known = self.composed.get(email.id)
        if known is None:
            known = _compose(self.state, claimed, self.batch)
            self.composed[email.id] = known
        return known

    def _settle(self, claimed: Claimed, outcome: Outcome) -> None:
        settlement = transition(
            claimed,
            outcome,
            base=self.state.config["MAILER_BACKOFF_BASE_SECONDS"],
            cap=self.state.config["MAILER_BACKOFF_CAP_SECONDS"],
        )
        self.settlements.append(settlement)


def _compose(state: State, claimed: Claimed, batch: Batch) -> Composed | Outcome:
    email = claimed.email
    try:
        composed = compose(state, email, batch.attachments.get(email.id, ()))
    except MailerError as error:
        return Outcome(Kind.UNRENDERABLE, "render", words=str(error))
    except Exception as error:
        # A context loader is the application's code and may raise anything. Perhaps its database
        # was away for a moment: later, until the attempts are used up.
        log.exception("the context loader of %s failed for email %s", email.template, email.id)
        words = f"the context loader of {email.template!r} raised {type(error).__name__}"
        return Outcome(Kind.DEFERRED, "render", words=words)
    if composed is None:
        return Outcome(Kind.UNWANTED, "render", words="its context loader no longer wants it")
    return composed


def _record_only(envelopes: Iterable[Envelope], may_start: Callable[[], bool]) -> Iterator[Outcome]:
    """MAIL_SUPPRESS_SEND, as in Flask-Mail: everything but the network."""
    for _ in envelopes:
        yield Outcome(Kind.SENT, "dot", words="MAIL_SUPPRESS_SEND: not handed to a server")


def transition(
    claimed: Claimed,
    outcome: Outcome,
    *,
    base: float,
    cap: float,
    random: Callable[[], float] = random.random,
) -> Settlement:
    """Return how a delivery goes on after an attempt: the one place that decides it.

    ``base`` and ``cap`` are those of `backoff`, in seconds.
    """
    status, delay, charged = Status.QUEUED, 0.0, True
    match outcome.kind:
        case Kind.SENT:
            status = Status.SENT
        case Kind.REFUSED | Kind.UNRENDERABLE:
            status = Status.FAILED
        case Kind.UNWANTED:
            status = Status.CANCELLED
        case Kind.AMBIGUOUS if claimed.email.on_unknown == "hold":
            status = Status.UNKNOWN
        case Kind.DEFERRED | Kind.AMBIGUOUS if claimed.attempt < claimed.attempts_allowed:
            delay = backoff(claimed.attempt, base=base, cap=cap, random=random)
        case Kind.DEFERRED:
            status = Status.FAILED
        case Kind.AMBIGUOUS:
            status = Status.UNKNOWN  # perhaps accepted: "failed" would be a guess
        case Kind.UNAVAILABLE:
            delay, charged = backoff(1, base=base, cap=cap, random=random), False
        case Kind.NOT_STARTED:
            charged = False
    return Settlement(
        delivery_id=claimed.delivery_id,
        email_id=claimed.email.id,
        attempt=claimed.attempt,
        outcome=outcome,
        status=status,
        delay=delay,
        charged=charged,
    )


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


def _announce(state: State, batch: Batch, sending: _Sending) -> None:
    """Log every transition, and tell those who listen."""
    claims = {claimed.delivery_id: claimed for claimed in batch.deliveries}
    for one in sending.settlements:
        if one.outcome.kind is Kind.NOT_STARTED:
            continue
        log.info(
            "delivery=%s email=%s attempt=%s status=%s stage=%s code=%s delay=%.0f",
            one.delivery_id, one.email_id, one.attempt, one.status.value,
            one.outcome.stage or "-", one.outcome.code or "-", one.delay,
        )  # fmt: skip
        claimed = claims[one.delivery_id]
        if (signal := _SIGNALS.get(one.status)) and signal.receivers:
            _tell(
                signal,
                state,
                email_id=one.email_id,
                delivery_id=one.delivery_id,
                outcome=one.outcome,
            )
        composed = sending.composed[one.email_id]
        listening = one.status is Status.SENT and email_dispatched.receivers
        if listening and isinstance(composed, Composed):
            _tell(email_dispatched, state, message=Sent(claimed, composed))


def _tell(signal: Signal, state: State, **arguments: Any) -> None:
    """Send a signal: what its receivers do or raise changes nothing about what happened."""
    try:
        signal.send(state.app, **arguments)
    except Exception:
        log.exception("a receiver of the signal %s failed", getattr(signal, "name", signal))


_SIGNALS = {
    Status.SENT: signals.email_sent,
    Status.QUEUED: signals.email_deferred,
    Status.FAILED: signals.email_failed,
}
