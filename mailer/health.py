"""Is all well: named checks, the same for `mailer status`, ``/readyz`` and whoever else asks."""

from __future__ import annotations

import threading
import time
import weakref
from typing import NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .errors import LedgerUnavailable, NotMigrated
from .ledger.counts import Counts
from .state import State
from .watch import missing_after

REDIS_SECONDS = 0.3
"""To connect, and for the answer."""

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
        transport=_transport(counts),
        counts=counts,
    )


def lanes_without_transport(counts: Counts) -> list[str]:
    """Return the lanes whose newest deferral tells of the transport rather than of an email. A
    paused lane does not try, so that it says nothing about the present."""
    return [
        lane
        for lane, newest in sorted(counts.deferrals.items())
        if newest.is_of_transport and lane not in counts.paused
    ]


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
    client = redis.Redis.from_url(
        state.redis_url,
        socket_timeout=REDIS_SECONDS,
        socket_connect_timeout=REDIS_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        with client:
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


def _transport(counts: Counts | None) -> Check:
    if counts is None:
        return Check("transport", False, _UNKNOWN)
    if lanes := lanes_without_transport(counts):
        words = "the SMTP server could not be used when last tried"
        return Check("transport", False, f"{words} (lanes: {', '.join(lanes)})")
    return Check("transport", True, "usable as far as is known")
