"""One round: each figure once, this project's beside the pattern's so that both meet the same
neighbours on the machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from . import demo, ledgers, processes, work
from .counter import CHECKOUT, Sink
from .postgresql import PostgreSQL
from .stand import PATIENCE_SECONDS, pattern, project, stand

FAR_SECONDS = 0.02
"""The round trip to a server that is not next door."""

PAUSE_SECONDS = 0.04
"""Between two calls while workers idle: they are done with the one before."""

Figure = tuple[str, float]
"""A name, as `rows` knows it, and what was measured."""


class Counts(NamedTuple):
    """How much of everything."""

    brief: bool
    """Leave out what only long runs can tell, and takes workers that are started for it."""
    emails: int
    """For the project and the limit."""
    pattern_emails: int
    far_emails: int
    far_pattern_emails: int
    chunk: int
    calls: int
    finished: int
    waiting: int
    claim: int


class Ground(NamedTuple):
    """What stays from round to round."""

    folder: Path
    sink: Sink
    postgresql: PostgreSQL | None
    counts: Counts
    old: dict[str, str]
    """URLs of ledgers with a history, by the kind of the database."""
    waiting: str
    """URL of the ledger with a long queue."""


def prepare(folder: Path, sink: Sink, postgresql: PostgreSQL | None, counts: Counts) -> Ground:
    """Make the ledgers that are used in every round."""
    old = {"SQLite": f"sqlite:///{folder / 'old.sqlite3'}"}
    if postgresql is not None:
        old["PostgreSQL"] = postgresql.database("old")
    for url in old.values():
        ledgers.fill_with_finished(url, counts.finished)
    waiting = f"sqlite:///{folder / 'waiting.sqlite3'}"
    ledgers.fill_with_waiting(waiting, counts.waiting)
    return Ground(folder, sink, postgresql, counts, old, waiting)


def round_of(ground: Ground, number: int) -> Iterator[Figure]:
    """Yield the figures of one round."""
    folder = ground.folder / str(number)
    folder.mkdir()
    yield "fdatasync µs", _fdatasync(folder / "probe")
    yield from _project(ground, folder)
    yield from _pattern(ground, folder)
    yield from _limit(ground)
    yield from _far(ground, folder)
    if ground.postgresql is not None:
        yield from _on_postgresql(ground, ground.postgresql, folder)
    yield from _old(ground, folder)
    yield "claim ms", ledgers.claim_ms(ground.waiting, ground.counts.claim)
    yield "demo s", demo.first_email_seconds(ground.folder / "dev")


def _fdatasync(path: Path) -> float:
    """Return how long the disk takes to keep a commit: no `dispatch` that is durable is faster."""
    seconds = []
    with path.open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(bytes(16_384))  # about the pages that the log gains with an email
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - began)
    return median(seconds) * 1e6


def _project(ground: Ground, folder: Path) -> Iterator[Figure]:
    counts = ground.counts
    full = project(f"sqlite:///{folder / 'full.sqlite3'}")
    with stand(full, ground.sink, folder / "full") as standing:
        standing.start_warm()
        produced = standing.produce(counts.emails, counts.calls, pause=PAUSE_SECONDS)
        yield "dispatch p50", produced.p50()
        yield "dispatch p99", produced.p99()
        rate, cpu = standing.end_to_end(counts.emails)
        yield "project", rate
        yield "project cpu", cpu
        yield "project MB", standing.megabytes_each()
        rate, cpu = standing.end_to_end(counts.emails, chunk=counts.chunk)
        yield "project many", rate
        yield "project many cpu", cpu
        yield "project drain", standing.drain(counts.emails)
    if counts.brief:
        return
    normal = project(f"sqlite:///{folder / 'normal.sqlite3'}", MAILER_SQLITE_SYNCHRONOUS="NORMAL")
    with stand(normal, ground.sink, folder / "normal") as standing:
        standing.start_warm()
        yield "project NORMAL", standing.end_to_end(counts.emails)[0]


def _pattern(ground: Ground, folder: Path) -> Iterator[Figure]:
    counts = ground.counts
    with stand(pattern(), ground.sink, folder / "pattern") as standing:
        standing.start_warm()
        produced = standing.produce(counts.emails, counts.calls, pause=PAUSE_SECONDS)
        yield "delay p50", produced.p50()
        yield "delay p99", produced.p99()
        rate, cpu = standing.end_to_end(counts.pattern_emails)
        yield "pattern", rate
        yield "pattern cpu", cpu
        yield "pattern MB", standing.megabytes_each()
        ground.sink.be_far(FAR_SECONDS)
        yield "pattern far", standing.end_to_end(counts.far_pattern_emails)[0]
        ground.sink.be_far(0)
        yield "pattern drain", standing.drain(counts.pattern_emails)


def _limit(ground: Ground) -> Iterator[Figure]:
    """Yield the rate of two processes that render, write and send, and nothing else; and how much
    of a core the sink takes then, which is when it has most to do."""
    half = ground.counts.emails // 2
    ground.sink.reset()
    command = [sys.executable, "-m", "benchmarks.limit", str(ground.sink.port)]
    before = processes.cpu([ground.sink.pid])
    running = [
        subprocess.Popen([*command, str(first), str(half)], cwd=CHECKOUT) for first in (0, half)
    ]
    if any(process.wait(PATIENCE_SECONDS) for process in running):
        raise SystemExit("the limit could not be measured")
    accepted = ground.sink.wait_for(2 * half, PATIENCE_SECONDS, str, smallest=work.SMALLEST)
    used = processes.cpu([ground.sink.pid]) - before
    yield "limit", accepted.steady()
    yield "sink", used / (accepted.stamps[-1] - accepted.stamps[0])


def _far(ground: Ground, folder: Path) -> Iterator[Figure]:
    counts = ground.counts
    sixty_four = f"far=smtp://127.0.0.1:{ground.sink.port}?connections=64"
    system = project(f"sqlite:///{folder / 'far.sqlite3'}", MAILER_TRANSPORTS=sixty_four)
    threads = pattern("--pool", "threads", "--concurrency", "32")
    for name, far, number in (
        ("project far", system, counts.far_emails),
        ("pattern far, 32 threads", threads, counts.far_pattern_emails),
    ):
        with stand(far, ground.sink, folder / name.replace(" ", "-")) as standing:
            standing.start_warm()
            ground.sink.be_far(FAR_SECONDS)
            yield name, standing.end_to_end(number)[0]
            ground.sink.be_far(0)


def _on_postgresql(ground: Ground, server: PostgreSQL, folder: Path) -> Iterator[Figure]:
    system = project(server.database(f"round{folder.name}"))
    with stand(system, ground.sink, folder / "postgresql", also=[server.pid]) as standing:
        standing.start_warm()
        rate, cpu = standing.end_to_end(ground.counts.emails)
        yield "project PostgreSQL", rate
        yield "project PostgreSQL cpu", cpu
        if not ground.counts.brief:
            yield "drain PostgreSQL", standing.drain(ground.counts.emails)


def _old(ground: Ground, folder: Path) -> Iterator[Figure]:
    for kind, url in ground.old.items():
        yield f"sweep {kind} ms", ledgers.sweep_ms(url)
        if ground.counts.brief:
            continue
        with stand(project(url), ground.sink, folder / f"old-{kind}") as standing:
            yield f"old drain {kind}", standing.drain(ground.counts.emails)
