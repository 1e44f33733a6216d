"""Bursts: call at once, and then once for all that came within the next milliseconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Bursts:
    """Stands before ``call(key, value)``, for callers to whom one call is as good as many."""

    def __init__(self, call: Callable[[str, str], object], *, seconds: float) -> None:
        self._call = call
        self._seconds = seconds
        self._lock = threading.Lock()
        self._quiet_until: dict[str, float] = {}
        self._gathered: dict[str, str] = {}
        """The last value of those that wait for the end of their burst; each key has a timer."""

    def __call__(self, key: str, value: str) -> None:
        """Call now, or at the end of the burst that a call within the last moment began."""
        with self._lock:
            if time.monotonic() < self._quiet_until.get(key, 0):
                waits = key in self._gathered
                self._gathered[key] = value
                if waits or self._start_timer(key):
                    return
            self._gathered.pop(key, None)  # of a timer that is late: this call is its, too
            self._quiet_until[key] = time.monotonic() + self._seconds
        self._call(key, value)

    def _start_timer(self, key: str) -> bool:
        try:
            # Not a daemon: an interpreter that ends waits for it.
            threading.Timer(self._seconds, self._end, (key,)).start()
        except RuntimeError:  # at the very end of an interpreter, or no thread to be had
            return False
        return True

    def _end(self, key: str) -> None:
        with self._lock:
            value = self._gathered.pop(key, None)
            if value is None:
                return
            self._quiet_until[key] = time.monotonic() + self._seconds
        self._call(key, value)
