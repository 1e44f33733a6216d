"""A test stand: the oracle, clients, beat, and workers that a supervisor brings back."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import sqlalchemy as sa

from mailer.db import Database
from mailer.models import Attempt, Delivery
from mailer.values import database_url

from ..worker import Process, environment, wait_until
from .oracle import Oracle, oracle
from .striking import FOLDER

SHORT = {
    "MAIL_CONNECT_TIMEOUT_SECONDS": 0.5,
    "MAIL_TIMEOUT_SECONDS": 0.5,
    "MAIL_FINAL_TIMEOUT_SECONDS": 1,
    "MAILER_DRAIN_SECONDS": 1,
    "MAILER_TASK_SECONDS": 4,
    "MAILER_LEASE_SECONDS": 5,
}
"""A lease as short as its relations allow on a busy machine, so that a run need not wait long."""


class Told(NamedTuple):
    """What a client was told about one dispatch."""

    began_at: float
    seconds: float
    email_id: str
    """``refused`` when dispatch raised, ``unknown`` when it said that nobody knows."""
    recipient: str

    @property
    def is_accepted(self) -> bool:
        return self.email_id not in {"refused", "unknown"}


class Worker:
    """A worker that is started again whenever it ends, as every worker in production must be."""

    def __init__(self, app: str, environ: Mapping[str, str], log: Path, *options: str) -> None:
        self._command = [sys.executable, "-m", "celery", "-A", app, "worker", *options]
        self._environ = environ
        self._log = log
        self._ending = threading.Event()
        self._held_down = threading.Event()
        self.starts = 0
        self._process = self._start()
        self._thread = threading.Thread(target=self._supervise, daemon=True)
        self._thread.start()

    def _start(self) -> Process:
        self.starts += 1
        # In order: whoever finds the new process finds where its words begin.
        self._words_from = self._log.stat().st_size if self._log.exists() else 0
        return Process(self._command, self._environ, self._log)

    def _supervise(self) -> None:
        while not self._ending.wait(0.05):
            if self._process.exit_code is not None and not self._held_down.is_set():
                self._process = self._start()

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def ready(self) -> bool:
        """Whether the present process takes tasks."""
        return self._process.exit_code is None and " ready." in self.words

    @property
    def words(self) -> str:
        """What the present process has said."""
        return self._log.read_bytes()[self._words_from :].decode(errors="replace")

    def kill(self) -> float:
        """Kill it and its children with SIGKILL; return when."""
        self._process.kill()
        return time.time()

    @property
    def process(self) -> Process:
        """The present one."""
        return self._process

    def hold_down(self) -> None:
        """Once it ends, leave it so until `bring_back`."""
        self._held_down.set()

    def bring_back(self) -> None:
        self._held_down.clear()

    def ask_to_end(self) -> None:
        self._ending.set()
        self._thread.join()
        self._process.signal(signal.SIGTERM)

    def stop(self) -> None:
        self.ask_to_end()
        self._process.stop()


class Stand:
    """One stack with its ledger and its oracle. Use it in a with block."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        folder: Path,
        *,
        app: str = "make_celery",
        workers: int = 1,
        concurrency: int = 1,
        delay: float = 0,
        server: str = "tests.faults.oracle",
        port: int = 0,
        chunking: bool = False,
        environs: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """``server`` is the module that runs as the oracle; ``chunking``: it offers CHUNKING.
        ``environs`` is what each worker's environment has in addition."""
        self.folder = folder
        self._server = server
        self._settings = dict(settings)
        self._app = app
        self._number = workers
        self._concurrency = str(concurrency)
        self._delay = delay
        self._port = port
        self._chunking = chunking
        self._environs = environs or [{}] * workers
        self._ends = ExitStack()
        self.workers: list[Worker] = []
        self.oracle: Oracle
        self._clients = 0

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._chunking:
            (self.folder / "chunking").touch()
        with ExitStack() as ends:
            self.database = Database(database_url(self._settings["MAILER_DATABASE_URL"]))
            ends.callback(self.database.close)
            self.database.upgrade()
            self.oracle = ends.enter_context(
                oracle(self.folder, delay=self._delay, port=self._port, module=self._server)
            )
            self._settings |= {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": self.oracle.port}
            self.environ = {**environment(self._settings), FOLDER: str(self.folder)}
            ends.enter_context(self._beat())
            for number in range(self._number):
                self._add_worker(number, ends)
            wait_until(lambda: all(one.ready() for one in self.workers), 30, self.words)
            self._ends = ends.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self.workers:
            worker.ask_to_end()  # all at once: each takes Celery some seconds
        self._ends.close()

    @contextmanager
    def _beat(self) -> Iterator[None]:
        schedule = str(self.folder / "beat.schedule")
        command = [sys.executable, "-m", "celery", "-A", "make_celery", "beat"]
        process = Process(
            [*command, "--loglevel", "INFO", "--schedule", schedule],
            self.environ,
            self.folder / "beat.log",
        )
        try:
            yield
        finally:
            process.stop()

    def _add_worker(self, number: int, ends: ExitStack) -> None:
        options = ["--loglevel", "INFO", "--concurrency", self._concurrency]
        options += ["--hostname", f"w{number}@%h"]
        log = self.folder / f"worker{number}.log"
        environ = {**self.environ, **self._environs[number]}
        one = Worker(self._app, environ, log, *options)
        ends.callback(one.stop)
        self.workers.append(one)

    @contextmanager
    def client(self, *arguments: object) -> Iterator[Process]:
        """Run a client beside the block, and wait until it is done."""
        self._clients += 1
        process = Process(
            [sys.executable, "-m", "tests.faults.client", *map(str, arguments)],
            self.environ,
            self.folder / f"client{self._clients}.log",
        )
        try:
            yield process
            wait_until(lambda: process.exit_code is not None, 900)
            assert process.exit_code == 0, process.output
        finally:
            process.stop()

    def enough(self, name: str) -> None:
        """Let a client end that dispatches to recipients of this name."""
        (self.folder / f"{name}.enough").touch()

    def told(self, name: str = "") -> list[Told]:
        """Return what clients were told, about recipients whose name begins so."""
        path = self.folder / "told"
        lines = path.read_text().splitlines() if path.exists() else []
        found = (line.split(" ") for line in lines)
        return [
            Told(float(began_at), float(seconds), email_id, recipient)
            for began_at, seconds, email_id, recipient in found
            if recipient.startswith(name)
        ]

    def deliveries(self, name: str = "") -> list[sa.Row[Any]]:
        """Return what the ledger says about recipients whose name begins so."""
        # SQL's LIKE takes the underscore of a step's name for any character.
        query = sa.select(Delivery.__table__).where(Delivery.recipient.startswith(name))
        with self.database.read() as connection:
            return [row for row in connection.execute(query) if row.recipient.startswith(name)]

    def crashes(self, name: str = "") -> list[Any]:
        """Return the attempts that ended by their lease, with their delivery's last change."""
        columns = (Attempt.delivery_id, Attempt.ended_at, Delivery.updated_at, Delivery.recipient)
        query = sa.select(*columns).join(Delivery, Delivery.id == Attempt.delivery_id)
        with self.database.read() as connection:
            rows = connection.execute(query.where(Attempt.outcome == "crashed"))
            return [row for row in rows if row.recipient.startswith(name)]

    def wait_until_over(self, name: str = "", *, seconds: float) -> None:
        """Wait until the ledger expects nothing more to happen by itself."""

        def over() -> bool:
            return not [one for one in self.deliveries(name) if one.status in {"queued", "sending"}]

        wait_until(over, seconds, self.words)

    def words(self) -> str:
        """Return the ends of the logs."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in logs)


def killed_at(folder: Path) -> dict[str, float]:
    """Return when a process died for which recipient."""
    # A file's time is that of the kernel's last tick, up to 10 ms ago.
    return {mark.stem: os.stat(mark).st_mtime + 0.01 for mark in folder.glob("*.killed")}
