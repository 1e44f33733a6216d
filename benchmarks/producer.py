"""A producer in a process of its own: ``producer project|pattern NUMBER CHUNK PAUSE``.

One call for each email, or for each chunk of them; a pause in seconds between two calls. Prints
one line of JSON: when it began, the seconds of each call, its own CPU seconds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from . import work

WARM_UP = 5
"""Calls before what is measured: connections are open then, and templates known."""

Call = Callable[[range], object]


@contextmanager
def project(chunk: int) -> Iterator[Call]:
    # Each system is loaded where the other is not, as it would be in an application.
    from mailer import create_app, dispatch, dispatch_many  # noqa: PLC0415

    def one(numbers: range) -> None:
        (number,) = numbers
        dispatch("order", to=work.recipient(number), context=work.context(number))

    def many(numbers: range) -> None:
        dispatch_many(
            {"template": "order", "to": work.recipient(number), "context": work.context(number)}
            for number in numbers
        )

    with create_app().app_context():
        yield one if chunk == 1 else many


@contextmanager
def pattern(chunk: int) -> Iterator[Call]:
    from .pattern import send_email  # noqa: PLC0415

    def one(numbers: range) -> None:
        for number in numbers:
            context = work.context(number)
            send_email.delay(work.recipient(number), work.subject(context), "order", context)

    yield one


def produce(call: Call, number: int, chunk: int, pause: float) -> dict[str, object]:
    seconds = []
    began, cpu = time.monotonic(), time.process_time()
    for first in range(0, number, chunk):
        before = time.perf_counter()
        call(range(first, min(first + chunk, number)))
        seconds.append(time.perf_counter() - before)
        if pause:
            time.sleep(pause)
    return {"began": began, "cpu": time.process_time() - cpu, "seconds": seconds}


def main(system: str, number: str, chunk: str, pause: str) -> None:
    with {"project": project, "pattern": pattern}[system](int(chunk)) as call:
        for warm in range(-WARM_UP, 0):
            call(range(warm, warm + 1))
        print(json.dumps(produce(call, int(number), int(chunk), float(pause))))


if __name__ == "__main__":
    main(*sys.argv[1:])
