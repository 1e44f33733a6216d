"""Is mail flowing, and if not, why: what the console and ``mailer top`` show of it all."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple
from urllib.parse import urlsplit

from . import health, presence
from .errors import LedgerUnavailable
from .health import Health
from .histogram import quantile
from .ledger.counts import Counts
from .ledger.failures import Group
from .ledger.tallies import Flow
from .models import LANES, Status
from .models.tallies import HOUR, MINUTE, TEN_MINUTES
from .standing import Standing, standings
from .state import State

RANGES = {"hour": (MINUTE, 60), "day": (TEN_MINUTES, 144), "week": (HOUR, 168)}
"""What a chart may show: the length of its periods in seconds, and how many."""

SHARES = (0.5, 0.95, 0.99)
"""The quantiles that are shown of latencies."""

_DATABASE_SECONDS = 5.0
_GROWTH_MINUTES = 10
_GROWTH_LEAST = 20
_FAILED_LEAST = 10
_FAILED_SHARE = 0.1
_FAILURES_LOOKED_AT = 1_000
"""The newest of each state: enough to see what goes wrong now."""
_FAILURES_SHOWN = 5


class Lane(NamedTuple):
    """What is open in a lane."""

    name: str
    queued: int
    due: int
    deferred: int
    sending: int
    oldest_due_seconds: float | None
    paused_by: str | None
    latency: tuple[float | None, ...]
    """The quantiles of `SHARES`; None: nothing was sent."""


class Reason(NamedTuple):
    """Something that is not as it should be."""

    words: str
    """They may name servers."""
    about: str = ""
    """``transport``, ``lane`` (what makes it rest), ``due`` (a lane's mail), ``webhook`` or
    ``failed``: where a person looks next. Empty: not in the console."""
    name: str = ""
    """Of the transport or the lane, or the webhook's id."""


class Verdict(NamedTuple):
    """Whether mail flows, in one sentence."""

    level: str
    """``good``, ``wait`` (somebody should look) or ``bad`` (mail does not flow)."""
    words: str
    reasons: list[Reason]
    """Why, the worst first."""


class Overview(NamedTuple):
    """What is known at one moment. Without a database: its verdict and the workers alone."""

    verdict: Verdict
    health: Health
    workers: dict[str, float] | None
    """Seconds since each was last seen; None: nobody knows."""
    lanes: list[Lane]
    transports: list[Standing]
    flow: Flow | None
    latency: tuple[float | None, ...]
    failures: list[Group]
    """Of the newest that failed."""


def look(state: State, over: str) -> Overview:
    """Look at everything; ``over`` is one of `RANGES`."""
    found = health.examine(state, database_seconds=_DATABASE_SECONDS)
    workers = presence.workers(state.traffic.shared)
    if found.counts:
        try:
            return _look(state, over, found, found.counts, workers)
        except LedgerUnavailable:  # since a moment ago
            pass
    return Overview(_verdict(found, workers, []), found, workers, [], [], None, (), [])


def _look(
    state: State, over: str, found: Health, counts: Counts, workers: dict[str, float] | None
) -> Overview:
    flow = state.ledger.flow(*RANGES[over])
    lately = flow if over == "hour" else state.ledger.flow(*RANGES["hour"])
    transports = standings(state)
    reasons = [
        *(Reason(words, "transport", one.name) for one in transports for words in one.alerts),
        *_waiting(counts),
        *map(Reason, health.neglected(state, counts)),
        *_failing_webhooks(counts),
        *_growing(lately),
        *_failing(lately),
        *_undecided(counts),
        *_resting(counts, transports),
    ]
    return Overview(
        _verdict(found, workers, reasons),
        found,
        workers,
        [_lane(name, counts, flow) for name in LANES],
        transports,
        flow,
        _quantiles(sum(flow.latencies.values(), Counter())),
        list(state.ledger.failures(_FAILURES_LOOKED_AT).groups[:_FAILURES_SHOWN]),
    )


def _verdict(found: Health, workers: dict[str, float] | None, reasons: list[Reason]) -> Verdict:
    broken = [
        Reason(f"{one.name}: {one.details or one.reason}") for one in found.checks if not one.ok
    ]
    if workers is not None and not any(map(presence.is_there, workers.values())):
        broken.insert(0, Reason("no worker is running"))
    if found.counts:
        broken += [
            Reason(f"lane {lane}: mail is due and nobody sends it", "due", lane)
            for lane in health.late_lanes(found.counts)
        ]
    if broken:
        return Verdict("bad", "Mail is not flowing as it should.", [*broken, *reasons])
    if reasons:
        return Verdict("wait", "Mail is flowing; somebody should look.", reasons)
    return Verdict("good", "Mail is flowing.", [])


def _waiting(counts: Counts) -> list[Reason]:
    return [
        Reason(f"lane {lane}: mail has been due for {seconds:.0f} s", "due", lane)
        for lane, seconds in sorted(counts.due_seconds.items())
        if seconds > health.WAITS_SECONDS and lane not in counts.paused
    ]


def _failing_webhooks(counts: Counts) -> list[Reason]:
    found = []
    for id, one in counts.failing_webhooks.items():
        if one.seconds > health.WAITS_SECONDS:
            host = urlsplit(one.url).hostname  # the rest may be what lets one in
            words = f"webhook {host} has failed for {one.seconds:.0f} s"
            found.append(Reason(words, "webhook", id))
    return found


def _growing(flow: Flow) -> list[Reason]:
    """Say so when within the last minutes more was deferred than twice as much as before."""
    deferred = flow.numbers["deferred"]
    now = sum(deferred[-_GROWTH_MINUTES:])
    before = sum(deferred[-2 * _GROWTH_MINUTES : -_GROWTH_MINUTES])
    if now < _GROWTH_LEAST or now <= 2 * before:
        return []
    words = f"deferrals grow: {now} in the last {_GROWTH_MINUTES} minutes, {before} before"
    return [Reason(words, "failed")]


def _failing(flow: Flow) -> list[Reason]:
    failed = flow.total("failed")
    ended = failed + flow.total("sent")
    if failed < _FAILED_LEAST or failed < _FAILED_SHARE * ended:
        return []
    return [Reason(f"{failed} of {ended} emails failed in the last hour", "failed")]


def _undecided(counts: Counts) -> list[Reason]:
    if not counts.unknown:
        return []
    whose = "1 email" if counts.unknown == 1 else f"each of {counts.unknown} emails"
    words = f"somebody has to say whether the server has {whose}"
    return [Reason(words, "failed")]


def _resting(counts: Counts, transports: list[Standing]) -> list[Reason]:
    resting = [
        Reason(f"lane {name} is paused by {one.actor}", "lane", name)
        for name, one in counts.paused.items()
    ]
    for one in transports:
        if one.paused:
            words = f"transport {one.name} is paused by {one.paused.actor}"
            resting.append(Reason(words, "transport", one.name))
        elif one.state in {"open", "half-open"} and not one.dsn.rule.is_test:
            words = f"transport {one.name} could not be used when last tried"
            until = "" if one.state == "open" else "; the next email finds out, or a test of it"
            resting.append(Reason(f"{words}{until}", "transport", one.name))
    return resting


def _lane(name: str, counts: Counts, flow: Flow) -> Lane:
    paused = counts.paused.get(name)
    by_status = counts.by_lane.get(name, {})
    return Lane(
        name,
        queued=by_status.get(Status.QUEUED, 0),
        due=counts.due.get(name, 0),
        deferred=counts.deferred.get(name, 0),
        sending=by_status.get(Status.SENDING, 0),
        oldest_due_seconds=counts.due_seconds.get(name),
        paused_by=paused and paused.actor,
        latency=_quantiles(flow.latencies.get(name, Counter())),
    )


def _quantiles(numbers: Counter[int]) -> tuple[float | None, ...]:
    return tuple(quantile(numbers, share) for share in SHARES)
