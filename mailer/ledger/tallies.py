"""Read the tallies: what happened lately, for charts, and ever, for metrics."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import NamedTuple

import sqlalchemy as sa

from ..histogram import bucket
from ..models import Latency, Tally
from ..models.tallies import FOREVER
from . import tallying

SHOWN = ("accepted", "sent", "deferred", "failed")
"""The outcomes that a `Flow` has. What is ``unknown`` counts as failed: somebody has to look."""
_SHOWN_AS = {**{one: one for one in SHOWN}, "unknown": "failed"}


class Flow(NamedTuple):
    """What happened in each of the last periods, test mail left out."""

    step: int
    """The length of a period in seconds."""
    begins: list[datetime]
    """The instants at which they begin, the oldest first. The last one is not over."""
    numbers: dict[str, list[int]]
    """Outcome of `SHOWN` -> deliveries, period by period."""
    is_all: bool
    """False: so much is not tallied that the newest of it is left out."""
    latencies: dict[str, Counter[int]]
    """Lane -> bucket of `mailer.histogram` -> deliveries, in all periods together."""

    def total(self, outcome: str) -> int:
        """Return how many came to ``outcome`` in all periods."""
        return sum(self.numbers[outcome])


class Count(NamedTuple):
    """A total. Empty texts and a code of 0 mean none."""

    lane: str
    template: str
    transport: str
    outcome: str
    code: int
    number: int


class LatencyCount(NamedTuple):
    """How many deliveries took about as long, and all their seconds."""

    lane: str
    bucket: int
    number: int
    seconds: float


class Totals(NamedTuple):
    """What has ever happened. No number gets smaller, whatever is pruned."""

    counts: list[Count]
    latencies: list[LatencyCount]


def flow(connection: sa.Connection, step: int, periods: int) -> Flow:
    """Return the last ``periods`` of ``step`` seconds, the current one included."""
    rest = tallying.rest(connection)
    first = (rest.now // step - periods + 1) * step
    numbers = {outcome: [0] * periods for outcome in SHOWN}
    latencies: dict[str, Counter[int]] = {}

    def count(at: float, outcome: str, number: int) -> None:
        shown, index = _SHOWN_AS.get(outcome), int((at - first) // step)
        if shown and 0 <= index < periods:
            numbers[shown][index] += number

    begins_at = sa.type_coerce(Tally.begins_at, sa.Double)
    of_tallies = (
        sa.select(begins_at, Tally.outcome, sa.func.sum(Tally.number, type_=sa.Integer))
        .where(Tally.step == step, Tally.begins_at >= first)
        .group_by(Tally.begins_at, Tally.outcome)
    )
    for at, outcome, number in connection.execute(of_tallies):
        count(at, outcome, int(number))
    of_latencies = (
        sa.select(Latency.lane, Latency.bucket, sa.func.sum(Latency.number, type_=sa.Integer))
        .where(Latency.step == step, Latency.begins_at >= first)
        .group_by(Latency.lane, Latency.bucket)
    )
    for lane, index, number in connection.execute(of_latencies):
        latencies.setdefault(lane, Counter())[index] += int(number)
    for event in rest.events():
        count(event.at, event.outcome, 1)
        if event.seconds is not None and event.at >= first:
            latencies.setdefault(event.lane, Counter())[bucket(event.seconds)] += 1
    begins = [datetime.fromtimestamp(first + step * one, UTC) for one in range(periods)]
    return Flow(step, begins, numbers, rest.is_all, latencies)


def totals(connection: sa.Connection) -> Totals:
    """Return the totals: what was tallied, which is all but what happened in the last seconds."""
    counts = connection.execute(
        sa.select(
            *(Tally.lane, Tally.template, Tally.transport, Tally.outcome, Tally.code, Tally.number)
        ).where(Tally.step == FOREVER)
    )
    latencies = connection.execute(
        sa.select(Latency.lane, Latency.bucket, Latency.number, Latency.seconds).where(
            Latency.step == FOREVER
        )
    )
    return Totals([Count(*row) for row in counts], [LatencyCount(*row) for row in latencies])
