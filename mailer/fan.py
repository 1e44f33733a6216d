"""Fan out: several conversations at once, a thread each, for a caller that stays in its own.

A server that is far away lets a conversation wait most of the time. The caller alone composes,
decides and keeps the ledger; the threads only talk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Heard = TypeVar("Heard")

Supply = Callable[[], Sequence[Item]]
"""Returns what a conversation is to deal with next; nothing: there is no more."""
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
        _talk_here(talks[0], supply, hear)
    else:
        _Fan(talks, supply, hear).run()


def _talk_here(
    talk: Talk[Item, Heard], supply: Supply[Item], hear: Callable[[Heard], None]
) -> None:
    """Run the only conversation in the caller's own thread."""
    error: BaseException | None = None

    def supply_until_then() -> Sequence[Item]:
        return supply() if error is None else ()

    with closing(talk(supply_until_then)) as heard:  # type: ignore[type-var]
        for one in heard:
            try:
                hear(one)
            except BaseException as raised:  # noqa: BLE001 - the first is raised below
                error = error or raised
    if error is not None:
        raise error


class _Fan(Generic[Item, Heard]):
    def __init__(
        self,
        talks: Sequence[Talk[Item, Heard]],
        supply: Supply[Item],
        hear: Callable[[Heard], None],
    ) -> None:
        self._talks = talks
        self._supply = supply
        self._hear = hear
        self._events: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        self._answers: list[SimpleQueue[Sequence[Item]]] = [SimpleQueue() for _ in talks]
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()

    def run(self) -> None:
        error: BaseException | None = None
        try:
            self._start()
            self._listen()
        except BaseException as raised:  # noqa: BLE001 - raised below
            error = raised
        # A signal's handler may have raised with an event in hand, which is lost: from here on
        # nobody waits for one.
        self._over.set()
        for answers in self._answers:
            answers.put(())
        while True:
            try:
                if not self._is_talking():
                    break
                self._hear_out()
            except BaseException as raised:  # noqa: BLE001 - the first is raised
                error = error or raised
        if error is not None:
            raise error

    def _start(self) -> None:
        for number in range(len(self._talks)):
            thread = threading.Thread(target=self._converse, args=(number,), daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads to be had: those that there are will do
                if not self._threads:
                    raise
                return
            self._threads.append(thread)

    def _listen(self) -> None:
        talking = len(self._threads)
        while talking:
            number, event = self._events.get()
            if event is _ENDS:
                talking -= 1
            elif event is _ASKS:
                self._answers[number].put(self._supply())
            elif isinstance(event, BaseException):
                raise event
            else:
                self._hear(event)

    def _is_talking(self) -> bool:
        return any(thread.is_alive() for thread in self._threads) or not self._events.empty()

    def _hear_out(self) -> None:
        if self._events.empty():
            for thread in self._threads:
                thread.join(0.05)
            return
        _, event = self._events.get()
        if not (event is _ENDS or event is _ASKS or isinstance(event, BaseException)):
            self._hear(event)

    def _converse(self, number: int) -> None:
        def supply() -> Sequence[Item]:
            if self._over.is_set():
                return ()
            self._events.put((number, _ASKS))
            return self._answers[number].get()

        try:
            for heard in self._talks[number](supply):
                self._events.put((number, heard))
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            self._events.put((number, error))
        finally:
            self._events.put((number, _ENDS))
