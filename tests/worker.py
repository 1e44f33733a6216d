"""Real Celery workers and beats, in processes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parent.parent


class Process:
    """A running command whose output is kept."""

    def __init__(
        self,
        command: list[str],
        environ: Mapping[str, str],
        log: Path,
        *,
        folder: Path = CHECKOUT,
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **environ},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._popen.poll()

    def received(self) -> int:
        """Return how many ``send_email`` tasks the worker has received."""
        return len(re.findall(r"Task mailer\.send_email\[[^]]+\] received", self.output))

    @property
    def pid(self) -> int:
        return self._popen.pid

    def signal(self, number: int) -> None:
        """Send a signal to it, and not to its children."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """Kill it and its children with SIGKILL, at once."""
        os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait(10)

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        if self._popen.poll() is None:
            self._popen.terminate()
            try:
                self._popen.wait(30)
            except subprocess.TimeoutExpired as error:
                self.kill()
                raise AssertionError(f"did not end: {self.output[-3000:]}") from error


@contextmanager
def worker(
    settings: Mapping[str, Any], log: Path, *options: str, app: str = "make_celery"
) -> Iterator[Process]:
    """Run ``celery -A make_celery worker`` with ``settings``; yield once it is ready."""
    process = _celery(app, settings, log, "worker", "--loglevel", "INFO", *options)
    try:
        wait_until(lambda: " ready." in process.output, 20, lambda: process.output)
        yield process
    finally:
        process.stop()


@contextmanager
def beat(settings: Mapping[str, Any], log: Path) -> Iterator[Process]:
    """Run ``celery -A make_celery beat`` with ``settings``."""
    schedule = str(log.with_suffix(".schedule"))
    process = _celery(
        "make_celery", settings, log, "beat", "--loglevel", "INFO", "--schedule", schedule
    )
    try:
        wait_until(lambda: "beat: Starting" in process.output, 20, lambda: process.output)
        yield process
    finally:
        process.stop()


def _celery(app: str, settings: Mapping[str, Any], log: Path, *command: str) -> Process:
    return Process(
        [sys.executable, "-m", "celery", "-A", app, *command], environment(settings), log
    )


def environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return ``settings`` as environment variables."""
    flat: dict[str, Any] = dict(settings)
    for name, value in flat.pop("CELERY", {}).items():
        flat[f"CELERY__{name}"] = value
    return {
        f"FLASK_{name}": value if isinstance(value, str) else json.dumps(value)
        for name, value in flat.items()
    }


def wait_until(
    condition: Callable[[], object], seconds: float, explain: Callable[[], object] = lambda: ""
) -> None:
    """Wait until ``condition`` holds; fail with what ``explain`` says when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s; {explain()}")
        time.sleep(0.02)
