"""One claimed batch on its way: compose, hand to the transport, settle as outcomes come in."""

from __future__ import annotations

import logging
import math
import time
import traceback
import zlib
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Any

from blinker import Signal
from flask_mail import email_dispatched

from . import shutdown, signals
from .composition import Composed, compose
from .errors import LedgerUnavailable, MessageError, RenderError, TemplateError
from .fan import fan_out
from .interchange import Sent
from .ledger import Batch, Claimed, Settlement
from .models import Status
from .outcome import UNBEGUN, Kind, Outcome
from .routing import Parcel
from .smtp import Envelope
from .state import State
from .stream import Stream
from .transitions import transition
from .transport import GROUP_BYTES
from .turn import Turn

SETTLE_SECONDS = 0.25
"""A crash loses what was not settled, so a 250 waits at most about so long for it: each that is
lost is a second copy. A settle costs some milliseconds."""

_FIRST_LOT = 10
"""Emails over one connection until it is known how far the server is; at least as many as
`Transport.reckon` wants."""
_ONE_FAILURE_SECONDS = 1.0
"""Streams that are cut off within so long met the same failure."""

PATIENCE = (0.5, 1, 2, 4, 8, 16)
"""Seconds between tries to settle. A 250 that is not recorded is a second mail later."""

log = logging.getLogger(__name__)


