"""One command for development: everything that the app needs, and the app."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from ..errors import MailerError
from .demo import Demo
from .guardian import Guardian
from .ports import HOST
from .stack import Ports, child_environment, choose_ports, development_services
from .state import StateDirectory
from .supervisor import Supervisor
from .terminal import Hangup, Terminal


def run(
    *,
    migrate: Callable[[str], None],
    environment: Mapping[str, str],
    directory: Path = Path("var/dev"),
    demo: bool = False,
    exit_after_demo: bool = False,
    verbose: bool = False,
    stream: TextIO | None = None,
) -> int:
    """Run the development stack until a signal or its terminal is gone; return the exit code.

    ``migrate`` brings the ledger at a database URL up to date. ``environment`` is the user's
    (with what ``.env`` adds): what it sets wins over the stack's own servers. With ``demo`` the
    main job is shown once everything is up, and 0 means that its emails arrived.
    """
    began = time.monotonic()
    hung_up = Hangup()
    stream = stream or sys.stdout
    terminal = Terminal(stream, colour=stream.isatty() and not environment.get("NO_COLOR"))

    def show_off(ports: Ports, state: StateDirectory, stopping: threading.Event) -> bool:
        took = f"Ready after {time.monotonic() - began:.1f} s"
        terminal.lines([f"  {terminal.style(took, 'bold')}", ""])
        if not demo or ports.inbox is None:
            return True
        return Demo(
            app=f"http://{HOST}:{ports.web}",
            inbox=f"http://{HOST}:{ports.inbox}",
            terminal=terminal,
            stopping=stopping,
            worker_log=state.logs / "worker.log",
        ).run()

    try:
        state = StateDirectory(directory)
        with state.locked() as lock, contextlib.closing(Guardian(keep_open=[lock])) as guardian:
            terminal.lines(["", terminal.style("  Starting", "bold")])
            ports = choose_ports(environment, terminal, demo=demo)
            settings = child_environment(environment, ports, state)
            supervisor = Supervisor(
                development_services(ports, state),
                logs=state.logs,
                guardian=guardian,
                terminal=terminal,
                environment=settings,
                verbose=verbose,
                hung_up=hung_up,
            )
            with state.environment_file(settings) as exports:
                return supervisor.run(
                    lambda stopping: show_off(ports, state, stopping),
                    prepare=lambda: migrate(settings["FLASK_MAILER_DATABASE_URL"]),
                    farewell=lambda: _show_addresses(terminal, ports, state, exports),
                    end_after_job=exit_after_demo,
                )
    except MailerError as error:
        terminal.line(terminal.style(f"  {error}", "red"))
        return 1


def _show_addresses(terminal: Terminal, ports: Ports, state: StateDirectory, exports: Path) -> None:
    rows = [("App", f"http://{HOST}:{ports.web}")]
    if ports.inbox is not None:
        rows.append(("Inbox", f"http://{HOST}:{ports.inbox}"))
    asked = {
        name: f"(. {_from_here(exports)} && {_mailer()} {words})"
        for name, words in (
            ("Sign in", "users add me --role admin --generate"),
            ("API key", "keys create demo"),
            ("Ask it", "status"),
        )
    }
    rows += [("Console", f"http://{HOST}:{ports.web}/ops"), ("Sign in", asked["Sign in"])]
    rows += [("API", f"http://{HOST}:{ports.web}/api/docs"), ("API key", asked["API key"])]
    rows += [("Logs", str(state.logs)), ("Ask it", asked["Ask it"]), ("Stop", "Ctrl-C")]
    terminal.lines(
        ["", *(f"  {terminal.style(f'{name:<7}', 'bold')} {text}" for name, text in rows), ""]
    )


def _mailer() -> str:
    """Return the command line's name as it can be typed here."""
    command = Path(sys.executable).with_name("mailer")
    if os.access(command, os.X_OK):
        return _from_here(command)
    return f"{_from_here(Path(sys.executable))} -m mailer"


def _from_here(path: Path) -> str:
    """Return the path for a shell, from the current directory if it lies below."""
    here = Path.cwd()
    if path.is_relative_to(here):
        # A name without a slash would be looked for on PATH.
        shown = str(path.relative_to(here))
        return shlex.quote(shown if "/" in shown else f"./{shown}")
    return shlex.quote(str(path))
