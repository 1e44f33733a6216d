"""Bursts: calls made by a thread of their own, one for all that came since the last."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable
from multiprocessing.util import Finalize

IDLE_SECONDS = 10.0
"""After so long without a call the thread ends, until there is one."""
EXIT_SECONDS = 1.0
"""How long an interpreter that ends waits for calls that are still to be made."""


class Bursts:
    """Stands before ``call(key, value)``, for callers that cannot wait for it, and to whom one call
    is as good as many."""

    def __init__(self, call: Callable[[str, str], object], *, seconds: float) -> None:
        """``call`` raises nothing. After each round of calls what comes is gathered for so many
        ``seconds``."""
        self._call = call
        self._seconds = seconds
        self._changed = threading.Condition()
        self._gathered: dict[str, str] = {}
        """By key, the last value that came."""
        self._calling = False
        self._thread: threading.Thread | None = None

    def __call__(self, key: str, value: str) -> None:
        with self._changed:
            self._gathered[key] = value
            self._changed.notify_all()
            if self._thread is not None or self._start():
                return
            del self._gathered[key]
        self._call(key, value)

    def finish(self, seconds: float) -> bool:
        """Wait until every call is made, for so long at most. False: not all of them were."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._gathered or self._calling), seconds)

    def _start(self) -> bool:
        thread = threading.Thread(target=self._run, name="mailer-bursts", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # an interpreter at its very end, or no thread to be had
            return False
        self._thread = thread
        if not _running:
            # A child of multiprocessing ends without atexit.
            Finalize(None, _finish_all, exitpriority=0)
        _running.add(self)
        return True

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: self._gathered, IDLE_SECONDS):
                    self._thread = None
                    return
                gathered, self._gathered = self._gathered, {}
                self._calling = True
            for key, value in gathered.items():
                self._call(key, value)
            with self._changed:
                self._calling = False
                self._changed.notify_all()
            time.sleep(self._seconds)


_running: weakref.WeakSet[Bursts] = weakref.WeakSet()
os.register_at_fork(after_in_child=_running.clear)  # the threads of a parent are not here


@atexit.register
def _finish_all() -> None:
    until = time.monotonic() + EXIT_SECONDS
    for bursts in list(_running):
        bursts.finish(max(0, until - time.monotonic()))
