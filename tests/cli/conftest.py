"""The command line, run in this process on the service's app or as a process of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import Result
from flask import Flask

from mailer.cli import group
from mailer.dev.catcher import Catcher
from mailer.models import Delivery
from mailer.state import of

from ..conftest import AppFactory
from ..worker import environment

Run = Callable[..., Result]
OnTerminal = Callable[..., tuple[int, str]]


@pytest.fixture
def app(make_app: AppFactory, catcher: Catcher) -> Flask:
    """The service, sending to the catcher within the call that dispatches, deferring for long."""
    return make_app(
        MAIL_PORT=catcher.smtp_port,
        MAILER_BACKOFF_BASE_SECONDS=600,
        MAILER_BACKOFF_CAP_SECONDS=600,
    )


@pytest.fixture
def run(app: Flask) -> Run:
    """Run a command of ``mailer`` on the app: ``run("list", "--json")``."""

    def invoke(*words: str) -> Result:
        result = app.test_cli_runner().invoke(group, words)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def process_environment(settings: dict[str, Any], app: Flask, catcher: Catcher) -> dict[str, str]:
    """The environment in which ``python -m mailer`` works on the same ledger as the app."""
    return dict(os.environ) | environment({**settings, "MAIL_PORT": catcher.smtp_port})


@pytest.fixture
def on_terminal(process_environment: Mapping[str, str]) -> OnTerminal:
    """Run ``mailer`` on a terminal of 80 columns, with what is typed at once, or line by line when
    it asks; return code and output."""

    def invoke(*words: str, typed: str = "", answers: Sequence[str] = ()) -> tuple[int, str]:
        waiting = iter(answers)
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        clean = {name: value for name, value in process_environment.items() if name != "COLUMNS"}
        process = subprocess.Popen(
            [sys.executable, "-m", "mailer", *words],
            stdin=theirs, stdout=theirs, stderr=theirs, env=clean,
        )  # fmt: skip
        os.close(theirs)
        if typed:
            os.write(ours, typed.encode())
        said = b""
        patience = threading.Timer(30, process.kill)  # it may wait for an answer
        patience.start()
        with suppress(OSError):  # the end of a terminal whose other side has closed
            while piece := os.read(ours, 4096):
                said += piece
                # What is typed before a password is asked for is thrown away.
                if said.endswith(b": ") and (line := next(waiting, None)) is not None:
                    os.write(ours, f"{line}\n".encode())
        code = process.wait()
        patience.cancel()
        os.close(ours)
        return code, said.decode()

    return invoke


def as_process(environ: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m mailer`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "mailer", *words],
        env=dict(environ), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def change(app: Flask, **values: Any) -> None:
    """Set columns of every delivery, as time or a worker would have."""
    with of(app).database.begin() as connection:
        connection.execute(sa.update(Delivery).values(**values))


def written(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)
