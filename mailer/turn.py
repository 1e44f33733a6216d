"""A turn: what one drain may send now, over which transport, and what it tells the others."""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Collection
from typing import Any

from . import circuit as circuits
from . import quota as quotas
from .circuit import CLOSED, Circuit
from .dsn import Dsn
from .models import LANES
from .outcome import Kind, Outcome
from .quota import Limits
from .routing import Choice, Parcel, choose
from .traffic import Known, Traffic, key

LOOK_SECONDS = 1.0
"""How long what was seen is trusted, where all is well and nothing is limited."""

OWN_CONNECTIONS = 8
"""At once, of one process over a transport without a limit: servers have one of their own, and may
refuse all mail from an address that opens more."""

_HOST = socket.gethostname()

log = logging.getLogger(__name__)


class Turn:
    """One drain's use of the transports. Use it in a with block: its end gives back what counts
    while it is held."""

    def __init__(self, traffic: Traffic, lane: str, paused: Callable[[], Collection[str]]) -> None:
        """``paused`` returns the names of transports that somebody told to rest."""
        self._traffic = traffic
        self._lane = lane
        self._paused = paused
        self._urgency = urgency(lane)
        self._holder = f"{_HOST}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._held: set[str] = set()
        self._probing: dict[str, float] = {}
        """Name of a transport that an email of ours probes, and until when it may."""
        self._looked_at: float | None = None
        self._unwell: set[str] = set()
        """Names whose circuit is not as good as new, as far as is known here."""
        self._unusable: set[str] = set()
        self._full: set[str] = set()
        self._avoided: set[str] = set()
        """Names that refused to log us in for now: not again in this turn."""
        self.wait: float | None = None
        """Seconds until there may be room again; None: nobody knows."""

    def __enter__(self) -> Turn:
        self._traffic.turns.add(self._holder)
        return self

    def __exit__(self, *exception: object) -> None:
        self._traffic.turns.discard(self._holder)
        for name, transport in self._traffic.transports.items():
            if key(name) in self._held:
                # Kept idle it would still count at the server; given back before it is closed,
                # another worker's would be one too many.
                transport.close()
        for held in self._held:
            self._traffic.shared.update(held, self._released)
        for name, until in self._probing.items():
            self._traffic.shared.update(key(name), _unprobed(until))

    def room(self, at_most: int) -> int:
        """Return how many emails of the lane may leave now; see `wait` when it is none."""
        if self._looked_at is not None and time.monotonic() - self._looked_at < LOOK_SECONDS:
            return at_most
        now, known = self._traffic.known()
        self._unusable = {*self._paused(), *self._avoided}
        self._full = set()
        self._unwell = {name for name, one in known.items() if one.circuit != CLOSED}
        self.wait = None
        found = 0.0
        for step in self._traffic.order:
            # Test mail leaves with the others or waits with them: what it finds at its own
            # transport lets no other mail be claimed.
            usable = [one for one in step if self._takes_lane(one) and not one.rule.is_test]
            found += sum(self._room(one, known[one.name], now) for one in usable)
            if any(self._takes_all(one) and not known[one.name].circuit.trips for one in usable):
                break  # nothing goes further
        limited = any(one.limits for one in self._traffic.dsns.values())
        self._looked_at = None if limited or self._unwell else time.monotonic()
        return int(min(found, at_most))

    def choose(self, parcel: Parcel) -> Choice | None:
        """Return the transport that an email takes. None: none can be used now."""
        return choose(self._traffic.order, parcel, unusable=self._unusable, full=self._full)

    def admit(self, name: str, wanted: int) -> int:
        """Take room for up to so many emails over a transport; return for how many there is."""
        limits = self._traffic.dsns[name].limits
        if not limits and name not in self._unwell:
            return wanted

        def change(value: Any, now: float) -> tuple[Any, tuple[int, bool, float]]:
            known = Known.read(value)
            circuit, tripped = known.circuit, known.circuit.trips > 0
            if circuit.closed_for(now):
                return value, (0, True, 0)
            quota, granted = self._taken(known, limits, now, min(wanted, 1) if tripped else wanted)
            if tripped and granted:
                circuit = circuits.probe(circuit, now, self._traffic.email_seconds)
            return Known(circuit, quota).written(), (granted, tripped, circuit.probed_until)

        granted, tripped, until = self._traffic.shared.update(key(name), change)
        if tripped and granted:
            self._probing[name] = until
        if granted < wanted:
            (self._unusable if tripped else self._full).add(name)
        if granted and limits.connections is not None:
            self._held.add(key(name))
        return granted

    def connections(self, name: str, wanted: int) -> int:
        """Return over how many connections at once emails may go that were admitted: one, or up to
        ``wanted``."""
        dsn = self._traffic.dsns[name]
        if dsn.domain_limits.connections is not None:
            return 1
        if dsn.limits.connections is None:
            return max(1, min(wanted, OWN_CONNECTIONS))
        if wanted <= 1:
            return 1

        def change(value: Any, now: float) -> tuple[Any, int]:
            known = Known.read(value)
            quota, held = quotas.hold(
                known.quota,
                dsn.limits,
                now,
                [f"{self._holder}+{number}" for number in range(1, wanted)],
                hold_seconds=self._traffic.turn_seconds,
                is_gone=self._is_gone,
            )
            return known._replace(quota=quota).written(), held

        return 1 + self._traffic.shared.update(key(name), change)

    def admit_to_domain(self, name: str, domain: str, *, again: int, new: int) -> list[float]:
        """Take room for emails to one recipient domain, first for ``again`` that had a turn by now;
        return, for each of the last that find none, in how many seconds its turn comes."""
        limits = self._traffic.dsns[name].domain_limits
        if not limits:
            return []

        def change(value: Any, now: float) -> tuple[Any, tuple[int, list[float]]]:
            known = Known.read(value)
            allowed = 0 if quotas.is_line(known.quota, self._lane, now) else new
            quota, granted = self._taken(known, limits, now, again + allowed)
            denied = max(0, again - granted)
            quota, delays = quotas.line_up(
                quota, limits, now, self._lane, again=denied, new=again + new - granted - denied
            )
            return known._replace(quota=quota).written(), (granted, delays)

        shared_at = key(name, domain)
        granted, delays = self._traffic.shared.update(shared_at, change)
        if granted and limits.connections is not None:
            self._held.add(shared_at)
        return delays

    def line_up(self, name: str, *, again: int, new: int) -> list[float]:
        """Return in how many seconds the turns come, at a transport that is full, of ``again`` that
        had a turn by now, and of ``new`` ones."""
        limits = self._traffic.dsns[name].limits

        def change(value: Any, now: float) -> tuple[Any, list[float]]:
            known = Known.read(value)
            quota, delays = quotas.line_up(
                known.quota, limits, now, self._lane, again=again, new=new
            )
            return known._replace(quota=quota).written(), delays

        return self._traffic.shared.update(key(name), change)

    def report(self, name: str, outcome: Outcome) -> None:
        """Let all workers know what became of an email, as far as it tells of the transport."""
        if outcome.kind is Kind.UNAVAILABLE:
            self._unusable.add(name)
        elif outcome.stage == "auth":
            self._avoided.add(name)
            self._unusable.add(name)
        # A success is no news while all is well.
        believed = Circuit(failures=1) if name in self._unwell else CLOSED
        if circuits.after(believed, outcome, 0) == believed:
            return

        before, after, now = self._traffic.note(name, outcome)
        self._looked_at = None
        if after == CLOSED:
            self._unwell.discard(name)
        else:
            self._unwell.add(name)
        if after.state(now) == "open":
            self._unusable.add(name)
        _log_change(name, before, after, now)

    def _takes_lane(self, dsn: Dsn) -> bool:
        return not dsn.rule.lanes or self._lane in dsn.rule.lanes

    def _takes_all(self, dsn: Dsn) -> bool:
        """Say whether all mail of the lane that comes this far can take this transport."""
        return not (dsn.rule.senders or dsn.rule.recipients or dsn.name in self._unusable)

    def _room(self, dsn: Dsn, known: Known, now: float) -> float:
        if dsn.name in self._unusable:
            return 0
        if seconds := known.circuit.closed_for(now):
            self._unusable.add(dsn.name)
            self._wait_at_most(seconds)
            return 0
        room, wait = quotas.room(
            known.quota,
            dsn.limits,
            now,
            urgency=self._urgency,
            holder=self._holder,
            is_gone=self._is_gone,
        )
        if room < 1:
            self._full.add(dsn.name)
            self._wait_at_most(wait)
        return min(room, 1) if known.circuit.trips else room

    def _wait_at_most(self, seconds: float) -> None:
        self.wait = seconds if self.wait is None else min(self.wait, seconds)

    def _taken(
        self, known: Known, limits: Limits, now: float, wanted: int
    ) -> tuple[quotas.Quota, int]:
        return quotas.take(
            known.quota,
            limits,
            now,
            wanted=wanted,
            urgency=self._urgency,
            holder=self._holder,
            hold_seconds=self._traffic.turn_seconds,
            is_gone=self._is_gone,
        )

    def _is_gone(self, holder: str) -> bool:
        """Say whether a holder is known to have ended: of other machines nobody knows."""
        holder = holder.partition("+")[0]
        host, _, rest = holder.partition(":")
        pid = rest.partition(":")[0]
        if host != _HOST or not pid.isdecimal():
            return False
        if int(pid) == os.getpid():
            # A turn that could not give back what it held, for Redis was away, is over.
            return holder not in self._traffic.turns
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            return False
        return False

    def _released(self, value: Any, now: float) -> tuple[Any, None]:
        known = Known.read(value)
        return known._replace(quota=quotas.release(known.quota, self._holder)).written(), None


