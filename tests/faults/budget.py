"""Short timeouts for suites whose server misbehaves, and what they promise about time."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .misbehaving import talks
from .stand import Stand

SERVER = "tests.faults.misbehaving"
TIMEOUTS = {
    "MAIL_CONNECT_TIMEOUT_SECONDS": 0.8,
    "MAIL_TIMEOUT_SECONDS": 0.8,
    "MAIL_FINAL_TIMEOUT_SECONDS": 1.2,
    "MAILER_DRAIN_SECONDS": 2,
    "MAILER_TASK_SECONDS": 7,
    "MAILER_LEASE_SECONDS": 8,
}
BUSY_SECONDS = 1.0
"""How much later than it should a busy machine does something."""


def budget(settings: Mapping[str, float]) -> float:
    """Return the seconds that one email may take at worst."""
    connect, command, final = (
        settings[f"MAIL_{name}TIMEOUT_SECONDS"] for name in ("CONNECT_", "", "FINAL_")
    )
    return connect + 3 * command + final


BUDGET = budget(TIMEOUTS)


def check_that_no_worker_is_held(stand: Stand) -> None:
    """Check what the server saw of every conversation, and the workers' own time of every task."""
    for talk in talks(stand.folder):
        if talk.misdeed != "body_hang":  # then the server cannot see when the client leaves
            assert talk.ended - talk.began < BUDGET + BUSY_SECONDS, talk
    for worker in stand.workers:
        assert worker.starts == 1
        assert "time limit" not in worker.output
        tasks = re.findall(r"mailer\.send_email\S+ succeeded in ([0-9.]+)s", worker.output)
        assert tasks, "this worker has sent nothing"
        assert max(map(float, tasks)) < TIMEOUTS["MAILER_DRAIN_SECONDS"] + BUDGET + BUSY_SECONDS
    assert not stand.crashes(), "a claim was left to its lease"
