"""An application that dispatches, in a process of its own, and writes down what it was told.

Each line of FOLDER/told is ``began seconds id recipient``, or ``began seconds refused recipient``
where dispatch raised: the caller then knows that nothing was accepted. (``unknown``: that nobody
knows, because the commit was cut off.) Usage, each CASE being ``NAME=POLICY=LANE``:

- ``client load NAME NUMBER PER_SECOND [ARGUMENT=VALUE ...]``: arguments of dispatch, ``send_in``
  and ``expires_in`` in seconds; of values such as ``resend|hold`` one after the other
- ``client send CASE ...``: at once; the sender is named like the recipient
- ``client steps CASE ...``: each in a child that may die on the way
- ``client bulk NAME NUMBER``: in the lane bulk, telling nothing of each
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from mailer import Attachment, create_app, dispatch, dispatch_many
from mailer.doorbell import TASK, Doorbell
from mailer.errors import LedgerUnavailable
from mailer.ledger import record

from .striking import folder, strike

LARGE = 6_000_000
"""Bytes that do not fit into the buffers of a loopback connection."""


def load(app: Any, name: str, number: int, per_second: float, arguments: dict[str, str]) -> None:
    """Dispatch so many emails, at most so fast, or until FOLDER/NAME.enough is there."""
    due = time.monotonic()
    for position in range(number):
        if (folder() / f"{name}.enough").exists():
            return
        values = {key: words.split("|") for key, words in arguments.items()}
        given = {key: words[position % len(words)] for key, words in values.items()}
        _dispatch(app, f"{name}-{position}@example.com", **_timed(given))
        due += 1 / per_second
        time.sleep(max(0, due - time.monotonic()))


def _timed(arguments: dict[str, str]) -> dict[str, Any]:
    """Return arguments of dispatch: what was in seconds from now is an instant."""
    given: dict[str, Any] = dict(arguments)
    for words, argument in (("send_in", "send_at"), ("expires_in", "expires_at")):
        if words in given:
            given[argument] = datetime.now(UTC) + timedelta(seconds=float(given.pop(words)))
    return given


def bulk(app: Any, name: str, number: int) -> None:
    """Dispatch so many emails in the lane bulk, a thousand in each transaction."""
    emails = [
        {"to": f"{name}-{position}@example.com", "subject": "News", "text": "News", "lane": "bulk"}
        for position in range(number)
    ]
    with app.app_context():
        for first in range(0, number, 1000):
            dispatch_many(emails[first : first + 1000])


def send(app: Any, cases: list[str]) -> None:
    """Dispatch one email for each case, at once; its sender is named like its recipient."""
    large = [Attachment(filename="large.bin", data=bytes(LARGE))]
    for case in cases:
        name, policy, lane = case.split("=")
        _dispatch(
            app,
            f"{name}@example.com",
            sender=f"{name}@acme.example",
            on_unknown=policy,
            lane=lane,
            attachments=large if name.startswith("body") else [],
        )


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
    except LedgerUnavailable as error:
        told = "unknown" if error.maybe_stored else "refused"
    line = f"{began:.6f} {time.monotonic() - clock:.6f} {told} {recipient}\n"
    with (folder() / "told").open("ab", buffering=0) as file:
        file.write(line.encode())


def _deadly(app: Any, recipient: str) -> None:
    """Die at the step of dispatch that the recipient is named after."""
    stored = record.record
    task = app.extensions["celery"].tasks[TASK]
    publish = task.apply_async

    def recorded(connection: Any, drafts: Any, *args: Any) -> Any:
        # In PostgreSQL the one statement of a plain email commits itself.
        commits = connection.dialect.name == "postgresql" and record.is_plain(drafts)
        if commits:
            strike("commit_before", [recipient])
        result = stored(connection, drafts, *args)
        strike("commit_before", [recipient])
        return result

    def rung(doorbell: Doorbell, lane: str, email_id: str) -> None:
        strike("commit_after", [recipient])
        while not doorbell.ring(lane, email_id) and recipient.startswith("ring"):
            doorbell.answer(lane)  # nothing was published, for another rang just before

    def published(*args: Any, **kwargs: Any) -> Any:
        strike("ring_within", [recipient])
        result = publish(*args, **kwargs)
        strike("ring_after", [recipient])
        return result

    record.record = recorded  # type: ignore[assignment]
    Doorbell.ring_for_commit = rung  # type: ignore[method-assign,assignment]
    task.apply_async = published


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    if what == "load":
        name, number, per_second, *given = words
        arguments = dict(argument.split("=", 1) for argument in given)
        load(create_app(), name, int(number), float(per_second), arguments)
    elif what == "bulk":
        bulk(create_app(), words[0], int(words[1]))
    else:
        {"send": send, "steps": steps}[what](create_app(), words)
