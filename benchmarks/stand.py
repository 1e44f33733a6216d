"""A test stand: Redis, the sink, and a system whose workers can be started and ended."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

from mailer.db import Database
from mailer.dev.guardian import Guardian
from mailer.dev.redis import EmbeddedRedis
from mailer.values import database_url

from . import ledgers, processes, work
from .counter import CHECKOUT, Accepted, Sink
from .producer import WARM_UP

PATIENCE_SECONDS = 600.0

PAUSE_SECONDS = 0.04
"""Between two calls while workers idle: they are done with the one before."""

CALM_WITHIN_SECONDS = 10.0

REST_SECONDS = 0.5
"""After the last acceptance: a second copy would come, and what is left to do be done."""


class System(NamedTuple):
    """A way to send emails."""

    name: str
    """As `benchmarks.producer` knows it."""
    worker: tuple[str, ...]
    """Arguments for ``celery`` that start its workers."""
    environ: Mapping[str, str]
    ledger: str | None = None
    """URL of the ledger, which has to know of each email that it was sent. None: there is none."""
    beat: bool = False
    also: tuple[int, ...] = ()
    """Processes that work for it, such as a database server."""


def pattern(*pool: str) -> System:
    """The documented pattern; two worker processes unless a pool is named."""
    options = pool or ("--concurrency", "2")
    return System("pattern", ("-A", "benchmarks.pattern", "worker", *options), {})


def project(
    url: str, settings: Mapping[str, str] | None = None, *, also: tuple[int, ...] = ()
) -> System:
    """This project with a ledger, which is made, two worker processes and beat."""
    database = Database(database_url(url))
    database.upgrade()
    database.close()
    environ = settings_for(url, settings)
    worker = ("-A", "make_celery", "worker", "--concurrency", "2")
    return System("project", worker, environ, ledger=url, beat=True, also=also)


def settings_for(url: str, settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment that says how this project is to work with a ledger."""
    given = {
        "SECRET_KEY": "not a secret, this is a benchmark",
        "MAIL_DEFAULT_SENDER": work.SENDER,
        "MAILER_BASE_URL": "https://shop.example.com",
        "MAILER_TEMPLATES": str(work.TEMPLATES),
        "MAILER_DATABASE_URL": url,
        **(settings or {}),
    }
    return {f"FLASK_{name}": value for name, value in given.items()}


