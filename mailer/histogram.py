"""Histograms of durations: bounds so close that a quantile read from the counts is within 7 %."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping

# The preferred numbers of ISO 3, series R20: each about 12 % more than the one before, and 1, 2, 5
# among them.
_R20 = (100, 112, 125, 140, 160, 180, 200, 224, 250, 280, 315, 355, 400, 450, 500, 560, 630, 710,
        800, 900)  # fmt: skip

BOUNDS = tuple(
    round(number * 10.0 ** (decade - 2), 6) for decade in range(-3, 6) for number in _R20
)
"""Upper bounds of the buckets in seconds, from a millisecond to ten days; one more bucket has what
is longer."""


def bucket(seconds: float) -> int:
    """Return the number of the bucket that a duration falls into."""
    return bisect_left(BOUNDS, seconds)


def quantile(numbers: Mapping[int, int], share: float) -> float | None:
    """Return the seconds that ``share`` of what was counted did not exceed, from the counts by
    bucket. None: nothing was counted."""
    rank = share * sum(numbers.values())
    below = 0
    for index in sorted(numbers):
        below += numbers[index]
        if below and below >= rank:
            return _middle(index)
    return None


def _middle(index: int) -> float:
    if index == 0:
        return BOUNDS[0]
    if index == len(BOUNDS):
        return BOUNDS[-1]
    return math.sqrt(BOUNDS[index - 1] * BOUNDS[index])
