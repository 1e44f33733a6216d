"""The rows of the table: which figure is compared with which, and what is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

Round = Mapping[str, float]
"""What one round measured, by the names that `measure` gives: ``who: what``."""

FULL, NORMAL = "SQLite `FULL` (the default)", "SQLite `NORMAL`"


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
    brief: bool = True
    """Also measured by a quick run."""
    in_readme: bool = False

    def figures(self) -> set[str]:
        """Return the names of what has to be measured for it."""
        return {name for name in (self.ours, self.theirs) if name}

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


def figures(rows: Iterable[Row]) -> frozenset[str]:
    """Return the names of what has to be measured for all of them."""
    return frozenset(name for row in rows for name in row.figures())


def _median(values: list[float]) -> float | None:
    return median(values) if values else None


_FAR = "20 ms round trip, 64 connections"
_FAR_OURS = "project, 64 connections: far"

ROWS = (
    Row(
        f"one `dispatch` each while workers send, {FULL}",
        "emails/s",
        "project: sent",
        "pattern: sent",
        12,
        in_readme=True,
    ),
    Row(
        f"one `dispatch` each while workers send, {NORMAL}",
        "emails/s",
        "project NORMAL: sent",
        "pattern: sent",
        12,
        brief=False,
    ),
    Row(
        "drain of what waits",
        "emails/s",
        "project: drain",
        "pattern: drain",
        16,
        in_readme=True,
    ),
    Row("drain of what waits", "emails/s", "project: drain", "limit", 0.5, against="the limit"),
    Row(
        "`dispatch_many` in chunks while workers send",
        "emails/s",
        "project: many",
        "pattern: sent",
        15,
        in_readme=True,
    ),
    Row(_FAR, "emails/s", _FAR_OURS, "pattern: far", 180, in_readme=True),
    Row(
        _FAR,
        "emails/s",
        _FAR_OURS,
        "pattern, 32 threads: far",
        12,
        against="the pattern with 32 threads",
        brief=False,
    ),
    Row(
        f"{_FAR}: open at once",
        "connections",
        "project, 64 connections: open",
        None,
        64,
        at_most=True,
    ),
    Row(
        "CPU of all processes",
        "s per 1,000",
        "project: cpu",
        "pattern: cpu",
        0.1,
        at_most=True,
        in_readme=True,
    ),
    *(
        Row(
            f"one `dispatch` to idle workers, {percentile}, {kind}",
            "µs",
            f"{who}: {percentile}",
            f"pattern: {percentile}",
            target,
            at_most=True,
            against="one bare `send_email.delay`",
            brief=kind == FULL,
        )
        for kind, who in ((FULL, "project"), (NORMAL, "project NORMAL"))
        for percentile, target in (("p50", 1), ("p99", 2))
    ),
    Row(
        "one `dispatch` each while workers send, PostgreSQL",
        "emails/s",
        "project PostgreSQL: sent",
        "pattern: sent",
        8,
        in_readme=True,
    ),
    Row(
        "memory of a worker process",
        "MB",
        "project: MB",
        "pattern: MB",
        1.5,
        at_most=True,
        in_readme=True,
    ),
    *(
        row
        for kind in ("SQLite", "PostgreSQL")
        for row in (
            Row(
                f"drain after a history, {kind}",
                "emails/s",
                f"old {kind}: drain",
                f"empty {kind}: drain",
                0.9,
                against="an empty ledger",
                brief=False,
            ),
            Row(
                f"sweep after a history, {kind}", "ms", f"old {kind}: sweep", None, 50, at_most=True
            ),
        )
    ),
    *(
        row
        for kind, words in (("FULL", FULL), ("NORMAL", NORMAL))
        for row in (
            Row(
                f"`POST /emails`, {words}",
                "emails/s",
                f"API {kind}",
                f"bare {kind}",
                0.8,
                against="a bare route that stores one row",
                brief=kind == "FULL",
            ),
            Row(
                f"`POST /emails/batch` of 100, {words}",
                "emails/s",
                f"API batch {kind}",
                f"API {kind}",
                10,
                against="`POST /emails`",
                brief=kind == "FULL",
            ),
        )
    ),
    *(
        Row(
            f"slowest page of the console after a month, {kind}",
            "ms",
            f"console {kind}",
            None,
            200,
            at_most=True,
        )
        for kind in ("SQLite", "PostgreSQL")
    ),
    Row("claim of a batch in a long queue", "ms", "claim", None, 20, at_most=True),
    Row("start of the demo to its first email", "s", "demo", None, 5, at_most=True, brief=False),
)
