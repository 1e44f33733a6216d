"""One claimed batch on its way: compose, hand to the transport, settle as outcomes come in."""

from __future__ import annotations

import logging
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from blinker import Signal
from flask_mail import email_dispatched

from . import shutdown, signals
from .composition import Composed, compose
from .errors import LedgerUnavailable, MessageError, RenderError, TemplateError
from .interchange import Sent
from .ledger import Batch, Claimed, Settlement
from .models import Status
from .outcome import Kind, Outcome
from .smtp import Envelope
from .state import State
from .transitions import transition

SETTLE_SECONDS = 1.0
"""A crash loses what was not settled, so a 250 waits at most about so long for it."""

PATIENCE = (0.5, 1, 2, 4, 8, 16)
"""Seconds between tries to settle. A 250 that is not recorded is a second mail later."""

log = logging.getLogger(__name__)


class Sending:
    """A batch, and where each of its deliveries is."""

    def __init__(
        self, state: State, batch: Batch, *, until: float, interrupted: Callable[[], bool]
    ) -> None:
        """No email is started after ``until`` (of the monotonic clock), nor once the worker is
        to end. ``interrupted`` is asked about once a second; True ends the batch as well."""
        self.state = state
        self.used_transport = False
        """Whether anything was given to the transport: else it says nothing about the server."""
        self._batch = batch
        self._until = until
        self._interrupted = interrupted
        self._waiting = deque(batch.deliveries)
        self._under_way: deque[Claimed] = deque()
        self._composed: dict[str, Composed | Outcome] = {}
        """By email id: the recipients of one email share its bytes."""
        self._recipients = Counter(claimed.email.id for claimed in batch.deliveries)
        self._unsettled: list[tuple[Claimed, Settlement]] = []
        self._sent: list[Sent] = []
        self._settled_at = time.monotonic()
        self._over = False

    def run(self) -> None:
        """Send the batch. Whatever happens, what was learned is settled, and what was not begun
        goes back at once; only an email whose fate is not known is left to its lease."""
        try:
            for outcome in self._send():
                self._record(self._under_way.popleft(), outcome)
                if outcome.kind is Kind.NOT_STARTED or self.state.transport.failing:
                    self._over = True  # the rest would only be composed to be told the same
                elif time.monotonic() - self._settled_at > SETTLE_SECONDS:
                    self._settle()
                    self._over = self._over or self._interrupted()
        finally:
            self._hand_back()
            self._settle()

    def _send(self) -> Iterator[Outcome]:
        if self.state.app.extensions["mail"].suppress:
            return _record_only(self._envelopes())
        return self.state.transport.send(
            self._envelopes(), may_start=self._may_start, mark=self._mark
        )

    def _may_start(self) -> bool:
        return time.monotonic() < self._until and not (self._over or shutdown.announced())

    def _mark(self) -> bool:
        """For ``hold`` alone: commit that the message is about to leave. Others pay nothing."""
        claimed = self._under_way[0]  # the oldest without an outcome is the one being sent
        if claimed.email.on_unknown != "hold":
            return True
        return self.state.ledger.mark(self._batch.token, claimed.delivery_id)

    def _envelopes(self) -> Iterator[Envelope]:
        """Compose one email at a time, just when the transport asks for it."""
        while self._waiting and not self._over:
            claimed = self._waiting.popleft()
            composed = self._compose(claimed)
            if isinstance(composed, Outcome):
                self._record(claimed, composed)
                continue
            self._under_way.append(claimed)
            self.used_transport = True
            smtputf8 = composed.smtputf8 or not claimed.recipient.isascii()
            yield Envelope(composed.sender, claimed.recipient, composed.message, smtputf8)

    def _compose(self, claimed: Claimed) -> Composed | Outcome:
        email_id = claimed.email.id
        if email_id not in self._composed:
            self._composed[email_id] = _compose(self.state, claimed)
        return self._composed[email_id]

    def _hand_back(self) -> None:
        # The first under way may have left. What was composed ahead of it has not.
        for claimed in (*list(self._under_way)[1:], *self._waiting):
            self._record(claimed, Outcome(Kind.NOT_STARTED))
        self._waiting.clear()

    def _record(self, claimed: Claimed, outcome: Outcome) -> None:
        config = self.state.config
        settlement = transition(
            claimed,
            outcome,
            base=config["MAILER_BACKOFF_BASE_SECONDS"],
            cap=config["MAILER_BACKOFF_CAP_SECONDS"],
        )
        self._unsettled.append((claimed, settlement))
        email_id = claimed.email.id
        if settlement.status is Status.SENT and email_dispatched.receivers:
            composed = self._composed[email_id]
            if isinstance(composed, Composed):
                files = self.state.ledger.attachments(email_id)
                self._sent.append(Sent(claimed, composed, files))
        self._recipients[email_id] -= 1
        if not self._recipients[email_id]:
            self._composed.pop(email_id, None)  # attachments may be large

    def _settle(self) -> None:
        """Settle what is new, with patience, then tell of it."""
        news, self._unsettled = self._unsettled, []
        if news:
            _settle_patiently(self.state, self._batch.token, [one for _, one in news])
        self._settled_at = time.monotonic()
        for claimed, settlement in news:
            if settlement.outcome.kind is not Kind.NOT_STARTED:
                _announce(self.state, claimed, settlement)
        sent, self._sent = self._sent, []
        for message in sent:
            tell(email_dispatched, self.state, message=message)


