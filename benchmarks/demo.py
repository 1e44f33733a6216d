"""How long a newcomer waits: from the start of the demo to its first email."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from .counter import CHECKOUT

ARRIVED = "in the inbox after"


def first_email_seconds(folder: Path) -> float:
    """Return the seconds until the demo shows its first email, the second time or a later one.

    ``folder`` is where it keeps its things.
    """
    if not folder.exists():
        _run(folder)
    return _run(folder)


def _run(folder: Path) -> float:
    environ = {name: value for name, value in os.environ.items() if name[:6] != "FLASK_"}
    command = [sys.executable, "-m", "mailer", "dev", "--demo", "--exit"]
    began = time.monotonic()
    with subprocess.Popen(
        [*command, "--directory", str(folder)],
        cwd=folder.parent,
        env={**environ, "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        said = []
        for line in process.stdout or ():
            said.append(line)
            if ARRIVED in line:
                seconds = time.monotonic() - began
                process.communicate(timeout=60)
                return seconds
    raise SystemExit("the demo showed no email:\n" + "".join(said))
