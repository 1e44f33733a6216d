"""An application that dispatches, in a process of its own, and writes down what it was told.

Each line of FOLDER/told is ``began seconds id recipient``, or ``began seconds refused recipient``
where dispatch raised: the caller then knows that nothing was accepted.
Usage: ``client load NAME NUMBER PER_SECOND`` or ``client steps NAME=POLICY=LANE ...`` or
``client stream NAME NUMBER PER_SECOND [ARGUMENT=VALUE ...]``: arguments of dispatch, and
``send_in`` and ``expires_in`` in seconds.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from mailer import Attachment, create_app, dispatch
from mailer.doorbell import TASK, Doorbell
from mailer.errors import LedgerUnavailable
from mailer.ledger import Ledger

from .striking import folder, strike

LARGE = 6_000_000
"""Bytes that do not fit into the buffers of a loopback connection."""


def load(app: Any, name: str, number: int, per_second: float) -> None:
    """Dispatch so many emails, at most so fast."""
    due = time.monotonic()
    for position in range(number):
        _dispatch(app, f"{name}-{position}@example.com")
        due += 1 / per_second
        time.sleep(max(0, due - time.monotonic()))


def steps(app: Any, cases: list[str]) -> None:
    """Dispatch one email for each case, in a child that may die on the way."""
    for case in cases:
        name, policy, lane = case.split("=")
        child = os.fork()
        if not child:
            recipient = f"{name}@example.com"
            _deadly(app, recipient)
            large = [Attachment(filename="large.bin", data=bytes(LARGE))]
            attached = large if name.startswith("body-") else []
            _dispatch(app, recipient, on_unknown=policy, lane=lane, attachments=attached)
            os._exit(0)
        os.waitpid(child, 0)


def _dispatch(app: Any, recipient: str, **arguments: Any) -> None:
    began, clock = time.time(), time.monotonic()
    try:
        with app.app_context():
            email = dispatch(to=recipient, subject="A fault", text="Hello", **arguments)
        told = email.id
    except LedgerUnavailable:
        told = "refused"
    line = f"{began:.6f} {time.monotonic() - clock:.6f} {told} {recipient}\n"
    with (folder() / "told").open("ab", buffering=0) as file:
        file.write(line.encode())


def stream(app: Any, name: str, number: int, per_second: float, arguments: dict[str, str]) -> None:
    """Dispatch so many emails, at most so fast, or until FOLDER/NAME.enough is there."""
    due = time.monotonic()
    for position in range(number):
        if (folder() / f"{name}.enough").exists():
            return
        _dispatch(app, f"{name}-{position}@example.com", **_timed(arguments))
        due += 1 / per_second
        time.sleep(max(0, due - time.monotonic()))


def _timed(arguments: dict[str, str]) -> dict[str, Any]:
    now = datetime.now(UTC)
    instants = {"send_in": "send_at", "expires_in": "expires_at"}
    return {
        instants.get(key, key): now + timedelta(seconds=float(value)) if key in instants else value
        for key, value in arguments.items()
    }


def _deadly(app: Any, recipient: str) -> None:
    """Die at the step of dispatch that the recipient is named after."""
    record, ring = Ledger.record, Doorbell.ring
    task = app.extensions["celery"].tasks[TASK]
    publish = task.apply_async

    def recorded(*args: Any) -> Any:
        result = record(*args)
        strike("commit_before", [recipient])
        return result

    def rung(doorbell: Doorbell, lane: str, email_id: str) -> bool:
        strike("commit_after", [recipient])
        if recipient.startswith("ring"):
            doorbell.answer(lane)  # or nothing would be published, when another rang just before
        return ring(doorbell, lane, email_id)

    def published(*args: Any, **kwargs: Any) -> Any:
        strike("ring_within", [recipient])
        result = publish(*args, **kwargs)
        strike("ring_after", [recipient])
        return result

    Ledger.record = recorded  # type: ignore[method-assign,assignment]
    Doorbell.ring = rung  # type: ignore[method-assign,assignment]
    task.apply_async = published


if __name__ == "__main__":
    if sys.argv[1] == "load":
        load(create_app(), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    elif sys.argv[1] == "stream":
        given = dict(argument.split("=", 1) for argument in sys.argv[5:])
        stream(create_app(), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), given)
    else:
        steps(create_app(), sys.argv[2:])
