"""The caught messages, in memory: the newest are kept, within a count and a size."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from mailer.dev.catcher.message import CaughtMessage


class Store:
    """Messages by id, oldest first. Safe to use from any thread."""

    def __init__(self, *, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages: dict[int, CaughtMessage] = {}
        self._bytes = 0
        self._per_recipient: Counter[str] = Counter()
        self._unread: set[int] = set()
        self._ids = itertools.count(1)
        self._revision = 0
        self._changed = threading.Condition()

    def add(self, sender: str, recipients: tuple[str, ...], raw: bytes) -> CaughtMessage:
        """Keep a message; the oldest make room for it."""
        with self._changed:
            message = CaughtMessage(next(self._ids), datetime.now(UTC), sender, recipients, raw)
            self._messages[message.id] = message
            self._unread.add(message.id)
            self._bytes += len(raw)
            self._per_recipient.update({address.lower() for address in recipients})
            while len(self._messages) > self._max_messages or self._bytes > self._max_bytes:
                self._forget(next(iter(self._messages)))
            self._touch()
        return message

    def get(self, message_id: int) -> CaughtMessage | None:
        return self._messages.get(message_id)

    def __len__(self) -> int:
        return len(self._messages)

    def messages(self, to: str | None = None) -> list[CaughtMessage]:
        """Return the messages, oldest first; ``to`` keeps those with this envelope recipient."""
        with self._changed:
            kept = list(self._messages.values())
        if to is None:
            return kept
        wanted = to.lower()
        return [m for m in kept if any(wanted == address.lower() for address in m.recipients)]

    def newest(self, *, to: str | None = None, words: str = "") -> Iterator[CaughtMessage]:
        """Yield messages that mention all the words, newest first."""
        wanted = words.lower()
        return (m for m in reversed(self.messages(to)) if m.mentions(wanted))

    def count(self, to: str | None = None) -> int:
        return len(self._messages) if to is None else self._per_recipient[to.lower()]

    def wait_for(self, count: int, *, to: str | None, timeout: float) -> bool:
        """Wait until at least ``count`` messages are there; False when that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: self.count(to) >= count, timeout)

    def delete(self, message_id: int) -> bool:
        """Forget one message; False when it is not there."""
        with self._changed:
            known = message_id in self._messages
            if known:
                self._forget(message_id)
                self._touch()
        return known

    def clear(self) -> None:
        with self._changed:
            self._messages.clear()
            self._per_recipient.clear()
            self._unread.clear()
            self._bytes = 0
            self._touch()

    @property
    def unread(self) -> frozenset[int]:
        """Ids of the messages nobody has opened in the inbox."""
        with self._changed:
            return frozenset(self._unread)

    def mark_read(self, message_id: int) -> None:
        with self._changed:
            if message_id in self._unread:
                self._unread.discard(message_id)
                self._touch()

    @property
    def revision(self) -> int:
        """A number that grows with every change."""
        return self._revision

    def wait_for_change(self, since: int, *, timeout: float) -> int:
        """Wait until the revision differs from ``since``, or the time is up; return it."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._changed.wait_for(lambda: self._revision != since, deadline - time.monotonic())
            return self._revision

    def wake(self) -> None:
        """Let everyone who waits for a change look again."""
        with self._changed:
            self._touch()

    def _touch(self) -> None:
        self._revision += 1
        self._changed.notify_all()

    def _forget(self, message_id: int) -> None:
        message = self._messages.pop(message_id)
        self._unread.discard(message_id)
        self._bytes -= len(message.raw)
        self._per_recipient.subtract({address.lower() for address in message.recipients})
