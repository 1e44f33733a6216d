"""Presence: which workers are there, as each says of itself while it lives."""

from __future__ import annotations

from typing import Any

from .shared import Shared

SEEN_WITHIN_SECONDS = 30.0
"""A worker says so three times as often; one that has not is taken to be gone."""
_FORGOTTEN_SECONDS = 600.0
_KEY = "workers"


def announce(shared: Shared, worker: str) -> None:
    """Note that a worker is there."""

    def change(known: Any, now: float) -> tuple[Any, None]:
        others = {name: at for name, at in _read(known).items() if now - at < _FORGOTTEN_SECONDS}
        return {**others, worker: round(now)}, None

    shared.update(_KEY, change)


def leave(shared: Shared, worker: str) -> None:
    """Note that a worker ends."""
    shared.update(
        _KEY, lambda known, _: ({k: at for k, at in _read(known).items() if k != worker}, None)
    )


def workers(shared: Shared) -> dict[str, float] | None:
    """Return the seconds since each worker was last seen. None: nobody knows, without Redis."""
    seen = shared.read([_KEY])
    if not shared.is_shared or shared.away:
        return None
    return {
        name: max(0.0, seen.now - at) for name, at in sorted(_read(seen.values.get(_KEY)).items())
    }


def is_there(seconds: float) -> bool:
    """Say whether a worker that was last seen so long ago lives."""
    return seconds <= SEEN_WITHIN_SECONDS


def _read(value: Any) -> dict[str, float]:
    known = value if isinstance(value, dict) else {}
    return {name: at for name, at in known.items() if isinstance(at, (int, float))}
