"""What is learned of a batch, until the ledger has it: record, settle with patience, then tell."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from flask_mail import email_dispatched

from . import signals
from .errors import LedgerUnavailable
from .interchange import Sent
from .ledger import Batch, Claimed, Settlement
from .models import Status
from .outcome import UNBEGUN, Kind, Outcome
from .state import State
from .transitions import transition

SETTLE_SECONDS = 0.25
"""A crash loses what was not settled, so a 250 waits at most about so long for it: each that is
lost is a second copy. A settle costs some milliseconds."""

PATIENCE = (0.5, 1, 2, 4, 8, 16)
"""Seconds between tries to settle. A 250 that is not recorded is a second mail later."""

_SIGNALS = {
    Status.SENT: signals.email_sent,
    Status.QUEUED: signals.email_deferred,
    Status.FAILED: signals.email_failed,
}

log = logging.getLogger(__name__)


class Settling:
    """The books of one batch."""

    def __init__(
        self, state: State, batch: Batch, as_sent: Callable[[Claimed], Sent | None]
    ) -> None:
        """``as_sent`` returns what Flask-Mail's signal shows of an email that was just sent."""
        self._state = state
        self._token = batch.token
        self._as_sent = as_sent
        self._open = {claimed.delivery_id: claimed for claimed in batch.deliveries}
        """Of which nothing is known yet."""
        self._news: list[tuple[Claimed, Settlement]] = []
        self._sent: list[Sent] = []
        self._settled_at = time.monotonic()

    def is_open(self, claimed: Claimed) -> bool:
        """Say whether nothing is recorded of it."""
        return claimed.delivery_id in self._open

    def record(
        self,
        claimed: Claimed,
        outcome: Outcome,
        *,
        seconds: float | None = None,
        delay: float | None = None,
    ) -> None:
        """Note an outcome. ``seconds``: how long it took. ``delay``: seconds until it is due again,
        instead of the backoff."""
        config = self._state.config
        settlement = transition(
            claimed,
            outcome,
            base=config["MAILER_BACKOFF_BASE_SECONDS"],
            cap=config["MAILER_BACKOFF_CAP_SECONDS"],
            suppress_bounces=config["MAILER_SUPPRESS_BOUNCES"],
        )
        delay = settlement.delay if delay is None else delay
        settlement = settlement._replace(seconds=seconds, delay=delay)
        self._news.append((claimed, settlement))
        del self._open[claimed.delivery_id]
        if settlement.status is Status.SENT and email_dispatched.receivers:
            sent = self._as_sent(claimed)
            if sent is not None:
                self._sent.append(sent)

    def leave(self, claimed: Claimed) -> None:
        """Leave it to its lease: it may be out, and nobody knows."""
        self._open.pop(claimed.delivery_id, None)

    def hand_back(self) -> None:
        """Record that nothing was done about those of which nothing is known."""
        for claimed in list(self._open.values()):
            self.record(claimed, Outcome(Kind.NOT_STARTED))

    @property
    def is_due(self) -> bool:
        """Whether what is new has waited long enough."""
        return time.monotonic() - self._settled_at > SETTLE_SECONDS

    def settle(self) -> None:
        """Settle what is new, then tell of it."""
        news = self._news
        try:
            if news:
                self._settle_patiently(news)
        finally:
            self._settled_at = time.monotonic()
        self._news = []  # whatever was raised meanwhile, it is tried once more at the end
        for claimed, settlement in news:
            if settlement.outcome.kind not in UNBEGUN:
                self._announce(claimed, settlement)
        sent, self._sent = self._sent, []
        for message in sent:
            signals.tell(email_dispatched, self._state.app, message=message)

    def _settle_patiently(self, news: list[tuple[Claimed, Settlement]]) -> None:
        settlements = [settlement for _, settlement in news]
        for pause in PATIENCE:
            try:
                return self._state.ledger.settle(self._token, settlements)
            except LedgerUnavailable as error:
                number = len(settlements)
                log.warning("settle=failed deliveries=%d retry=%ss: %s", number, pause, error)
                time.sleep(pause)
        try:
            return self._state.ledger.settle(self._token, settlements)
        except LedgerUnavailable:
            for claimed, one in news:
                _log("lost", claimed, one)
            raise

    def _announce(self, claimed: Claimed, settlement: Settlement) -> None:
        """Log a transition, and tell those who listen."""
        _log(settlement.status.value, claimed, settlement)
        signal = _SIGNALS.get(settlement.status)
        if signal is not None and signal.receivers:
            signals.tell(
                signal,
                self._state.app,
                email_id=settlement.email_id,
                delivery_id=settlement.delivery_id,
                recipient=claimed.recipient,
                attempt=settlement.attempt,
                outcome=settlement.outcome,
            )


def _log(status: str, claimed: Claimed, one: Settlement) -> None:
    log.info(
        "delivery=%s email=%s attempt=%s status=%s stage=%s code=%s delay=%.0f request=%s",
        one.delivery_id, one.email_id, one.attempt, status, one.outcome.stage or "-",
        one.outcome.code or "-", one.delay, claimed.email.request_id or "-",
    )  # fmt: skip
