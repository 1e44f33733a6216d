"""One claimed batch on its way: compose, hand to the transport, settle as outcomes come in."""

from __future__ import annotations

import logging
import math
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from functools import partial

from . import shutdown
from .admission import Admission
from .composition import Composed, compose
from .errors import (
    LedgerUnavailable,
    LoaderError,
    MessageError,
    RenderError,
    SettingError,
    TemplateError,
)
from .fan import fan_out
from .interchange import Sent
from .ledger import Batch, Claimed
from .outcome import Kind, Outcome
from .settling import Settling
from .smtp import Envelope
from .spans import Attempts
from .state import State
from .stream import Stream
from .transport import GROUP_BYTES
from .turn import Turn

_FIRST_LOT = 10
"""Emails over one connection until it is known how far the server is; at least as many as
`Pace.reckon` wants."""
_ONE_FAILURE_SECONDS = 1.0
"""Streams that are cut off within so long met the same failure."""

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
        self._streams: list[Stream] = []
        self._unavailable: dict[int, Outcome] = {}
        """By delivery id: the transport that was tried could not be used."""
        self._began: dict[int, float] = {}
        """By delivery id: when it was first taken up to be composed."""
        self._composed: dict[str | int, Composed | Outcome] = {}
        """By `_copy`: the recipients of one email share its bytes, if they may."""
        self._recipients = Counter(map(self._copy, batch.deliveries))
        self._settling = Settling(state, batch, self._as_sent)
        self._attempts = Attempts(lambda name: state.traffic.transports[name].server)
        self._admission = Admission(turn, self._record)
        self._over = False
        self._lost_at = -math.inf

    def run(self) -> None:
        """Send the batch. Whatever happens, what was learned is settled, and what was not begun
        goes back at once; only an email whose fate is not known is left to its lease."""
        try:
            self._leave_out_suppressed()
            if self.state.app.extensions["mail"].suppress:
                self._withhold(self._waiting, _NOT_HANDED_OVER)
            elif not self.state.traffic.takes_test:
                test = deque(one for one in self._waiting if one.email.is_test)
                if test:
                    self._waiting = deque(one for one in self._waiting if not one.email.is_test)
                    self._withhold(test, _TEST)
            while self._waiting and not self._over:
                groups, stranded = self._admission.by_transport(self._waiting)
                for claimed in stranded:
                    # Test mail was claimed although its transport may be known to be of no use:
                    # handed back, it would be due at once.
                    otherwise = _NO_CATCHER if claimed.email.is_test else _NOT_STARTED
                    self._record(claimed, self._unavailable.get(claimed.delivery_id, otherwise))
                for name, group in groups.items():
                    if not self._over:
                        admitted, turned_away = self._admission.admit(name, group)
                        self._waiting.extendleft(reversed(turned_away))
                        self._send_over(name, admitted)
        finally:
            try:
                self._hand_back()
            finally:
                self._settling.settle()

    def _leave_out_suppressed(self) -> None:
        if all(claimed.suppression is None for claimed in self._waiting):
            return
        waiting, self._waiting = self._waiting, deque()
        for claimed in waiting:
            if claimed.suppression is None or _overrides(self.state, claimed):
                self._waiting.append(claimed)
            else:
                self._record(claimed, Outcome(Kind.SUPPRESSED, words=claimed.suppression.reason))

    def _withhold(self, waiting: deque[Claimed], outcome: Outcome) -> None:
        """Do everything but hand it to a server."""
        while (composed := self._next(waiting)) is not None:
            self._learn(composed[0], outcome)

    def _send_over(self, name: str, admitted: deque[Claimed]) -> None:
        """Send over one transport. If it cannot be used, they wait for another one."""
        transport = self.state.traffic.transports[name]
        usable = True
        while admitted and usable and not self._over:
            # Over one connection, until it is known how far the server is.
            lot = len(admitted) if transport.pace.is_known else min(len(admitted), _FIRST_LOT)
            number = self._turn.connections(name, transport.pace.connections(lot, transport.group))
            before, cpu = len(admitted), time.process_time()
            usable = self._send_lot(name, admitted, lot, number)
            transport.pace.reckon(before - len(admitted), time.process_time() - cpu)
        if not usable:
            self._waiting.extendleft(reversed(admitted))

    def _send_lot(self, name: str, admitted: deque[Claimed], lot: int, number: int) -> bool:
        """Send the first so many over so many connections at once. False: the transport turned out
        to be of no use, and ``admitted`` has again what was not sent."""
        transport = self.state.traffic.transports[name]
        rest = len(admitted) - lot
        unavailable: dict[int, Outcome] = {}
        login_refused = False
        few = min(transport.group, math.ceil(lot / number))

        def supply() -> list[tuple[Claimed, Envelope]]:
            return self._next_few(admitted, rest, few)

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
        admitted.extendleft(reversed(under_way))
        self._streams = []
        if not unavailable:
            return True
        if served:  # it is well, and wants no more connections
            transport.pace.take_no_more_than(served)
            return True
        self._unavailable.update(unavailable)
        # Several streams may find out, but it is one failure.
        self._turn.report(name, next(iter(unavailable.values())))
        return False

    def _learn(self, claimed: Claimed, outcome: Outcome) -> None:
        self._record(claimed, outcome)
        if outcome.kind is Kind.NOT_STARTED:
            self._over = True
        elif self._settling.is_due:
            self._settling.settle()
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

    def _next(self, admitted: deque[Claimed], rest: int = 0) -> tuple[Claimed, Envelope] | None:
        """Compose one email, just when the transport asks for it, until so many are left."""
        while len(admitted) > rest and not self._over:
            claimed = admitted.popleft()
            self._began.setdefault(claimed.delivery_id, time.monotonic())
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
        self, admitted: deque[Claimed], rest: int, most: int
    ) -> list[tuple[Claimed, Envelope]]:
        """Compose some, until so many are left."""
        few: list[tuple[Claimed, Envelope]] = []
        size = 0
        while len(few) < most and size < GROUP_BYTES:
            if (composed := self._next(admitted, rest)) is None:
                break
            few.append(composed)
            size += len(composed[1].message)
        return few

    def _copy(self, claimed: Claimed) -> str | int:
        """Return what those share whose messages are equal, as `compose` says."""
        email = claimed.email
        apart = email.category is not None or email.template in self.state.loaders
        return claimed.delivery_id if apart else email.id

    def _compose(self, claimed: Claimed) -> Composed | Outcome:
        copy = self._copy(claimed)
        if copy not in self._composed:
            self._composed[copy] = _compose(self.state, claimed)
        return self._composed[copy]

    def _hand_back(self) -> None:
        for stream in self._streams:
            for claimed, outcome in stream.heard:
                if self._settling.is_open(claimed):
                    self._record(claimed, outcome)
            for claimed in list(stream.under_way)[: stream.left]:
                self._settling.leave(claimed)
        self._settling.hand_back()

    def _record(self, claimed: Claimed, outcome: Outcome, delay: float | None = None) -> None:
        began = self._began.pop(claimed.delivery_id, None)
        seconds = None if began is None else time.monotonic() - began
        self._settling.record(claimed, outcome, seconds=seconds, delay=delay)
        # Last: the application's own code hears of it, which may raise.
        self._attempts.end(claimed, outcome, seconds or 0.0)
        copy = self._copy(claimed)
        self._recipients[copy] -= 1
        if not self._recipients[copy]:
            self._composed.pop(copy, None)  # attachments may be large

    def _as_sent(self, claimed: Claimed) -> Sent | None:
        composed = self._composed[self._copy(claimed)]
        if isinstance(composed, Outcome):
            return None
        return Sent(claimed, composed, self.state.ledger.attachments(claimed.email.id))


