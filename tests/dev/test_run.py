"""The whole development stack, for real: Redis, catcher, worker, beat, web and the demo."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailer.dev.groups import has_ended

RUN = """
import os, pathlib, sys
from mailer.db import Database
from mailer.dev.run import run
sys.exit(run(
    migrate=lambda url: Database(url).upgrade(),
    environment=os.environ,
    directory=pathlib.Path("state"),
    demo="demo" in sys.argv,
    exit_after_demo="exit" in sys.argv,
))
"""


# Becomes a command that leads the session of the terminal on its standard input.
LEAD = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
LEAD += "os.execvp(sys.argv[1], sys.argv[1:])"


class Stack:
    """A run of the stack in ``directory``."""

    def __init__(self, directory: Path, *words: str, terminal: int | None = None) -> None:
        self.directory = directory
        self._output = directory / f"output{len(list(directory.glob('output*')))}"
        self._file = self._output.open("wb")
        clean = {name: value for name, value in os.environ.items() if name[:6] != "FLASK_"}
        command = [sys.executable, "-c", RUN, *words]
        if terminal is not None:
            (directory / "Makefile").write_text(f"demo:\n\t@{sys.executable} run.py\n")
            (directory / "run.py").write_text(RUN)
            command = [sys.executable, "-c", LEAD, "make", "demo"]
        self.environment = clean
        self.process = subprocess.Popen(
            command,
            cwd=directory,
            env=clean,
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            start_new_session=terminal is not None,
        )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def processes(self) -> dict[int, str]:
        """Every living process but this one that works in the directory, with its command."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdecimal() and (entry / "cwd").readlink() == self.directory:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found[int(entry.name)] = command
            except OSError:
                continue  # It has just ended, or belongs to somebody else.
        found.pop(os.getpid(), None)
        return {pid: command for pid, command in found.items() if not has_ended(pid)}

    def wait_for(self, condition: Callable[[], object], *, within: float) -> None:
        deadline = time.monotonic() + within
        while not condition():
            assert time.monotonic() < deadline, (self.output, self.processes())
            time.sleep(0.02)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._file.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    if not Path("/proc/self/cwd").exists():
        pytest.skip("looks for processes left behind in /proc, which this system has not")
    stacks: list[Stack] = []

    def start(*words: str, terminal: int | None = None) -> Stack:
        stacks.append(Stack(tmp_path.resolve(), *words, terminal=terminal))
        return stacks[-1]

    yield start
    for stack in stacks:
        stack.close()


def test_the_demo_ends_with_0_once_both_emails_have_arrived_and_leaves_nothing_behind(
    start: Callable[..., Stack],
) -> None:
    stack = start("demo", "exit")
    assert stack.process.wait(60) == 0, stack.output
    assert len(re.findall(r"in the inbox after \d+\.\d\d s", stack.output)) == 2
    ends = re.findall(r"(\w+) +[\d.]+ s  (?:stopped|killed)", stack.output)
    assert ends == ["web", "beat", "worker", "catcher", "redis"]
    assert "\x1b" not in stack.output
    assert stack.processes() == {}


def test_nothing_is_left_of_the_stack_when_its_worker_and_then_the_supervisor_are_killed(
    start: Callable[..., Stack],
) -> None:
    stack = start()
    stack.wait_for(lambda: "✓ beat" in stack.output, within=60)
    [worker, *pool] = sorted(
        pid for pid, command in stack.processes().items() if "make_celery worker" in command
    )
    assert len(pool) == 2
    os.kill(worker, signal.SIGKILL)
    stack.wait_for(lambda: stack.output.count("✓ worker") == 2, within=30)
    assert all(map(has_ended, pool))
    stack.process.kill()
    stack.process.wait()
    stack.wait_for(lambda: not stack.processes(), within=10)


def test_a_second_run_is_refused_and_an_interrupt_stops_the_first_in_time(
    start: Callable[..., Stack],
) -> None:
    stack = start()
    stack.wait_for(lambda: "✓ beat" in stack.output, within=60)
    second = Stack(stack.directory)
    assert second.process.wait(30) == 1
    second.close()
    assert re.search(rf"already runs in .*state \(process {stack.process.pid}\)", second.output)
    began = time.monotonic()
    stack.process.send_signal(signal.SIGINT)
    assert stack.process.wait(30) == 0
    # The budgets add up to less than five; a busy machine takes its time to start and to see ends.
    assert time.monotonic() - began < 6
    assert stack.processes() == {}


def test_the_line_in_the_banner_asks_the_running_stack(start: Callable[..., Stack]) -> None:
    stack = start("demo")
    stack.wait_for(lambda: "Ctrl-C" in stack.output, within=60)
    assert stack.output.index("✓ beat") < stack.output.index("  Ask it")
    [line] = re.findall(r"^  Ask it +(.+)$", stack.output, re.MULTILINE)

    def ask(line: str) -> str:
        return subprocess.run(
            ["sh", "-c", line],
            cwd=stack.directory,
            env=stack.environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert re.search(r"^redis .*: reachable$", ask(line), re.MULTILINE)
    assert "reset_password" in ask(line.replace(" status", " list"))
    stack.process.send_signal(signal.SIGINT)
    assert stack.process.wait(30) == 0
    assert not (stack.directory / "state/env").exists()


def test_a_terminal_that_closes_stops_what_make_started_in_it(
    start: Callable[..., Stack],
) -> None:
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    master, slave = pty.openpty()
    stack = start(terminal=slave)
    os.close(slave)
    stack.wait_for(lambda: "Ctrl-C" in stack.output, within=60)
    os.close(master)
    stack.wait_for(lambda: not stack.processes(), within=15)
    ends = re.findall(r"(\w+) +[\d.]+ s  (?:stopped|killed)", stack.output)
    assert ends == ["web", "beat", "worker", "catcher", "redis"]


def test_the_command_ends_after_the_demo_if_the_environment_says_so(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "mailer", "dev", "--demo", "--directory", "state"],
        env={**os.environ, "DEMO_EXIT": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "state" / "mailer.sqlite3").is_file()
    assert "Reset" in result.stdout