def _settle_patiently(state: State, token: str, settlements: list[Settlement]) -> None:
    for pause in PATIENCE:
        try:
            return state.ledger.settle(token, settlements)
        except LedgerUnavailable as error:
            log.warning("settle=failed deliveries=%d retry=%ss: %s", len(settlements), pause, error)
            time.sleep(pause)
    try:
        return state.ledger.settle(token, settlements)
    except LedgerUnavailable:
        for one in settlements:
            _log("lost", one)
        raise


def _compose(state: State, claimed: Claimed) -> Composed | Outcome:
    email = claimed.email
    try:
        composed = compose(state, email)
    except (RenderError, MessageError) as error:
        return Outcome(Kind.UNRENDERABLE, "render", words=str(error))
    except TemplateError as error:
        # This worker may be older than the app that dispatched, or its folder half copied.
        return Outcome(Kind.DEFERRED, "render", words=str(error))
    except Exception as error:  # noqa: BLE001
        # A context loader is the application's code and may raise anything. Perhaps its database
        # was away for a moment: later, until the attempts are used up.
        words = f"the context loader of {email.template!r} raised {type(error).__name__}"
        # Its message may hold what it was about: only where it happened is logged.
        frames = "".join(traceback.format_tb(error.__traceback__))
        log.warning("email=%s %s\n%s", email.id, words, frames)
        return Outcome(Kind.DEFERRED, "render", words=words)
    if composed is None:
        return Outcome(Kind.UNWANTED, "render", words="its context loader no longer wants it")
    return composed


def _record_only(envelopes: Iterable[Envelope]) -> Iterator[Outcome]:
    """MAIL_SUPPRESS_SEND, as in Flask-Mail: everything but the network."""
    for _ in envelopes:
        yield Outcome(Kind.SENT, "dot", words="MAIL_SUPPRESS_SEND: not handed to a server")


_SIGNALS = {
    Status.SENT: signals.email_sent,
    Status.QUEUED: signals.email_deferred,
    Status.FAILED: signals.email_failed,
}


def _announce(state: State, claimed: Claimed, settlement: Settlement) -> None:
    """Log a transition, and tell those who listen."""
    _log(settlement.status.value, settlement)
    signal = _SIGNALS.get(settlement.status)
    if signal is not None and signal.receivers:
        tell(
            signal,
            state,
            email_id=settlement.email_id,
            delivery_id=settlement.delivery_id,
            recipient=claimed.recipient,
            attempt=settlement.attempt,
            outcome=settlement.outcome,
        )


def _log(status: str, one: Settlement) -> None:
    log.info(
        "delivery=%s email=%s attempt=%s status=%s stage=%s code=%s delay=%.0f",
        one.delivery_id, one.email_id, one.attempt, status,
        one.outcome.stage or "-", one.outcome.code or "-", one.delay,
    )  # fmt: skip


def tell(signal: Signal, state: State, **arguments: Any) -> None:
    """Send a signal: what its receivers do or raise changes nothing about what happened."""
    try:
        signal.send(state.app, **arguments)
    except Exception as error:  # noqa: BLE001
        frames = "".join(traceback.format_tb(error.__traceback__))
        name = getattr(signal, "name", "email_dispatched")
        log.warning("a receiver of %s raised %s\n%s", name, type(error).__name__, frames)
