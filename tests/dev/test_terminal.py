"""The terminal: what it shows, and that it may go away."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailer.dev.terminal import Terminal, printable

WRITER = """
import sys
from mailer.dev.terminal import Terminal
terminal = Terminal(sys.stdout, colour=False)
for number in range(3):
    terminal.line(str(number))
"""

# Leads the session of the terminal on its standard input; as make does, it survives a hangup and
# waits for its child. That one starts the process that watches, and waits too.
LEADER = """
import fcntl, pathlib, signal, subprocess, sys, termios, time
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGHUP, lambda *_: pathlib.Path("hangup").touch())
subprocess.run([sys.executable, *sys.argv[1:]])
pathlib.Path("orphaned").touch()
while True:
    time.sleep(60)
"""
PARENT = """
import os, pathlib, subprocess, sys
pathlib.Path("parent").write_text(str(os.getpid()))
stdin = None if sys.argv[2] == "terminal" else subprocess.DEVNULL
subprocess.run([sys.executable, "-c", *sys.argv[1:]], stdin=stdin)
"""
# Says, whenever it is asked by a signal, whether its terminal or its parent is gone.
WATCHER = """
import os, pathlib, signal, sys, time
from mailer.dev.terminal import Hangup
signal.signal(signal.SIGHUP, signal.SIG_IGN if sys.argv[2] == "ignored" else lambda *_: None)
hung_up = Hangup()
def answer(*_):
    pathlib.Path("answer.new").write_text(str(hung_up()))
    os.replace("answer.new", "answer")
signal.signal(signal.SIGUSR1, answer)
pathlib.Path("watcher.new").write_text(str(os.getpid()))
os.replace("watcher.new", "watcher")
time.sleep(60)
"""


class Session:
    """A terminal, the leader of its session, a parent and the process that watches them."""

    def __init__(self, directory: Path, stdin: str, sighup: str) -> None:
        self._directory = directory
        self._master: int | None
        self._master, slave = pty.openpty()
        self._leader = subprocess.Popen(
            [sys.executable, "-c", LEADER, "-c", PARENT, WATCHER, stdin, sighup],
            stdin=slave,
            cwd=directory,
            start_new_session=True,
        )
        os.close(slave)
        self._wait_for((directory / "watcher").exists)
        self._watcher = int((directory / "watcher").read_text())

    def _wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 15
        while not condition():
            assert time.monotonic() < deadline, sorted(self._directory.iterdir())
            time.sleep(0.01)

    def close_terminal(self) -> None:
        assert self._master is not None
        os.close(self._master)
        self._master = None
        self._wait_for((self._directory / "hangup").exists)

    def kill_parent(self) -> None:
        os.kill(int((self._directory / "parent").read_text()), signal.SIGKILL)
        self._wait_for((self._directory / "orphaned").exists)

    def hung_up(self) -> bool:
        answer = self._directory / "answer"
        answer.unlink(missing_ok=True)
        os.kill(self._watcher, signal.SIGUSR1)
        self._wait_for(answer.exists)
        return answer.read_text() == "True"

    def close(self) -> None:
        os.kill(self._watcher, signal.SIGKILL)
        self._leader.kill()
        self._leader.wait()
        if self._master is not None:
            os.close(self._master)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Session]]:
    sessions: list[Session] = []

    def begin(*, stdin: str = "terminal", sighup: str = "handled") -> Session:
        sessions.append(Session(tmp_path, stdin, sighup))
        return sessions[-1]

    yield begin
    for session in sessions:
        session.close()


LOSSES = [Session.close_terminal, Session.kill_parent]


@pytest.mark.parametrize("lose", LOSSES)
def test_the_loss_of_terminal_or_parent_is_noticed(
    begin: Callable[..., Session], lose: Callable[[Session], None]
) -> None:
    session = begin()
    assert not session.hung_up()
    lose(session)
    assert session.hung_up()


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize("detached", [{"stdin": "nothing"}, {"sighup": "ignored"}])
def test_a_process_that_is_to_go_on_by_itself_minds_neither(
    begin: Callable[..., Session], lose: Callable[[Session], None], detached: dict[str, str]
) -> None:
    session = begin(**detached)
    lose(session)
    assert not session.hung_up()


def test_a_terminal_that_has_gone_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", WRITER], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_the_encoding_lacks_is_replaced() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Terminal(stream, colour=False).line("✓ up")
    assert raw.getvalue() == b"? up\n"


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[2Jb\r\x07\tc é") == "a�[2Jb��    c é"


def test_styles_are_left_out_without_colour() -> None:
    assert Terminal(io.StringIO(), colour=False).style("up", "bold") == "up"
    assert Terminal(io.StringIO(), colour=True).style("up", "bold", "red") == "\x1b[1;31mup\x1b[0m"
