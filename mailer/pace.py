"""Pace: what one server takes at once, in messages and in connections, as far as is known here."""

from __future__ import annotations

import math
from time import monotonic

_RECKONED_WITH = 8
"""Fewer emails say little about what one costs."""
_GROUP = 10
"""Messages that travel at once. A connection that breaks leaves as many in doubt, and each may
arrive twice; with 20 a drain is no faster."""
_GROUP_SECONDS = 1.0
"""A slow server gets so many at once as it takes within so long."""
_ALONE_SECONDS = 600.0
"""A server that lost count of a group, or took none of it, gets no other for so long."""
_MOST_SECONDS = 300.0
"""A server that wanted no more connections is asked again after so long."""


class Pace:
    """Grows and shrinks with what the last emails took."""

    def __init__(self) -> None:
        self.is_known = False
        self.worth = 1
        """How many connections at once it is worth to use: while one waits for its reply, this
        process has time for others."""
        self._group = 1
        self._alone_until = 0.0
        self._most: float = math.inf
        self._most_until = 0.0
        self._fastest = math.inf
        """Seconds that the fastest email took of late: of a busy machine the others tell more than
        of the server."""

    @property
    def group(self) -> int:
        """How many messages may travel at once, to a server that takes groups."""
        return self._group if monotonic() >= self._alone_until else 1

    def connections(self, emails: int, group: int) -> int:
        """Return over how many at once it is worth to send so many emails, in groups of so many;
        no more than the server wants."""
        number = min(self.worth, emails)
        if number > 1 and group > 1:
            # All groups at once, rather than the last ones a round trip later (of 57 ms a lot, 12).
            number = max(number, math.ceil(emails / group))
        return int(min(number, self._most if monotonic() < self._most_until else math.inf))

    def took(self, seconds: float, messages: int) -> None:
        """Note how long so many messages took, that travelled at once."""
        self._fastest = min(self._fastest, seconds / messages)

    def reckon(self, emails: int, cpu_seconds: float) -> None:
        """Draw conclusions: so many emails were just sent, and cost this process so much in all.

        At 20 ms to the server and half a millisecond an email 41 connections are worth it, in the
        same room 1.
        """
        if emails >= _RECKONED_WITH and self._fastest < math.inf:
            self.is_known = True
            self.worth = 1 + int(self._fastest / max(cpu_seconds / emails, 0.0001))
            self._group = max(1, min(_GROUP, int(_GROUP_SECONDS / max(self._fastest, 0.0001))))
            self._fastest = math.inf

    def take_no_groups(self) -> None:
        """The server did not cope with one: the messages in it are in doubt."""
        self._alone_until = monotonic() + _ALONE_SECONDS

    def take_no_more_than(self, connections: int) -> None:
        """The server, which is well, took so many connections at once and no more."""
        self._most, self._most_until = connections, monotonic() + _MOST_SECONDS
