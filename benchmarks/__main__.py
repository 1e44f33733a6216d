"""``python -m benchmarks``: measure, print the table, and write docs/performance.md, its chart and
the README's short table.

With ``--quick``: small counts, one round, some rows left out; the figures then say only that
everything works. With ``--only WORDS``: just the rows with these words. Neither writes anything.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import chart, measure, postgresql, table
from .counter import CHECKOUT, sink
from .measure import Counts
from .rows import ROWS, Round, Row, figures

LONG = Counts(
    emails=20_000,
    pattern_emails=5_000,
    far_emails=10_000,
    far_pattern_emails=300,
    far_threads_emails=1_000,
    chunk=500,
    calls=500,
    finished=1_000_000,
    waiting=200_000,
    claim=1_000,
    accepted=10_000,
)
QUICK = Counts(
    emails=300,
    pattern_emails=100,
    far_emails=200,
    far_pattern_emails=10,
    far_threads_emails=50,
    chunk=100,
    calls=20,
    finished=10_000,
    waiting=10_000,
    claim=100,
    accepted=400,
)
CHART = "performance.svg"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--quick", action="store_true", help="small counts, some rows left out")
    parser.add_argument("--only", metavar="WORDS", help="just the rows with these words")
    parser.add_argument("--rounds", type=int, help="of which medians are taken (3; quick: 1)")
    given = parser.parse_args()
    if sys.platform != "linux":
        raise SystemExit("what processes use is read from /proc, as Linux has it")
    counts = QUICK if given.quick else LONG
    if given.only is not None:
        rows = [row for row in ROWS if given.only.lower() in row.work.lower()]
    else:
        rows = [row for row in ROWS if row.brief or not given.quick]
    if not rows:
        raise SystemExit("there is no such row; these are:\n" + "\n".join(row.work for row in ROWS))
    rounds = _measured(rows, counts, given.rounds or (1 if given.quick else 3))
    lines = table.lines(rows, rounds, counts)
    print("\n".join(lines))
    if not given.quick and given.only is None:
        (CHECKOUT / "docs" / CHART).write_text(chart.svg(rounds))
        picture = [f"![Emails per second]({CHART})", ""]
        table.write(CHECKOUT / "docs" / "performance.md", [*picture, *lines])
        table.write(CHECKOUT / "README.md", table.short(rounds))


def _measured(rows: Sequence[Row], counts: Counts, times: int) -> list[Round]:
    wanted = figures(rows)
    rounds: list[Round] = []
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as name,
        sink() as counting,
        postgresql.server(needed="PostgreSQL" in " ".join(wanted)) as server,
    ):
        ground = measure.prepare(Path(name), counting, server, counts, wanted)
        for number in range(times):
            found: dict[str, float] = {}
            for figure, value in measure.round_of(ground, number):
                found[figure] = value
                print(f"round {number + 1}: {figure} {table.shown(value)}", file=sys.stderr)
            rounds.append(found)
    return rounds


if __name__ == "__main__":
    main()