def environ_with(settings: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with ``settings`` instead of those that a developer has."""
    ours = {name: value for name, value in os.environ.items() if name[:6] != "FLASK_"}
    return {**ours, "PYTHONPATH": str(CHECKOUT), **settings}


class Produced(NamedTuple):
    """What a producer tells."""

    began: float
    cpu: float
    seconds: list[float]
    """Of each call."""


class Sent(NamedTuple):
    """What came of emails that were sent while they were produced."""

    per_second: float
    """From the first call to the last acceptance."""
    cpu: float
    """Seconds for a thousand of them, of all processes but the sink."""
    megabytes: float
    """Memory of a worker's process afterwards."""
    peak: int
    """Connections that were open at once."""


class Stand:
    """A system with an empty Redis of its own."""

    def __init__(self, system: System, redis: EmbeddedRedis, sink: Sink, folder: Path) -> None:
        self._system = system
        self._redis = redis
        self._sink = sink
        self._folder = folder
        self._guardian = Guardian()
        self._running: list[subprocess.Popen[bytes]] = []
        self._environ = environ_with(
            {
                "BENCHMARK_REDIS_URL": redis.url,
                "BENCHMARK_SMTP_PORT": str(sink.port),
                "FLASK_CELERY__broker_url": redis.url,
                "FLASK_MAIL_PORT": str(sink.port),
                **system.environ,
            }
        )

    def start(self) -> None:
        """Start the workers."""
        celery = [sys.executable, "-m", "celery"]
        commands = [[*celery, *self._system.worker, "--loglevel", "WARNING"]]
        if self._system.beat:
            schedule = str(self._folder / "beat")
            commands.append([*celery, "-A", "make_celery", "beat", "--schedule", schedule])
        for command in commands:
            # Not in ours, where a developer's .env may be: the settings are the default ones.
            with self._log.open("ab") as log, chdir(self._folder):
                self._running.append(
                    self._guardian.launch(command, log=log, environment=self._environ)
                )

    def warm(self) -> None:
        """Let workers run that have sent before what is measured."""
        if self._running:
            return
        self.start()
        self._sink.reset()
        self.produce(0)
        self._sink.wait_until_warm(WARM_UP, PATIENCE_SECONDS, self.words)
        self._wait_until_calm()

    def _wait_until_calm(self) -> None:
        """Wait for what is still about its start: beat, and the other process of the worker."""
        used, deadline = -math.inf, time.monotonic() + CALM_WITHIN_SECONDS
        while time.monotonic() < deadline and (now := self._cpu()) - used > 0.01:
            used = now
            time.sleep(0.2)

    def end(self) -> None:
        """Kill the workers: each has done its work, and Celery takes seconds for a farewell."""
        for process in self._running:
            self._guardian.end(process)
        self._running.clear()

    def close(self) -> None:
        self.end()
        self._guardian.close()

    def produce(self, number: int, *, chunk: int = 1, pause: float = 0) -> Produced:
        """Let a producer work, and wait for it."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "benchmarks.producer"),
                *(self._system.name, str(number), str(chunk), str(pause)),
            ],
            cwd=self._folder,
            env=self._environ,
            stdout=subprocess.PIPE,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"the producer ended with {done.returncode}\n{self.words()}")
        values: dict[str, Any] = json.loads(done.stdout)
        return Produced(**values)

    def latencies(self, number: int) -> tuple[float, float]:
        """Return the microseconds of half of the calls at most, and of 99 of 100, while workers
        idle."""
        self.warm()
        self._sink.reset()
        seconds = self.produce(number, pause=PAUSE_SECONDS).seconds
        self._arrived(number)
        return median(seconds) * 1e6, quantiles(seconds, n=100)[-1] * 1e6

    def end_to_end(self, number: int, *, chunk: int = 1, far: float = 0) -> Sent:
        """Send emails while they are produced, to a sink that is ``far`` seconds away."""
        self.warm()
        self._sink.be_far(far)
        self._sink.reset()
        before = self._cpu()
        produced = self.produce(number, chunk=chunk)
        accepted = self._arrived(number)
        used = self._cpu() - before + produced.cpu
        self._sink.be_far(0)
        megabytes = processes.megabytes_each(self._running[0].pid)
        return Sent(
            accepted.per_second(produced.began), used / number * 1000, megabytes, accepted.peak
        )

    def drain(self, number: int, *, chunk: int = 1) -> float:
        """Return emails per second when all of them wait as the workers start."""
        self.end()
        self._sink.reset()
        self.produce(number, chunk=chunk)
        self.start()
        return self._arrived(number).steady()

    def _arrived(self, number: int) -> Accepted:
        """Wait until all were accepted and are accounted for; there must be none too many."""
        self._sink.wait_for(number, PATIENCE_SECONDS, self.words)
        time.sleep(REST_SECONDS)
        if self._system.ledger is not None:
            ledgers.wait_until_settled(self._system.ledger)
        return self._sink.wait_for(number, PATIENCE_SECONDS, self.words, smallest=work.SMALLEST)

    def words(self) -> str:
        """Return the end of the log."""
        return self._log.read_text(errors="replace")[-3000:] if self._log.exists() else ""

    @property
    def _log(self) -> Path:
        return self._folder / f"{self._system.name}.log"

    def _cpu(self) -> float:
        redis = self._redis.process
        own = [process.pid for process in (*self._running, redis) if process is not None]
        return processes.cpu([*own, *self._system.also])


@contextmanager
def stand(system: System, sink: Sink, folder: Path) -> Iterator[Stand]:
    """Set a system up in a new folder; its workers are not started yet."""
    folder.mkdir(parents=True)
    with EmbeddedRedis(folder / "redis") as redis:
        standing = Stand(system, redis, sink, folder)
        try:
            yield standing
        finally:
            standing.close()