def _overrides(state: State, claimed: Claimed) -> bool:
    email = claimed.email
    try:
        return state.renderer.overrides_suppressions(email.template, email.lane)
    except TemplateError:
        return True  # composing says what is wrong, and that is not the address


def _is_lost(outcome: Outcome) -> bool:
    return outcome.kind in {Kind.DEFERRED, Kind.AMBIGUOUS} and outcome.code is None


def _compose(state: State, claimed: Claimed) -> Composed | Outcome:
    email = claimed.email
    try:
        composed = compose(state, email, claimed.recipient)
    except (RenderError, MessageError) as error:
        if isinstance(error, LoaderError):
            _log_where(email.id, str(error), error.__cause__ or error)
        return Outcome(Kind.UNRENDERABLE, "render", words=str(error))
    except LedgerUnavailable as error:
        return Outcome(Kind.NOT_STARTED, "render", words=str(error))
    except (TemplateError, SettingError) as error:
        # This worker may be older than the app that dispatched, or its folder half copied.
        return Outcome(Kind.DEFERRED, "render", words=str(error))
    except Exception as error:  # noqa: BLE001
        # A context loader is the application's code and may raise anything. Perhaps its database
        # was away for a moment: later, until the attempts are used up.
        words = f"the context loader of {email.template!r} raised {type(error).__name__}"
        _log_where(email.id, words, error)
        return Outcome(Kind.DEFERRED, "render", words=words)
    if composed is None:
        return Outcome(Kind.UNWANTED, "render", words="its context loader no longer wants it")
    return composed


def _log_where(email_id: str, words: str, error: BaseException) -> None:
    # Its message may hold what it was about: only where it happened is logged.
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.warning("email=%s %s\n%s", email_id, words, frames)


_NOT_STARTED = Outcome(Kind.NOT_STARTED)
_NO_CATCHER = Outcome(Kind.UNAVAILABLE, words="no transport for test mail can be used now")
_TEST = Outcome(Kind.SENT, "dot", words="test key: not handed to a server")
# MAIL_SUPPRESS_SEND, as in Flask-Mail: everything but the network.
_NOT_HANDED_OVER = Outcome(Kind.SENT, "dot", words="MAIL_SUPPRESS_SEND: not handed to a server")