def _unprobed(until: float) -> Callable[[Any, float], tuple[Any, None]]:
    """Return the change that lets another email probe, unless one does already: ours may have
    ended without a word on the server, as one does that cannot be rendered."""

    def change(value: Any, now: float) -> tuple[Any, None]:
        known = Known.read(value)
        if known.circuit.probed_until != until:
            return value, None
        return known._replace(circuit=known.circuit._replace(probed_until=0)).written(), None

    return change


def urgency(lane: str) -> float:
    """Return 1 for the most urgent lane, 0 for the least."""
    return 1 - LANES.index(lane) / (len(LANES) - 1)


def _log_change(name: str, before: Circuit, after: Circuit, now: float) -> None:
    if after.trips > before.trips:
        # Another worker's mail will not get through either: somebody has to look at these.
        serious = after.stage in circuits.SERIOUS_STAGES
        log.log(
            logging.ERROR if serious else logging.WARNING,
            "transport=%s circuit=open seconds=%.0f stage=%s code=%s: %s",
            name, after.open_until - now, after.stage, after.code or "-", after.words,
        )  # fmt: skip
    elif before.trips and not after.trips:
        log.warning(
            "transport=%s circuit=closed after=%.0fs: it can be used again",
            name, now - before.opened_at,
        )  # fmt: skip
