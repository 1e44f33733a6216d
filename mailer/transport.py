"""A named way out: sends envelopes to a server, one outcome for each."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from time import monotonic
from typing import NamedTuple

from .outcome import Kind, Outcome
from .pace import Pace
from .pool import Pool
from .smtp import ConnectFailed, Connection, Envelope, Interrupted, Observer, Server

_LOSSES_IN_A_ROW = 3
GROUP_BYTES = 100_000
"""A group is no larger, unless it is one message."""


class Step(NamedTuple):
    """One line of what `Transport.test` saw."""

    who: str
    """client, server, note or result."""
    words: str
    outcome: Outcome | None = None
    """With the result: what became of the message, or why there is no connection."""


def _always(_: int = 0) -> bool:
    return True


class Transport:
    """Sends envelopes from any number of threads, each over a connection of its own."""

    def __init__(
        self,
        name: str,
        server: Server,
        *,
        max_messages_per_connection: int = 1000,
        max_idle_seconds: float = 30,
        observe: Observer | None = None,
    ) -> None:
        """``observe`` hears all that is said on every connection, less the secrets."""
        self.name = name
        self.server = server
        self.pool = Pool(
            server,
            transport=name,
            max_messages=max_messages_per_connection,
            max_idle=max_idle_seconds,
            observe=observe,
        )
        self.pace = Pace()

    def send(
        self,
        envelopes: Iterable[Envelope],
        *,
        may_start: Callable[[], bool] = _always,
        mark: Callable[[int], bool] = _always,
        until: float = math.inf,
    ) -> Generator[Outcome, None, None]:
        """Yield exactly one outcome for each envelope, in order.

        Envelopes are taken one ahead of the outcomes, or as a `group` at once. ``may_start`` is
        asked before anything is done for one; once it says False, that envelope and all that follow
        are NOT_STARTED. ``mark`` is asked for each message, by its position among those whose
        outcome is still to come, when nothing but the message is left to send (or the group): the
        last moment to note that it may be out. It is asked again about what a server that left had
        not taken of a group. False likewise stops it. Until then no server is waited for any longer
        than ``until``, of the monotonic clock.
        Once no connection can be had, all that follow are UNAVAILABLE; once the login is refused
        for now, they are NOT_STARTED. What the iterable or ``may_start`` raises comes through, and
        nothing more is sent.
        """
        run = _Run(self.pool, self.pace, may_start, mark, until)
        try:
            source = iter(envelopes)
            envelope = next(source, None)
            while envelope is not None:
                if self._travels_alone(envelope):
                    following = next(source, None)
                    joins = following is not None and self._travels_alone(following)
                    yield run.deliver(envelope, following if joins else None)
                else:
                    group, following = self._gather(envelope, source)
                    yield from run.deliver_group(group)
                envelope = following or next(source, None)
        finally:
            run.end()

    @property
    def group(self) -> int:
        """How many messages may travel at once."""
        return self.pace.group if self.pool.takes_groups else 1

    def _travels_alone(self, envelope: Envelope) -> bool:
        return envelope.alone or self.group == 1

    def _gather(
        self, first: Envelope, source: Iterator[Envelope]
    ) -> tuple[list[Envelope], Envelope | None]:
        """Return a group, and the one after it if that was taken from ``source`` already."""
        group, size = [first], len(first.message)
        while len(group) < self.group and size < GROUP_BYTES:
            following = next(source, None)
            if following is None or following.alone:
                return group, following
            size += len(following.message)
            if size > GROUP_BYTES:  # what was answered would lie unread while it leaves
                return group, following
            group.append(following)
        return group, None

    def test(self, envelope: Envelope | None = None, *, until: float = math.inf) -> Iterator[Step]:
        """Talk to the server over a new connection and yield all that is said, less the secrets.

        Sends ``envelope`` if there is one. The last step is the result. As in `send`, nothing is
        waited for any longer than ``until``, but for a message that leaves.
        """
        steps: list[Step] = []

        def observe(who: str, words: str) -> None:
            steps.append(Step(who, words))

        try:
            connection = Connection(self.server, transport=self.name, observe=observe, until=until)
        except ConnectFailed as failed:
            yield from steps
            yield _result(failed.outcome)
            return
        result = Step("result", "the server can be used")
        try:
            yield from _emptied(steps)
            if envelope is not None:
                try:
                    result = _result(connection.deliver(envelope, until=until))
                except Interrupted as interrupted:
                    result = _result(interrupted.outcome)
        finally:
            connection.close()
        yield from steps
        yield result

    def close(self) -> None:
        """Close the connections that are kept. The transport can still be used."""
        self.pool.close()

    def forget(self) -> None:
        """In a forked child: drop every inherited connection without a word on it."""
        self.pool.forget()


class _Run:
    """One call of `Transport.send`: the connection that it holds, and why it stopped."""

    def __init__(
        self,
        pool: Pool,
        pace: Pace,
        may_start: Callable[[], bool],
        mark: Callable[[int], bool],
        until: float,
    ) -> None:
        self._pool = pool
        self._pace = pace
        self._may_start = may_start
        self._mark = mark
        self._until = until
        self._connection: Connection | None = None
        self._losses = 0
        self._verdict: Outcome | None = None
        """The outcome of all that follow, once the run has stopped."""

    def deliver(self, envelope: Envelope, following: Envelope | None) -> Outcome:
        if (verdict := self._stopped()) is not None:
            return verdict
        try:
            outcome = self._attempt(envelope, following)
        except ConnectFailed as failed:
            return self._unconnected(failed)
        if outcome.kind is Kind.NOT_STARTED:
            self._verdict = outcome
        else:
            self._count_losses(outcome)
        return outcome

    def deliver_group(self, group: Sequence[Envelope]) -> Iterator[Outcome]:
        """Deliver several at once; what a connection that ended has not taken goes over another."""
        waiting, stale = deque(group), False
        while waiting:
            if (verdict := self._stopped()) is not None:
                waiting.popleft()
                yield verdict
                continue
            try:
                connection = self._ready(new=stale)
            except ConnectFailed as failed:
                waiting.popleft()
                yield self._unconnected(failed)
                continue
            # It took groups when this one was gathered, or its DATA was already said.
            if not connection.takes_groups or connection.awaits(waiting[0]):
                yield self.deliver(waiting.popleft(), None)
                continue
            outcome = None
            for outcome in self._attempt_group(connection, list(waiting)):
                waiting.popleft()
                yield outcome
            stale = not connection.alive
            if outcome is not None and outcome.kind is not Kind.NOT_STARTED:
                self._count_losses(outcome)

    def _attempt_group(self, connection: Connection, group: list[Envelope]) -> Iterator[Outcome]:
        """Yield the outcomes of as many as the connection takes; of the first, if it is new."""
        new, began, heard = connection.delivered == 0, monotonic(), 0
        group = group[: max(1, self._pool.max_messages - connection.delivered)]
        try:
            for outcome in connection.deliver_group(group, mark=self._mark, until=self._until):
                heard += 1
                if outcome.kind is Kind.NOT_STARTED:
                    self._verdict = outcome
                yield outcome
            self._pace.took(monotonic() - began, len(group))
        except Interrupted as interrupted:
            if not connection.takes_groups:
                self._pace.take_no_groups()
            if not heard and (new or monotonic() >= self._until):
                yield interrupted.outcome

    def _stopped(self) -> Outcome | None:
        if self._verdict is None and not self._may_start():
            self._verdict = Outcome(Kind.NOT_STARTED)
        return self._verdict

    def _unconnected(self, failed: ConnectFailed) -> Outcome:
        self._verdict = failed.outcome
        if failed.outcome.kind is not Kind.UNAVAILABLE:
            # It was about this moment: nothing is known about the emails that follow.
            self._verdict = Outcome(Kind.NOT_STARTED)
        return failed.outcome

    def end(self) -> None:
        if self._connection is not None:
            self._pool.check_in(self._connection)

    def _attempt(self, envelope: Envelope, following: Envelope | None) -> Outcome:
        """Deliver over the connection at hand, and over a new one if that one turns out stale."""
        connection = self._ready()
        while True:
            new = connection.delivered == 0
            if connection.delivered + 1 >= self._pool.max_messages:
                following = None  # goes over the next connection
            try:
                began = monotonic()
                outcome = connection.deliver(
                    envelope, following=following, mark=self._mark, until=self._until
                )
                self._pace.took(monotonic() - began, 1)
                return outcome
            except Interrupted as interrupted:
                # Nothing of the message has left. A connection that did serve before tells
                # nothing about this email; what a new one does is the answer.
                if new or monotonic() >= self._until:
                    return interrupted.outcome
            connection = self._connection = self._pool.open(self._until)

    def _ready(self, *, new: bool = False) -> Connection:
        """Return a connection that may have another message; a ``new`` one, if that at hand was
        stale: others that are kept may be as well."""
        connection = self._connection
        if connection is not None and connection.delivered >= self._pool.max_messages:
            connection.close()
        if connection is None or not connection.alive:
            self._connection = None
            find = self._pool.open if new else self._pool.check_out
            connection = self._connection = find(self._until)
        return connection

    def _count_losses(self, outcome: Outcome) -> None:
        """Stop after a few broken connections in a row: the server is not well."""
        alive = self._connection is not None and self._connection.alive
        if alive or outcome.kind is Kind.SENT:  # a server may say goodbye after so many messages
            self._losses = 0
            return
        self._losses += 1
        if self._losses == _LOSSES_IN_A_ROW:
            words = f"{self._losses} connections in a row broke, the last with: {outcome.words}"
            self._verdict = outcome._replace(kind=Kind.UNAVAILABLE, words=words)


def _result(outcome: Outcome) -> Step:
    said = [str(part) for part in (outcome.code, outcome.enhanced, outcome.words) if part]
    return Step("result", f"{outcome.kind} at {outcome.stage}: {' '.join(said)}", outcome)


def _emptied(steps: list[Step]) -> list[Step]:
    taken = steps.copy()
    steps.clear()
    return taken
