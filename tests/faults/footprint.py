"""What a process and all that it started hold: memory and open files, from /proc."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

_PROC = Path("/proc")


class Footprint(NamedTuple):
    rss_mb: float
    fds: int


def footprint(pid: int) -> Footprint:
    """Return the sums over the process and its descendants."""
    rss_kb, fds = 0, 0
    for one in _tree(pid):
        try:
            fds += len(list((_PROC / str(one) / "fd").iterdir()))
            words = (_PROC / str(one) / "status").read_text().split()
            rss_kb += int(words[words.index("VmRSS:") + 1])
        except (FileNotFoundError, ProcessLookupError, ValueError):
            continue  # it ended just now
    return Footprint(rss_kb / 1024, fds)


def typical(footprints: Sequence[Footprint]) -> Footprint:
    """Return the medians: a connection that is open for a moment is no leak."""
    rss, fds = zip(*footprints, strict=True)
    return Footprint(median(rss), round(median(fds)))


def _tree(pid: int) -> list[int]:
    children = defaultdict(list)
    for stat in _PROC.glob("[0-9]*/stat"):
        try:
            # The name, in brackets, may hold anything; the parent is the second word after it.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children[parent].append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += children[one]
    return found
