"""Whether this worker has been asked to end: known at once in all of its processes."""

from __future__ import annotations

import mmap

# Shared with the children that the worker forks, as memory that was mapped before the fork is.
_flag = mmap.mmap(-1, 1)


def announce() -> None:
    """Say that the worker is to end: whoever drains starts no further email."""
    _flag[0] = 1


def announced() -> bool:
    """Say whether the worker is to end."""
    return _flag[0] == 1
