"""One round: each figure that is wanted once, and what is compared in the same minutes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from . import accepting, console, demo, ledgers, month, processes, work
from .counter import CHECKOUT, Sink
from .postgresql import PostgreSQL
from .stand import PATIENCE_SECONDS, Stand, System, pattern, project, stand

FAR_SECONDS = 0.02
"""The round trip to a server that is not next door."""

Figure = tuple[str, float]
"""A name, as `rows` knows it, and what was measured."""


class Counts(NamedTuple):
    """How much of everything."""

    emails: int
    """For the project and the limit."""
    pattern_emails: int
    far_emails: int
    far_pattern_emails: int
    far_threads_emails: int
    chunk: int
    calls: int
    finished: int
    waiting: int
    claim: int
    accepted: int
    """For each door of the HTTP API."""


class Ground(NamedTuple):
    """What stays from round to round."""

    folder: Path
    sink: Sink
    postgresql: PostgreSQL | None
    counts: Counts
    wanted: frozenset[str]
    """Names of figures; no other one is measured."""
    old: dict[str, str]
    """URLs of ledgers with a history, by the kind of the database."""
    waiting: str
    """URL of the ledger with a long queue."""
    month: dict[str, str]
    """URLs of ledgers with a month of mail and trouble, by the kind of the database."""

    def wants(self, *names: str) -> bool:
        return any(name in self.wanted for name in names)


class Contender(NamedTuple):
    """A system, and how much it is given to do."""

    name: str
    """Begins the names of its figures."""
    system: Callable[[], System]
    emails: int
    far_emails: int = 0


def prepare(
    folder: Path,
    sink: Sink,
    postgresql: PostgreSQL | None,
    counts: Counts,
    wanted: frozenset[str],
) -> Ground:
    """Make what is used in every round."""

    def on_each(name: str) -> dict[str, str]:
        urls = {"SQLite": f"sqlite:///{folder / name}.sqlite3"}
        if postgresql is not None:
            urls["PostgreSQL"] = postgresql.database(name)
        return urls

    waiting = f"sqlite:///{folder / 'waiting.sqlite3'}"
    old, of_month = on_each("old"), on_each("month")
    ground = Ground(folder, sink, postgresql, counts, wanted, old, waiting, of_month)
    for kind, url in old.items():
        if ground.wants(f"old {kind}: drain", f"old {kind}: sweep"):
            ledgers.fill_with_finished(url, counts.finished)
    for kind, url in of_month.items():
        if ground.wants(f"console {kind}"):
            month.fill(url, counts.finished)
    if ground.wants("claim"):
        ledgers.fill_with_waiting(ground.waiting, counts.waiting)
    return ground


def round_of(ground: Ground, number: int) -> Iterator[Figure]:
    """Yield the figures of one round."""
    folder = ground.folder / str(number)
    folder.mkdir()
    yield "fdatasync", _fdatasync(folder / "probe")
    steps = [_contend(ground, folder, contender) for contender in _contenders(ground, folder)]
    steps.append(_alone(ground))
    steps += [_console(ground, folder, kind) for kind in ground.month]
    steps += [_accepted(ground, folder, *kind) for kind in _ACCEPTED]
    # Every other round the other way round: who comes first is not always the same.
    for step in reversed(steps) if number % 2 else steps:
        yield from step


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


def _contenders(ground: Ground, folder: Path) -> Iterator[Contender]:
    counts = ground.counts

    def on_sqlite(name: str, settings: dict[str, str] | None = None) -> Callable[[], System]:
        return lambda: project(f"sqlite:///{folder / name}.sqlite3", settings)

    sixty_four = f"far=smtp://127.0.0.1:{ground.sink.port}?connections=64"
    threads = ("--pool", "threads", "--concurrency", "32")
    yield Contender("pattern", pattern, counts.pattern_emails, counts.far_pattern_emails)
    yield Contender("project", on_sqlite("full"), counts.emails)
    yield Contender(
        "project NORMAL",
        on_sqlite("normal", {"MAILER_SQLITE_SYNCHRONOUS": "NORMAL"}),
        counts.emails,
    )
    yield Contender("pattern, 32 threads", lambda: pattern(*threads), 0, counts.far_threads_emails)
    yield Contender(
        "project, 64 connections",
        on_sqlite("far", {"MAILER_TRANSPORTS": sixty_four}),
        0,
        counts.far_emails,
    )
    yield Contender("empty SQLite", on_sqlite("empty"), counts.emails)
    yield Contender("old SQLite", lambda: project(ground.old["SQLite"]), counts.emails)
    if (server := ground.postgresql) is None:
        return

    def on_postgresql(name: str) -> Callable[[], System]:
        return lambda: project(server.database(f"{name}{folder.name}"), also=(server.pid,))

    yield Contender("project PostgreSQL", on_postgresql("round"), counts.emails)
    yield Contender("empty PostgreSQL", on_postgresql("empty"), counts.emails)
    yield Contender("old PostgreSQL", lambda: project(ground.old["PostgreSQL"]), counts.emails)


def _contend(ground: Ground, folder: Path, contender: Contender) -> Iterator[Figure]:
    """Yield the figures of one contender that are wanted, if any is."""
    name = contender.name
    if any(figure.startswith(f"{name}: ") for figure in ground.wanted):
        own = folder / name.replace(" ", "-")
        with stand(contender.system(), ground.sink, own) as standing:
            for kinds, measured in _measurements(ground.counts, contender, standing):
                names = [f"{name}: {kind}" for kind in kinds]
                if ground.wants(*names):
                    yield from zip(names, measured(), strict=True)
    if name == "project" and ground.wants("limit"):
        yield from _limit(ground)  # right after the drain that is compared with it


def _measurements(
    counts: Counts, contender: Contender, standing: Stand
) -> Iterator[tuple[tuple[str, ...], Callable[[], tuple[float, ...]]]]:
    emails = contender.emails
    yield ("p50", "p99"), lambda: standing.latencies(counts.calls)
    yield ("sent", "cpu", "MB"), lambda: standing.end_to_end(emails)[:3]
    yield ("many",), lambda: standing.end_to_end(emails, chunk=counts.chunk)[:1]
    yield ("far", "open"), lambda: _far(standing, contender.far_emails, counts.chunk)
    yield ("drain",), lambda: (standing.drain(emails, chunk=counts.chunk),)


def _far(standing: Stand, number: int, chunk: int) -> tuple[float, float]:
    """Measure how fast emails leave for afar, rather than how fast one producer accepts them."""
    sent = standing.end_to_end(number, chunk=chunk, far=FAR_SECONDS)
    return sent.per_second, sent.peak


def _limit(ground: Ground) -> Iterator[Figure]:
    """Yield the rate of two processes that render, write and send, and nothing else; and how much
    of a core the sink takes then, which is when it has most to do."""
    half = ground.counts.emails // 2
    ground.sink.reset()
    before = processes.cpu([ground.sink.pid])
    command = [sys.executable, "-m", "benchmarks.limit", str(ground.sink.port)]
    running = [
        subprocess.Popen([*command, str(first), str(half)], cwd=CHECKOUT) for first in (0, half)
    ]
    if any(process.wait(PATIENCE_SECONDS) for process in running):
        raise SystemExit("the limit could not be measured")
    accepted = ground.sink.wait_for(2 * half, PATIENCE_SECONDS, str, smallest=work.SMALLEST)
    used = processes.cpu([ground.sink.pid]) - before
    yield "limit", accepted.steady()
    yield "sink", used / (accepted.stamps[-1] - accepted.stamps[0])


_ACCEPTED = [(door, kind) for kind in ("FULL", "NORMAL") for door in ("bare", "API", "API batch")]


def _accepted(ground: Ground, folder: Path, door: str, kind: str) -> Iterator[Figure]:
    """Yield how many emails a second come in by a door, with SQLite's way to keep them."""
    name = f"{door} {kind}"
    if ground.wants(name):
        settings = {"MAILER_SQLITE_SYNCHRONOUS": kind}
        own = folder / name.replace(" ", "-")
        yield name, accepting.per_second(door, own, settings, ground.counts.accepted)


def _console(ground: Ground, folder: Path, kind: str) -> Iterator[Figure]:
    """Yield the milliseconds of each page of the console, and of the slowest."""
    if not ground.wants(f"console {kind}"):
        return
    slowest = 0.0
    for page, milliseconds in console.times(ground.month[kind], folder / f"console-{kind}"):
        slowest = max(slowest, milliseconds)
        yield f"console {kind} {page}", milliseconds
    yield f"console {kind}", slowest


def _alone(ground: Ground) -> Iterator[Figure]:
    """Yield the figures that are compared with nothing but their targets."""
    for kind, url in ground.old.items():
        if ground.wants(f"old {kind}: sweep"):
            yield f"old {kind}: sweep", ledgers.sweep_ms(url)
    if ground.wants("claim"):
        yield "claim", ledgers.claim_ms(ground.waiting, ground.counts.claim)
    if ground.wants("demo"):
        yield "demo", demo.first_email_seconds(ground.folder / "dev")
