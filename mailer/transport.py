"""A named way out: a server, and the connections to it that are kept open between emails."""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from time import monotonic
from typing import NamedTuple

from .outcome import Kind, Outcome
from .smtp import ConnectFailed, Connection, Envelope, Interrupted, Observer, Server

_LOSSES_IN_A_ROW = 3
_MOST_SECONDS = 300.0
"""A server that wanted no more connections is asked again after so long."""
_RECKONED_WITH = 8
"""Fewer emails say little about what one costs."""
_GROUP = 10
"""Messages that travel at once: a connection that breaks leaves as many in doubt, and each may
arrive twice. With 20 a drain is 2 % faster."""
GROUP_BYTES = 100_000
"""No message joins a group of this size."""
_GROUP_SECONDS = 1.0
"""A slow server gets so many at once as it takes within so long."""
_ALONE_SECONDS = 600.0
"""A server that lost count of a group, or took none of it, gets no other for so long."""


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
        self.max_messages = max_messages_per_connection
        self._max_idle = max_idle_seconds
        self._observe = observe
        self.worth = 1
        """How many connections at once it is worth to use: while one waits for its reply, this
        process has time for others."""
        self.is_reckoned = False
        self._pace = 1
        """How many messages the server takes in the time that a group may take."""
        self._takes_groups = False
        self._alone_until = 0.0
        self._most: float = math.inf
        self._most_until = 0.0
        self._begin()

    def _begin(self) -> None:
        self.fastest = math.inf
        """Seconds that the fastest email took of late: of a busy machine the others tell more than
        of the server."""
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[tuple[float, Connection]] = []  # since when; the oldest first
        self._opened: weakref.WeakSet[Connection] = weakref.WeakSet()

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
        run = _Run(self, may_start, mark, until)
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
        takes = self._takes_groups and monotonic() >= self._alone_until
        return self._pace if takes else 1

    def take_no_groups(self) -> None:
        """The server did not cope with one: the messages in it are in doubt."""
        self._alone_until = monotonic() + _ALONE_SECONDS

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
            group.append(following)
            size += len(following.message)
        return group, None

    def reckon(self, emails: int, cpu_seconds: float) -> None:
        """Say how many emails were just sent, and what they cost this process in all; see `worth`.

        At 20 ms to the server and half a millisecond an email that is 41, in the same room 1.
        """
        if emails >= _RECKONED_WITH and self.fastest < math.inf:
            self.is_reckoned = True
            self.worth = 1 + int(self.fastest / max(cpu_seconds / emails, 0.0001))
            self._pace = max(1, min(_GROUP, int(_GROUP_SECONDS / max(self.fastest, 0.0001))))
            self.fastest = math.inf

    def took(self, seconds: float, messages: int) -> None:
        """Say how long so many messages took."""
        self.fastest = min(self.fastest, seconds / messages)

    @property
    def useful(self) -> int:
        """How many connections at once are worth it, and wanted by the server."""
        return int(min(self.worth, self._most if monotonic() < self._most_until else math.inf))

    def take_no_more_than(self, connections: int) -> None:
        """The server, which is well, took so many connections at once and no more."""
        self._most, self._most_until = connections, monotonic() + _MOST_SECONDS

    def test(self, envelope: Envelope | None = None) -> Iterator[Step]:
        """Talk to the server over a new connection and yield all that is said, less the secrets.

        Sends ``envelope`` if there is one. The last step is the result.
        """
        steps: list[Step] = []

        def observe(who: str, words: str) -> None:
            steps.append(Step(who, words))

        try:
            connection = Connection(self.server, transport=self.name, observe=observe)
        except ConnectFailed as failed:
            yield from steps
            yield _result(failed.outcome)
            return
        result = Step("result", "the server can be used")
        try:
            yield from _emptied(steps)
            if envelope is not None:
                try:
                    result = _result(connection.deliver(envelope))
                except Interrupted as interrupted:
                    result = _result(interrupted.outcome)
        finally:
            connection.close()
        yield from steps
        yield result

    def close(self) -> None:
        """Close the connections that are kept. The transport can still be used."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def forget(self) -> None:
        """In a forked child: drop every inherited connection without a word on it."""
        for connection in list(self._opened):
            connection.abandon()
        self._begin()

    def open(self, until: float = math.inf) -> Connection:
        """Return a new connection, by ``until``. Raises `ConnectFailed`."""
        connection = Connection(
            self.server, transport=self.name, observe=self._observe, until=until
        )
        self._takes_groups = connection.takes_groups
        with self._lock:
            self._opened.add(connection)
        return connection

    def check_out(self, until: float = math.inf) -> Connection:
        """Return the connection that was used last if it is still good, else a new one."""
        if os.getpid() != self._process:
            self.forget()
        while True:
            with self._lock:
                if not self._idle:
                    break
                since, connection = self._idle.pop()
            if monotonic() - since < self._max_idle and connection.usable():
                return connection
            connection.close()
        return self.open(until)

    def check_in(self, connection: Connection) -> None:
        """Keep a connection for the next to check out, unless it is in the middle of something, or
        has had all the emails that it may have."""
        if connection.delivered >= self.max_messages:
            connection.close()
            return
        now = monotonic()
        expired = []
        with self._lock:
            while self._idle and now - self._idle[0][0] >= self._max_idle:
                expired.append(self._idle.pop(0)[1])
            if connection.usable():
                self._idle.append((now, connection))
            else:
                connection.abandon()
        for old in expired:
            old.close()


class _Run:
    """One call of `Transport.send`: the connection that it holds, and why it stopped."""

    def __init__(
        self,
        transport: Transport,
        may_start: Callable[[], bool],
        mark: Callable[[int], bool],
        until: float,
    ) -> None:
        self._transport = transport
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
        group = group[: max(1, self._transport.max_messages - connection.delivered)]
        try:
            for outcome in connection.deliver_group(group, mark=self._mark, until=self._until):
                heard += 1
                if outcome.kind is Kind.NOT_STARTED:
                    self._verdict = outcome
                yield outcome
            self._transport.took(monotonic() - began, len(group))
        except Interrupted as interrupted:
            if not connection.takes_groups:
                self._transport.take_no_groups()
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
            self._transport.check_in(self._connection)

    def _attempt(self, envelope: Envelope, following: Envelope | None) -> Outcome:
        """Deliver over the connection at hand, and over a new one if that one turns out stale."""
        connection = self._ready()
        while True:
            new = connection.delivered == 0
            if connection.delivered + 1 >= self._transport.max_messages:
                following = None  # goes over the next connection
            try:
                began = monotonic()
                outcome = connection.deliver(
                    envelope, following=following, mark=self._mark, until=self._until
                )
                self._transport.took(monotonic() - began, 1)
                return outcome
            except Interrupted as interrupted:
                # Nothing of the message has left. A connection that did serve before tells
                # nothing about this email; what a new one does is the answer.
                if new or monotonic() >= self._until:
                    return interrupted.outcome
            connection = self._connection = self._transport.open(self._until)

    def _ready(self, *, new: bool = False) -> Connection:
        """Return a connection that may have another message; a ``new`` one, if that at hand was
        stale: others that are kept may be as well."""
        connection = self._connection
        if connection is not None and connection.delivered >= self._transport.max_messages:
            connection.close()
        if connection is None or not connection.alive:
            self._connection = None
            find = self._transport.open if new else self._transport.check_out
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
