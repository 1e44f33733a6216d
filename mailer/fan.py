"""Fan out: several conversations at once, a thread each, for a caller that stays in its own.

A server that is far away lets a conversation wait most of the time. The caller alone composes,
decides and keeps the ledger; the threads only talk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from queue import SimpleQueue
from typing import Any, TypeVar

Item = TypeVar("Item")
Heard = TypeVar("Heard")

Supply = Callable[[], Item | None]
"""Returns what a conversation is to deal with next; None: there is no more."""
Talk = Callable[[Supply[Item]], Iterator[Heard]]
"""A conversation: yields what it hears, and asks for the next when it has time for it."""

_ASKS = object()
_ENDS = object()


def fan_out(
    talks: Sequence[Talk[Item, Heard]], supply: Supply[Item], hear: Callable[[Heard], None]
) -> None:
    """Run all ``talks``. ``supply`` and ``hear`` are called in the thread of the caller.

    Whatever is raised, here or there, is raised once all have ended, which get nothing more to do;
    and what they hear until then is heard: a 250 must not be lost.
    """
    if len(talks) == 1:
        with closing(talks[0](supply)) as heard:  # type: ignore[type-var]
            for one in heard:
                hear(one)
        return
    events: SimpleQueue[tuple[int, Any]] = SimpleQueue()
    answers: list[SimpleQueue[Item | None]] = [SimpleQueue() for _ in talks]
    for number, talk in enumerate(talks):
        arguments = (number, talk, events, answers[number])
        threading.Thread(target=_converse, args=arguments, daemon=True).start()
    error: BaseException | None = None
    talking = len(talks)
    while talking:
        try:
            number, event = events.get()
            if event is _ENDS:
                talking -= 1
            elif event is _ASKS:
                answer = None
                try:
                    answer = supply() if error is None else None
                finally:
                    answers[number].put(answer)
            elif isinstance(event, BaseException):
                raise event
            else:
                hear(event)
        except BaseException as raised:  # noqa: BLE001 - raised below
            error = error or raised
    if error is not None:
        raise error


def _converse(
    number: int,
    talk: Talk[Item, Heard],
    events: SimpleQueue[tuple[int, Any]],
    answers: SimpleQueue[Item | None],
) -> None:
    def supply() -> Item | None:
        events.put((number, _ASKS))
        return answers.get()

    try:
        for heard in talk(supply):
            events.put((number, heard))
    except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
        events.put((number, error))
    finally:
        events.put((number, _ENDS))
