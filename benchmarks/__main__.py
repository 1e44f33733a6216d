"""``python -m benchmarks``: measure, print the table and write docs/performance.md.

With ``--quick``: small counts, one round, some rows left out, and nothing is written. The figures
then say only that everything works.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from . import chart, measure, postgresql, table
from .counter import CHECKOUT, sink
from .measure import Counts

LONG = Counts(
    brief=False,
    emails=20_000,
    pattern_emails=5_000,
    far_emails=5_000,
    far_pattern_emails=300,
    chunk=500,
    calls=500,
    finished=1_000_000,
    waiting=200_000,
    claim=1_000,
)
QUICK = Counts(
    brief=True,
    emails=300,
    pattern_emails=100,
    far_emails=200,
    far_pattern_emails=10,
    chunk=100,
    calls=20,
    finished=10_000,
    waiting=10_000,
    claim=100,
)
ROUNDS = 3


def main(quick: bool) -> None:
    counts = QUICK if quick else LONG
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as name,
        sink() as counting,
        postgresql.server() as server,
    ):
        ground = measure.prepare(Path(name), counting, server, counts)
        rounds = []
        for number in range(1 if quick else ROUNDS):
            figures: dict[str, float] = {}
            for figure, value in measure.round_of(ground, number):
                figures[figure] = value
                print(f"round {number + 1}: {figure} {table.shown(value)}", file=sys.stderr)
            rounds.append(figures)
    lines = table.lines(rounds, counts)
    print("\n".join(lines))
    if not quick:
        table.write(CHECKOUT / "docs" / "performance.md", lines)
        (CHECKOUT / "docs" / "performance.svg").write_text(chart.svg(rounds))


if __name__ == "__main__":
    main("--quick" in sys.argv[1:])
