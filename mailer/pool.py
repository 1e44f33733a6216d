"""The connections to one server that are kept open between emails."""

from __future__ import annotations

import math
import os
import threading
import weakref
from time import monotonic

from .smtp import Connection, Observer, Server


class Pool:
    """Connections for any number of threads, one at a time each."""

    takes_groups = False
    """Whether the server did, when the last connection was opened."""

    def __init__(
        self,
        server: Server,
        *,
        transport: str,
        max_messages: int,
        max_idle: float,
        observe: Observer | None,
    ) -> None:
        """``max_idle``: seconds that a connection is kept. Outcomes carry the name
        ``transport``."""
        self._server = server
        self._transport = transport
        self.max_messages = max_messages
        self._max_idle = max_idle
        self._observe = observe
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[tuple[float, Connection]] = []  # since when; the oldest first
        self._opened: weakref.WeakSet[Connection] = weakref.WeakSet()

    def close(self) -> None:
        """Close the connections that are kept. The pool can still be used."""
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
            self._server, transport=self._transport, observe=self._observe, until=until
        )
        self.takes_groups = connection.takes_groups
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
