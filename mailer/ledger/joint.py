"""Joint commits: what threads of one process accept at the same moment shares a transaction.

SQLite has one writer at a time, and with ``FULL`` each commit waits for the disk: threads that
came one by one would wait for the disk as often as there are emails, and for each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ..errors import LedgerUnavailable
from .record import Draft, Recorded


class _Place:
    """One thread's email in the line."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.leads = False
        """It is to store what waits. Changes, as the line does, with the lock only."""
        self.is_done = False
        self.recorded: Recorded | None = None
        self.unavailable: LedgerUnavailable | None = None
        self.called = threading.Semaphore(0)


class Joint:
    """Stands before ``record(drafts)``, which stores several in one transaction or none. Whoever
    comes while nobody stores does so at once; whoever comes meanwhile is stored with all others
    that did, by the first of them. Each returns once its own email is committed."""

    def __init__(self, record: Callable[[Sequence[Draft]], list[Recorded]]) -> None:
        self._record = record
        self._changing = threading.Lock()
        self._line: list[_Place] = []
        self._is_led = False

    def __call__(self, draft: Draft) -> Recorded:
        mine = _Place(draft)
        try:
            with self._changing:
                self._line.append(mine)
                if not self._is_led:
                    self._is_led = mine.leads = True
            if not mine.leads:
                mine.called.acquire()
            if not mine.is_done:
                self._store()
        finally:
            self._pass_on(mine)
        if mine.recorded is not None:
            return mine.recorded
        if mine.unavailable is not None:
            raise mine.unavailable
        # Something is wrong with one of them: each finds out whether it is its own.
        return self._record([draft])[0]

    def _store(self) -> None:
        """Store all that wait, ours among them."""
        with self._changing:
            group, self._line = self._line, []
        try:
            for one, stored in zip(group, self._record([one.draft for one in group]), strict=True):
                one.recorded = stored
        except LedgerUnavailable as error:
            for one in group:
                one.unavailable = LedgerUnavailable(str(error))
                one.unavailable.maybe_stored = error.maybe_stored
        except Exception:
            if len(group) == 1:
                raise
        except BaseException:
            # This thread is to end, and it may have been just after the commit.
            for one in group:
                one.unavailable = LedgerUnavailable("the thread that stored it was ended")
                one.unavailable.maybe_stored = True
            raise
        finally:
            # Also when this thread is to end: nobody else is to wait for it.
            for one in group:
                one.is_done = True
                one.called.release()

    def _pass_on(self, mine: _Place) -> None:
        """Leave the line, however it went, and let the next in it lead."""
        with self._changing:
            if mine in self._line:
                self._line.remove(mine)
            if not mine.leads:
                return
            mine.leads = False
            self._is_led = bool(self._line)
            if self._line:
                self._line[0].leads = True
                self._line[0].called.release()