class Sending:
    """A batch, and where each of its deliveries is."""

    def __init__(
        self,
        state: State,
        batch: Batch,
        turn: Turn,
        *,
        start_until: float,
        leave_until: float,
        interrupted: Callable[[], bool],
    ) -> None:
        """No email is started after ``start_until`` (of the monotonic clock), nor once the worker
        is to end, and no message begins to leave after ``leave_until``. ``interrupted`` is asked
        now and then; True ends the batch as well."""
        self.state = state
        self._batch = batch
        self._turn = turn
        self._start_until = start_until
        self._leave_until = leave_until
        self._interrupted = interrupted
        self._waiting = deque(batch.deliveries)
        self._unrecorded = {claimed.delivery_id: claimed for claimed in batch.deliveries}
        self._streams: list[Stream] = []
        self._unavailable: dict[int, Outcome] = {}
        """By delivery id: the transport that was tried could not be used."""
        self._composed: dict[str, Composed | Outcome] = {}
        """By email id: the recipients of one email share its bytes."""
        self._recipients = Counter(claimed.email.id for claimed in batch.deliveries)
        self._unsettled: list[tuple[Claimed, Settlement]] = []
        self._sent: list[Sent] = []
        self._settled_at = time.monotonic()
        self._over = False
        self._lost_at = -math.inf

    def run(self) -> None:
        """Send the batch. Whatever happens, what was learned is settled, and what was not begun
        goes back at once; only an email whose fate is not known is left to its lease."""
        try:
            if self.state.app.extensions["mail"].suppress:
                while (composed := self._next(self._waiting)) is not None:
                    self._learn(composed[0], _SUPPRESSED)
            while self._waiting and not self._over:
                for name, group in self._by_transport().items():
                    if not self._over:
                        self._send_over(name, self._admitted(name, group))
        finally:
            self._hand_back()
            self._settle()

    def _by_transport(self) -> dict[str, list[Claimed]]:
        """Take what waits, and say over which transport it may go now; the rest is handed back."""
        groups: dict[str, list[Claimed]] = {}
        lines: dict[str, list[Claimed]] = {}
        while self._waiting:
            claimed = self._waiting.popleft()
            choice = self._turn.choose(_parcel(claimed))
            if choice is not None:
                (lines if choice.is_full else groups).setdefault(choice.name, []).append(claimed)
            else:
                not_started = Outcome(Kind.NOT_STARTED)
                self._record(claimed, self._unavailable.get(claimed.delivery_id, not_started))
        for name, group in lines.items():
            again, new = _parted(group)
            delays = self._turn.line_up(name, again=len(again), new=len(new))
            self._line_up(again + new, delays, f"the limit of transport {name}")
        return groups

    def _admitted(self, name: str, group: list[Claimed]) -> deque[Claimed]:
        """Return those for which there is room; the others line up, or find another transport."""
        by_domain: dict[str, list[Claimed]] = {}
        for claimed in group:
            by_domain.setdefault(_recipient_domain(claimed), []).append(claimed)
        late: set[int] = set()
        for domain, some in by_domain.items():
            again, new = _parted(some)
            delays = self._turn.admit_to_domain(name, domain, again=len(again), new=len(new))
            behind = (again + new)[len(some) - len(delays) :]
            self._line_up(behind, delays, f"the limit of {domain}")
            late.update(claimed.delivery_id for claimed in behind)
        admitted = deque(claimed for claimed in group if claimed.delivery_id not in late)
        room = self._turn.admit(name, len(admitted)) if admitted else 0
        while len(admitted) > room:
            self._waiting.appendleft(admitted.pop())
        return admitted

    def _line_up(self, group: list[Claimed], delays: list[float], limit: str) -> None:
        for claimed, delay in zip(group, delays, strict=True):
            outcome = Outcome(Kind.CAPPED, words=f"waits for its turn: {limit} is reached")
            self._record(claimed, outcome, delay=delay)

    def _send_over(self, name: str, group: deque[Claimed]) -> None:
        """Send over one transport. If it cannot be used, they wait for another one."""
        transport = self.state.traffic.transports[name]
        usable = True
        while group and usable and not self._over:
            # Over one connection, until it is known how far the server is.
            lot = len(group) if transport.is_reckoned else min(len(group), _FIRST_LOT)
            number = self._turn.connections(name, min(transport.useful, lot))
            before, cpu = len(group), time.process_time()
            usable = self._send_lot(name, group, lot, number)
            transport.reckon(before - len(group), time.process_time() - cpu)
        if not usable:
            self._waiting.extendleft(reversed(group))

    def _send_lot(self, name: str, group: deque[Claimed], lot: int, number: int) -> bool:
        """Send the first so many over so many connections at once. False: the transport turned out
        to be of no use, and ``group`` has again what was not sent."""
        transport = self.state.traffic.transports[name]
        rest = len(group) - lot
        unavailable: dict[int, Outcome] = {}
        login_refused = False

        few = min(transport.group, math.ceil(lot / number))

        def supply() -> list[tuple[Claimed, Envelope]]:
            return self._next_few(group, rest, few)

        def hear(heard: tuple[Claimed, Outcome]) -> None:
            nonlocal login_refused
            claimed, outcome = heard
            if outcome.kind is Kind.DEFERRED and outcome.stage == "auth":
                if login_refused:  # that of another stream was charged for it
                    outcome = Outcome(Kind.NOT_STARTED)
                login_refused = True
            if outcome.kind is Kind.UNAVAILABLE:
                unavailable[claimed.delivery_id] = outcome
                return
            self._learn(claimed, outcome)
            if (number > 1 or few > 1) and _is_lost(outcome):
                # A connection that breaks takes its group with it, and a server that restarts all
                # of its connections: one failure. A stream whose connections go on breaking says
                # so itself.
                again = time.monotonic() - self._lost_at < _ONE_FAILURE_SECONDS
                self._lost_at = time.monotonic()
                if again:
                    return
            self._turn.report(name, outcome)

        send = partial(transport.send, may_start=self._may_start, until=self._leave_until)
        self._streams = [Stream(send, self._mark) for _ in range(number)]
        fan_out([stream.talk for stream in self._streams], supply, hear)
        served = sum(bool(stream.heard) and not stream.under_way for stream in self._streams)
        under_way = [claimed for stream in self._streams for claimed in stream.under_way]
        group.extendleft(reversed(under_way))
        self._streams = []
        if not unavailable:
            return True
        if served:  # it is well, and wants no more connections
            transport.take_no_more_than(served)
            return True
        self._unavailable.update(unavailable)
        # Several streams may find out, but it is one failure.
        self._turn.report(name, next(iter(unavailable.values())))
        return False

    def _learn(self, claimed: Claimed, outcome: Outcome) -> None:
        self._record(claimed, outcome)
        if outcome.kind is Kind.NOT_STARTED:
            self._over = True
        elif time.monotonic() - self._settled_at > SETTLE_SECONDS:
            self._settle()
            self._over = self._over or self._is_interrupted()

    def _may_start(self) -> bool:
        return time.monotonic() < self._start_until and not (self._over or shutdown.announced())

    def _mark(self, claimed: Claimed) -> bool:
        """For ``hold`` alone: commit that the message is about to leave. Others pay nothing."""
        if claimed.email.on_unknown != "hold":
            return True
        try:
            return self.state.ledger.mark(self._batch.token, claimed.delivery_id)
        except LedgerUnavailable as error:
            # Nothing has left: the email goes back, rather than to its lease.
            log.warning("mark=failed delivery=%s: %s", claimed.delivery_id, error)
            return False

    def _is_interrupted(self) -> bool:
        try:
            return self._interrupted()
        except LedgerUnavailable:
            return True  # what was learned cannot be settled either, for now

    def _next(self, group: deque[Claimed], rest: int = 0) -> tuple[Claimed, Envelope] | None:
        """Compose one email, just when the transport asks for it, until so many are left."""
        while len(group) > rest and not self._over:
            claimed = group.popleft()
            composed = self._compose(claimed)
            if isinstance(composed, Outcome):
                self._record(claimed, composed)
                continue
            smtputf8 = composed.smtputf8 or not claimed.recipient.isascii()
            # What has failed before does no harm to others, and what must not arrive twice is not
            # left in doubt with them.
            alone = claimed.attempt > 1 or claimed.email.on_unknown == "hold"
            envelope = Envelope(
                composed.sender, claimed.recipient, composed.message, smtputf8, alone
            )
            return claimed, envelope
        return None

    def _next_few(
        self, group: deque[Claimed], rest: int, most: int
    ) -> list[tuple[Claimed, Envelope]]:
        """Compose some, until so many are left."""
        few: list[tuple[Claimed, Envelope]] = []
        size = 0
        while len(few) < most and size < GROUP_BYTES:
            if (composed := self._next(group, rest)) is None:
                break
            few.append(composed)
            size += len(composed[1].message)
        return few

    def _compose(self, claimed: Claimed) -> Composed | Outcome:
        email_id = claimed.email.id
        if email_id not in self._composed:
            self._composed[email_id] = _compose(self.state, claimed)
        return self._composed[email_id]

    def _hand_back(self) -> None:
        for stream in self._streams:
            for claimed, outcome in stream.heard:
                if claimed.delivery_id in self._unrecorded:
                    self._record(claimed, outcome)
            for claimed in list(stream.under_way)[: stream.left]:
                self._unrecorded.pop(claimed.delivery_id, None)
        for claimed in list(self._unrecorded.values()):
            self._record(claimed, Outcome(Kind.NOT_STARTED))

    def _record(self, claimed: Claimed, outcome: Outcome, *, delay: float | None = None) -> None:
        config = self.state.config
        settlement = transition(
            claimed,
            outcome,
            base=config["MAILER_BACKOFF_BASE_SECONDS"],
            cap=config["MAILER_BACKOFF_CAP_SECONDS"],
        )
        if delay is not None:
            settlement = settlement._replace(delay=delay)
        self._unsettled.append((claimed, settlement))
        del self._unrecorded[claimed.delivery_id]
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
            if settlement.outcome.kind not in UNBEGUN:
                _announce(self.state, claimed, settlement)
        sent, self._sent = self._sent, []
        for message in sent:
            tell(email_dispatched, self.state, message=message)


