"""A process that forks while one of its threads stores an email, for tests: told its settings as
JSON and at which moment to fork, it says as JSON what each process could do then.

Not in the process of the tests, whose threads a fork would leave behind as well.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from mailer import create_app, dispatch, engines
from mailer.errors import LedgerUnavailable
from mailer.state import State, of


def in_line(state: State, reached: threading.Event, may_go: threading.Event) -> None:
    """Lead the line of those that store in SQLite, and have not begun to write."""
    joint = state.ledger._joint
    store = joint._record

    def wait(drafts: Any) -> Any:
        reached.set()
        may_go.wait()
        return store(drafts)

    joint._record = wait
    attempt(state, "thread")


def in_write(state: State, reached: threading.Event, may_go: threading.Event) -> None:
    """Write."""
    with state.database.begin():
        reached.set()
        may_go.wait()


MOMENTS: dict[str, Callable[[State, threading.Event, threading.Event], None]] = {
    "line": in_line,
    "write": in_write,
}


def attempt(state: State, name: str) -> str:
    """Store an email; say how it went."""
    try:
        with state.app.app_context():
            dispatch(to=f"{name}@example.com", subject="s", text="t")
    except LedgerUnavailable as error:
        return str(error)
    return "stored"


def main(settings: str, moment: str) -> None:
    engines.BUSY_SECONDS = 0.5  # type: ignore[assignment]
    state = of(create_app(json.loads(settings)))
    attempt(state, "parent")
    reached, may_go = threading.Event(), threading.Event()
    thread = threading.Thread(target=MOMENTS[moment], args=(state, reached, may_go))
    thread.start()
    reached.wait()
    answers, answer = os.pipe()
    orders, order = os.pipe()
    if (child := os.fork()) == 0:
        os.write(answer, f"{attempt(state, 'child')}\n".encode())
        os.read(orders, 1)
        os.write(answer, f"{attempt(state, 'later')}\n".encode())
        os._exit(0)
    os.close(answer)
    with open(answers) as told:
        at_once = told.readline().strip()
        may_go.set()
        thread.join()
        os.write(order, b".")
        later = told.readline().strip()
    os.waitpid(child, 0)
    went = {"child": at_once, "later": later, "parent": attempt(state, "again")}
    sys.stdout.write(json.dumps(went))


if __name__ == "__main__":
    main(*sys.argv[1:])
