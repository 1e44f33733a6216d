"""The rows of the table: which figure is compared with which, and what is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

Round = Mapping[str, float]
"""What one round measured, by the names that `measure` gives."""


class Row(NamedTuple):
    """One comparison."""

    work: str
    unit: str
    ours: str
    """Name of a figure."""
    theirs: str | None
    """None: the figure is held against the target itself."""
    target: float
    at_most: bool = False
    """The target is the most that it may be, rather than the least."""
    against: str = "the pattern"

    def figure(self, rounds: Sequence[Round]) -> float | None:
        """Return the median of ours; None if it was not measured."""
        return _median([one[self.ours] for one in rounds if self.ours in one])

    def other(self, rounds: Sequence[Round]) -> float | None:
        """Return the median of theirs."""
        theirs = self.theirs or ""
        return _median([one[theirs] for one in rounds if theirs in one])

    def ratio(self, rounds: Sequence[Round]) -> float | None:
        """Return the median of the rounds' ratios: both of a round met the same neighbours."""
        if self.theirs is None:
            return self.figure(rounds)
        both = [one for one in rounds if self.ours in one and self.theirs in one]
        return _median([one[self.ours] / one[self.theirs] for one in both])

    def is_met(self, rounds: Sequence[Round]) -> bool | None:
        ratio = self.ratio(rounds)
        if ratio is None:
            return None
        return ratio <= self.target if self.at_most else ratio >= self.target


def _median(values: list[float]) -> float | None:
    return median(values) if values else None


ROWS = (
    Row("one `dispatch` each while workers send", "emails/s", "project", "pattern", 12),
    Row("the same, `synchronous=NORMAL`", "emails/s", "project NORMAL", "pattern", 12),
    Row("drain of what waits", "emails/s", "project drain", "pattern drain", 16),
    Row("drain of what waits", "emails/s", "project drain", "limit", 0.5, against="the limit"),
    Row("`dispatch_many` in chunks while workers send", "emails/s", "project many", "pattern", 15),
    Row("20 ms round trip, 64 connections", "emails/s", "project far", "pattern far", 180),
    Row(
        "20 ms round trip, 64 connections",
        "emails/s",
        "project far",
        "pattern far, 32 threads",
        12,
        against="the pattern with 32 threads",
    ),
    Row("CPU of all processes", "s per 1,000", "project cpu", "pattern cpu", 0.1, at_most=True),
    Row("one `dispatch`, p50", "µs", "dispatch p50", "delay p50", 1, at_most=True),
    Row("one `dispatch`, p99", "µs", "dispatch p99", "delay p99", 2, at_most=True),
    Row("PostgreSQL, one `dispatch` each", "emails/s", "project PostgreSQL", "pattern", 8),
    Row("memory of a worker process", "MB", "project MB", "pattern MB", 1.5, at_most=True),
    *(
        row
        for kind, empty in (("SQLite", "project drain"), ("PostgreSQL", "drain PostgreSQL"))
        for row in (
            Row(
                f"drain after a history, {kind}",
                "emails/s",
                f"old drain {kind}",
                empty,
                0.9,
                against="an empty ledger",
            ),
            Row(f"sweep after a history, {kind}", "ms", f"sweep {kind} ms", None, 50, at_most=True),
        )
    ),
    Row("claim of a batch in a long queue", "ms", "claim ms", None, 20, at_most=True),
    Row("start of the demo to its first email", "s", "demo s", None, 5, at_most=True),
)