def _parted(group: list[Claimed]) -> tuple[list[Claimed], list[Claimed]]:
    """Return those that had a turn by now, and those that are new."""
    again = [claimed for claimed in group if claimed.has_turn]
    return again, [claimed for claimed in group if not claimed.has_turn]


def _parcel(claimed: Claimed) -> Parcel:
    ((_, sender),) = claimed.email.addresses["from"]
    lot = zlib.crc32(f"{claimed.email.id} {claimed.recipient}".encode()) / 2**32
    return Parcel(claimed.email.lane, _domain(sender), _recipient_domain(claimed), lot)


def _recipient_domain(claimed: Claimed) -> str:
    return _domain(claimed.recipient)


def _is_lost(outcome: Outcome) -> bool:
    return outcome.kind in {Kind.DEFERRED, Kind.AMBIGUOUS} and outcome.code is None


def _domain(address: str) -> str:
    return address.rpartition("@")[2].lower()


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
    except LedgerUnavailable as error:
        return Outcome(Kind.NOT_STARTED, "render", words=str(error))
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


# MAIL_SUPPRESS_SEND, as in Flask-Mail: everything but the network.
_SUPPRESSED = Outcome(Kind.SENT, "dot", words="MAIL_SUPPRESS_SEND: not handed to a server")

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
