"""The terminal: what the person there sees, and whether it is still there."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def printable(text: str) -> str:
    """Replace control characters: what an email or a log says must not steer the terminal."""
    return "".join(
        character if character.isprintable() else "�" for character in text.replace("\t", "    ")
    )


class Terminal:
    """Writes whole lines, from any thread, in colour if asked to.

    A terminal that has gone away is no error: the services must still be stopped in order.
    """

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        self._stream = stream
        self._colour = colour
        self._lock = threading.Lock()

    def style(self, text: str, *styles: str) -> str:
        """Return ``text`` in the given styles (bold, dim, red, green, yellow, cyan)."""
        if not self._colour or not text:
            return text
        codes = ";".join(_CODES[style] for style in styles)
        return f"\x1b[{codes}m{text}\x1b[0m"

    def line(self, text: str = "") -> None:
        """Write one line."""
        self.lines([text])

    def lines(self, lines: Iterable[str]) -> None:
        """Write lines that belong together, with nothing in between."""
        text = "".join(f"{line}\n" for line in lines)
        encoding = self._stream.encoding or "utf-8"
        text = text.encode(encoding, errors="replace").decode(encoding)
        with self._lock:
            try:
                self._stream.write(text)
                self._stream.flush()
            except OSError:
                # From now on into the void, also what Python still holds back until it exits.
                void = os.open(os.devnull, os.O_WRONLY)
                os.dup2(void, self._stream.fileno())
                os.close(void)


class Hangup:
    """Notices the end of the terminal or of the parent, for a process that a terminal started.

    A signal alone does not tell: when a terminal closes, the kernel sends SIGHUP to the leader of
    its session, and one such as make only waits for its children then.

    Never true for a process that is meant to go on by itself: standard input is no terminal
    (systemd, nohup, "&" in a script), or is not our own (setsid), or SIGHUP is ignored.
    """

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._watching = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN and _has_terminal()

    def __call__(self) -> bool:
        """Say whether one of them is gone."""
        return self._watching and (os.getppid() != self._parent or not _has_terminal())


def _has_terminal() -> bool:
    try:
        os.tcgetpgrp(0)
    except OSError:
        return False
    return True
