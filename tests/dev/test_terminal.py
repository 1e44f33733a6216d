"""The terminal: what it shows, and that it may go away."""

from __future__ import annotations

import io
import os
import subprocess
import sys

from mailer.dev.terminal import Terminal, printable

WRITER = """
import sys
from mailer.dev.terminal import Terminal
terminal = Terminal(sys.stdout, colour=False)
for number in range(3):
    terminal.line(str(number))
"""


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
