"""Kill this process with SIGKILL at one step of one email, once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable
from pathlib import Path

FOLDER = "FAULTS_FOLDER"
"""Environment variable: where the marks of what was struck are left."""


def folder() -> Path:
    return Path(os.environ[FOLDER])


def strike(step: str, recipients: Iterable[str]) -> None:
    """Die if one of the recipients is named after the step, and nobody died for it before."""
    for recipient in recipients:
        if recipient.startswith(f"{step}-"):
            _die_once(recipient)


def strike_when_waited_for(recipient: str) -> None:
    """Die as soon as the oracle waits in the middle of this recipient's message."""
    if recipient.startswith(("body-", "dot-")):
        threading.Thread(target=_watch, args=(recipient,), daemon=True).start()


def _watch(recipient: str) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if (folder() / f"{recipient}.waits").exists():
            _die_once(recipient)
            return
        time.sleep(0.002)


def _die_once(recipient: str) -> None:
    try:
        # The mark outlives us: a kill does not undo what the kernel was told.
        (folder() / f"{recipient}.killed").touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
