"""Metrics for Prometheus: what the ledger and Redis say when they are asked.

Nothing is counted in a process, so that each may answer for all of them, and none forgets.
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from . import health, presence
from .doorbell import JOBS, WEBHOOKS
from .errors import LedgerUnavailable
from .histogram import BOUNDS
from .ledger.counts import Counts
from .ledger.tallies import LatencyCount, Totals
from .models import LANES, Status
from .standing import Standing, standings
from .state import State

DATABASE_SECONDS = 5.0
"""Less than Prometheus waits."""

_LABELS = ("lane", "template", "transport", "code")
_COUNTERS = {
    "accepted": "Deliveries that were accepted: one for each recipient of an email.",
    "sent": "Attempts after which the server had the message.",
    "deferred": "Attempts after which the delivery waits for another one.",
    "failed": "Attempts after which the delivery had failed for good.",
    "unknown": "Attempts after which nobody knows whether the server has the message.",
    "suppressed": "Deliveries that were not tried, because their address is not to be mailed.",
    "cancelled": "Deliveries that were not tried, because their context loader answered None.",
}
"""Outcome -> what it counts."""
_EXPORTED = tuple(number * 10.0**power for power in range(-2, 5) for number in (1, 2, 5))
"""The bounds of the buckets that are shown, in seconds: from 10 ms to 14 hours."""
_TRANSPORT_STATES = ("closed", "half-open", "open", "paused")


def text(state: State) -> bytes:
    """Return all metrics, as Prometheus reads them."""
    collectors = CollectorRegistry(auto_describe=False)
    collectors.register(_Collector(state))
    return generate_latest(collectors)


class _Collector(Collector):
    def __init__(self, state: State) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        found = health.examine(self._state, database_seconds=DATABASE_SECONDS)
        yield _gauge(
            "mailer_check_ok",
            "Whether a part is well: database, redis, scheduler, transport.",
            ("check",),
            {(one.name,): one.ok for one in found.checks},
        )
        workers = presence.workers(self._state.traffic.shared)
        if workers is not None:
            there = sum(map(presence.is_there, workers.values()))
            yield _gauge("mailer_workers", "Workers that were seen lately.", (), {(): there})
        rings = self._state.doorbell.rings((*LANES, WEBHOOKS, JOBS))
        if rings is not None:
            yield _rings(rings)
        if found.counts:
            yield from _open(found.counts)
            with suppress(LedgerUnavailable):  # since a moment ago
                known = standings(self._state), self._state.ledger.totals()
                yield from _transports(known[0])
                yield from _totals(known[1])


def _rings(numbers: dict[tuple[str, str], int]) -> Metric:
    counter = CounterMetricFamily(
        "mailer_doorbells",
        "Calls for a worker: rung, ringing already, or missed since Redis or the broker was away.",
        labels=("lane", "result"),
    )
    for of, number in numbers.items():
        counter.add_metric(of, number)
    return counter


def _open(counts: Counts) -> Iterator[Metric]:
    numbers: dict[tuple[str, ...], float] = {}
    for lane in LANES:
        queued = counts.by_lane.get(lane, {}).get(Status.QUEUED, 0)
        due = counts.due.get(lane, 0)
        numbers[lane, "due"] = due
        # Two questions, and a moment between them.
        numbers[lane, "waiting"] = max(0, queued - due)
        numbers[lane, "sending"] = counts.by_lane.get(lane, {}).get(Status.SENDING, 0)
    yield _gauge(
        "mailer_open_deliveries",
        "Deliveries that are due, waiting for their time, or being sent.",
        ("lane", "state"),
        numbers,
    )
    yield _gauge(
        "mailer_deferred_deliveries",
        "Those of the waiting that wait for another attempt.",
        ("lane",),
        {(lane,): counts.deferred.get(lane, 0) for lane in LANES},
    )
    yield _gauge(
        "mailer_unknown_deliveries",
        "Deliveries of which somebody has to say whether they arrived.",
        (),
        {(): counts.unknown},
    )
    yield _gauge(
        "mailer_oldest_due_seconds",
        "For how long the oldest due delivery has been due; 0 when none is.",
        ("lane",),
        {(lane,): counts.due_seconds.get(lane, 0.0) for lane in LANES},
    )
    yield _gauge(
        "mailer_other_due_seconds",
        "For how long a job, or a webhook's event, has been due and no worker was at work on any.",
        ("queue",),
        {(JOBS,): counts.job_due_seconds or 0.0, (WEBHOOKS,): counts.event_due_seconds or 0.0},
    )
    yield _gauge(
        "mailer_failing_webhooks",
        "Webhooks whose last attempt failed.",
        (),
        {(): len(counts.failing_webhooks)},
    )
    yield _gauge(
        "mailer_lane_paused",
        "Whether somebody paused a lane.",
        ("lane",),
        {(lane,): lane in counts.paused for lane in LANES},
    )
    if counts.scheduler_seconds is not None:
        yield _gauge(
            "mailer_scheduler_last_seen_timestamp_seconds",
            "When the scheduler last swept.",
            (),
            {(): time.time() - counts.scheduler_seconds},
        )


def _transports(found: list[Standing]) -> Iterator[Metric]:
    yield _gauge(
        "mailer_transport_state",
        "1 for the state that a transport is in, 0 for the others.",
        ("transport", "state"),
        {
            (one.name, state): one.state == state
            for one in found
            if not one.dsn.rule.is_test  # a catcher may be away
            for state in _TRANSPORT_STATES
        },
    )
    yield _gauge(
        "mailer_transport_connections",
        "Open connections to a transport, as far as they are limited.",
        ("transport",),
        {(one.name,): one.connections for one in found},
    )


def _totals(totals: Totals) -> Iterator[Metric]:
    numbers: defaultdict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for one in totals.counts:
        of_one = (one.lane, one.template, one.transport, str(one.code or ""))
        numbers[one.outcome][of_one] += one.number
    for outcome, meaning in _COUNTERS.items():
        counter = CounterMetricFamily(f"mailer_{outcome}", meaning, labels=_LABELS)
        for of, number in numbers[outcome].items():
            counter.add_metric(of, number)
        yield counter
    latency = HistogramMetricFamily(
        "mailer_latency_seconds",
        "From when a delivery was accepted, or due, or retried, until the server had it.",
        labels=("lane",),
    )
    for lane in sorted({one.lane for one in totals.latencies}):
        of_lane = [one for one in totals.latencies if one.lane == lane]
        latency.add_metric((lane,), _buckets(of_lane), sum(one.seconds for one in of_lane))
    yield latency


def _buckets(counts: list[LatencyCount]) -> list[tuple[str, float]]:
    """Return how many took at most so long, for some of the bounds."""
    numbers = {one.bucket: one.number for one in counts}
    found, total = [], 0
    for index, bound in enumerate(BOUNDS):
        total += numbers.get(index, 0)
        if any(math.isclose(bound, shown) for shown in _EXPORTED):
            found.append((str(bound), float(total)))
    return [*found, ("+Inf", float(total + numbers.get(len(BOUNDS), 0)))]


def _gauge(
    name: str, meaning: str, labels: tuple[str, ...], values: dict[tuple[str, ...], float]
) -> Metric:
    gauge = GaugeMetricFamily(name, meaning, labels=labels)
    for of, value in values.items():
        gauge.add_metric(of, value)
    return gauge
