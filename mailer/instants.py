"""Instants as people write them: ISO 8601, or so long ago or ahead."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SPAN = r"(?P<number>[0-9]+)(?P<unit>[smhdw])"


def past(text: str, zone: tzinfo | None = None) -> datetime:
    """Read ISO 8601, or how long ago: ``2h``, ``2h ago``. ``zone`` is that of ISO 8601 which says
    none; None: the local one. Raises ValueError."""
    return _read(text, zone, -1, rf"{_SPAN}(?: ago)?", "10m, 2h, 3d ago")


def future(text: str, zone: tzinfo | None = None) -> datetime:
    """Read ISO 8601, or how far off: ``2h``, ``in 2h``. The rest is as of `past`."""
    return _read(text, zone, 1, rf"(?:in )?{_SPAN}", "in 10m, 2h, 3d")


def _read(text: str, zone: tzinfo | None, sign: int, pattern: str, examples: str) -> datetime:
    try:
        if span := re.fullmatch(pattern, text):
            seconds = int(span["number"]) * _SECONDS[span["unit"]]
            return datetime.now(UTC) + sign * timedelta(seconds=seconds)
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is None and zone is not None:
            return instant.replace(tzinfo=zone)
        return instant.astimezone()  # a naive one is local time for it, too
    except (ValueError, OverflowError) as error:
        expected = f"a time such as 2026-11-24T09:30, or {examples}"
        raise ValueError(f"expected {expected}, got {text!r}") from error
