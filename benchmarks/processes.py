"""What processes and all their children use, as Linux counts it."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def trees(roots: Iterable[int]) -> list[int]:
    """Return the processes and their children, and theirs."""
    children: dict[int, list[int]] = defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        if fields := _stat(path):
            children[int(fields[1])].append(int(path.parent.name))
    found = list(roots)
    for pid in found:  # grows while we go
        found += children[pid]
    return found


def cpu(roots: Iterable[int]) -> float:
    """Return the CPU seconds that they have used, with those of children that have ended."""
    ticks = 0
    for pid in trees(roots):
        if fields := _stat(Path(f"/proc/{pid}/stat")):
            ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS_PER_SECOND


def megabytes_each(root: int) -> float:
    """Return the memory of one process of the tree on average: a shared page counts in parts."""
    kilobytes = []
    for pid in trees([root]):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        (pss,) = [line for line in text.splitlines() if line.startswith("Pss:")]
        kilobytes.append(int(pss.split()[1]))
    return sum(kilobytes) / len(kilobytes) / 1024


def _stat(path: Path) -> list[str]:
    """Return the fields after the name, from the state on; nothing when it has ended."""
    try:
        return path.read_text().rpartition(")")[2].split()
    except OSError:
        return []
