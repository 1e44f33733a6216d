"""Is all well: named checks, the same for `mailer status`, ``/readyz`` and whoever else asks."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from typing import NamedTuple

import redis

from . import impatient
from . import quota as quotas
from .circuit import Circuit
from .doorbell import JOBS, WEBHOOKS, queue_name
from .dsn import Dsn
from .errors import LedgerUnavailable, NotMigrated
from .ledger.counts import Counts
from .ledger.switches import Pause
from .models import LANES, Status
from .standing import standings
from .state import State
from .turn import urgency
from .watch import missing_after

LATE_SECONDS = 120.0
"""Beat rings at least every 60 s: what has been due for longer has no worker."""
WAITS_SECONDS = 60.0
"""What has been due for so long should have been done."""
WARN_SECONDS = 60.0
"""Between two warnings of one process."""

log = logging.getLogger(__name__)

_UNKNOWN = "not known while the database cannot be asked"


class Check(NamedTuple):
    """One thing that must be well."""

    name: str
    ok: bool
    reason: str
    """For everybody: no address, no server's name, no secret."""
    details: str | None = None
    """For ops: the words of what failed, which may name servers."""


class Health(NamedTuple):
    """What was found."""

    database: Check
    redis: Check
    scheduler: Check
    transport: Check
    counts: Counts | None
    """None: the database could not be asked."""

    @property
    def checks(self) -> tuple[Check, ...]:
        return (self.database, self.redis, self.scheduler, self.transport)

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)


def examine(state: State, *, database_seconds: float) -> Health:
    """Ask everything that mail needs. A database that takes longer than ``database_seconds`` is
    taken for one that does not answer; no SMTP server is asked, the ledger knows the last try."""
    until = time.monotonic() + database_seconds
    question = _ask(state)
    of_redis = _redis(state)  # meanwhile
    question.join(max(0, until - time.monotonic()))
    database, counts = _database(question)
    return Health(
        database=database,
        redis=of_redis,
        scheduler=_scheduler(state, counts),
        transport=_transport(state, counts),
        counts=counts,
    )


def lanes_without_transport(state: State, counts: Counts) -> list[str]:
    """Return the lanes for which no transport is usable: each that takes their mail is paused or
    its circuit is open, or the newest deferral of what waits says so. (Half-open and nothing waits:
    the next email will tell.) A paused lane has no need of one."""
    now, known = state.traffic.known()
    usable = {
        lane
        for name, dsn in state.traffic.dsns.items()
        for lane in dsn.rule.lanes or LANES
        if not dsn.rule.is_test
        and known[name].circuit.state(now) != "open"
        and name not in counts.paused_transports
    }
    deferred = {lane for lane, newest in counts.deferrals.items() if newest.is_of_transport}
    return [
        lane
        for lane in LANES
        if lane not in counts.paused and (lane not in usable or lane in deferred)
    ]


def late_lanes(counts: Counts) -> list[str]:
    """Return the lanes with mail that has been due for long and that nobody sends."""
    return [
        lane
        for lane, seconds in sorted(counts.due_seconds.items())
        if seconds > LATE_SECONDS
        and lane not in counts.paused
        and not counts.by_lane[lane].get(Status.SENDING)
    ]


def neglected(state: State, counts: Counts) -> list[str]:
    """Return what else waits that nobody takes: other processes than those of the mail do it."""
    namespace = state.config["MAILER_NAMESPACE"]
    return [
        f"{words} for {seconds:.0f} s: is there a worker for {queue_name(namespace, queue)}?"
        for words, seconds, queue in (
            ("bulk sends and other jobs have waited", counts.job_due_seconds, JOBS),
            ("webhooks are not told: events have been due", counts.event_due_seconds, WEBHOOKS),
        )
        if seconds is not None and seconds > WAITS_SECONDS
    ]


class Way(NamedTuple):
    """A transport that takes a lane's mail, and what is known of it."""

    dsn: Dsn
    pause: Pause | None
    circuit: Circuit
    open_for: float
    """Seconds until somebody may try it; 0: it is not open."""
    has_room: bool
    """Its limits let an email of the lane leave now."""

    @property
    def obstacle(self) -> str | None:
        """Why nothing can leave over it now; None: it can."""
        if self.pause:
            return "is paused"
        if self.open_for:
            return "could not be used when last tried"
        return None if self.has_room else "is at its limit"


def ways(state: State, lane: str) -> list[Way]:
    """Return the transports that take a lane's mail, in the order of preference."""
    paused = state.ledger.paused_transports()
    now, known = state.traffic.known()
    found = []
    for name, dsn in state.traffic.dsns.items():
        if dsn.rule.is_test or (dsn.rule.lanes and lane not in dsn.rule.lanes):
            continue
        circuit, quota = known[name]
        room, _ = quotas.room(
            quota, dsn.limits, now, urgency=urgency(lane), holder="", is_gone=lambda _: False
        )
        open_for = circuit.closed_for(now) if circuit.state(now) == "open" else 0.0
        found.append(Way(dsn, paused.get(name), circuit, open_for, room >= 1))
    return found


def hindrance(state: State, lane: str) -> str | None:
    """Return why a lane's mail cannot leave now, as far as that is known; None: it can."""
    if pause := state.ledger.paused_lanes().get(lane):
        return f"lane {lane} is paused by {pause.actor}"
    found = [(way.dsn.name, way.obstacle) for way in ways(state, lane)]
    if any(obstacle is None for _, obstacle in found):
        return None
    return f"of the transports, {', '.join(f'{name} {obstacle}' for name, obstacle in found)}"


def alerts(state: State) -> list[str]:
    """Return what somebody has to look at though mail may flow: a login or a certificate that a
    transport does not get on with, and servers that refuse most of what they are given."""
    return [words for one in standings(state) for words in one.alerts]


def warn(state: State) -> None:
    """Log the alerts, once in a while in each process however often it is called."""
    now = time.monotonic()
    if now - _warned.get(state, -WARN_SECONDS) >= WARN_SECONDS:
        _warned[state] = now
        for words in alerts(state):
            log.warning("%s", words)


class _Question(threading.Thread):
    """One look at the ledger, in a thread: a database that is frozen would never return."""

    def __init__(self, state: State) -> None:
        super().__init__(daemon=True, name="mailer-health")
        self._state = state
        self.counts: Counts | None = None
        self.problem: LedgerUnavailable | None = None

    def run(self) -> None:
        try:
            self._state.database.check_migrated()
            self.counts = self._state.ledger.counts()
        except LedgerUnavailable as error:
            self.problem = error


_warned: weakref.WeakKeyDictionary[State, float] = weakref.WeakKeyDictionary()
_asked: weakref.WeakKeyDictionary[State, _Question] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def _ask(state: State) -> _Question:
    with _lock:
        question = _asked.get(state)
        # One question at a time: a database that is frozen shall not collect threads.
        if question is None or not question.is_alive():
            question = _asked[state] = _Question(state)
            question.start()
        return question


def _database(question: _Question) -> tuple[Check, Counts | None]:
    if question.counts:
        return Check("database", True, "migrated"), question.counts
    if isinstance(question.problem, NotMigrated):
        return Check("database", False, "not migrated", str(question.problem)), None
    if question.problem:
        return Check("database", False, "not reachable", str(question.problem)), None
    return Check("database", False, "does not answer"), None


def _redis(state: State) -> Check:
    if state.redis_url is None:
        return Check("redis", True, "none: the broker is another one")
    try:
        with impatient.client(state.redis_url) as client:
            client.ping()
    except redis.RedisError as error:
        return Check("redis", False, "not reachable", f"not reachable: {error}")
    return Check("redis", True, "reachable")


def _scheduler(state: State, counts: Counts | None) -> Check:
    if counts is None:
        return Check("scheduler", False, _UNKNOWN)
    seconds = counts.scheduler_seconds
    if seconds is not None and seconds <= missing_after(state.config):
        return Check("scheduler", True, f"seen {max(0, seconds):.0f} s ago")
    since = "never seen" if seconds is None else f"not seen for {seconds:.0f} s"
    return Check("scheduler", False, f"{since}: is beat running, and a worker free?")


def _transport(state: State, counts: Counts | None) -> Check:
    if counts is None:
        return Check("transport", False, _UNKNOWN)
    if lanes := lanes_without_transport(state, counts):
        words = "no transport is usable: paused, or it could not be used when last tried"
        return Check("transport", False, f"{words} (lanes: {', '.join(lanes)})")
    return Check("transport", True, "usable as far as is known")
