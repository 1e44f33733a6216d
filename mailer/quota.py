"""Quota: so many emails per second, over so many connections, as values.

A token bucket holds one second's worth, so that a second is never much more than a second's
worth, and a worker that comes a little late loses nothing. Less urgent lanes leave some of it: a
reset finds tokens although a newsletter waits for each one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

LEAST_PAUSE_SECONDS = 0.25
"""It is not worth a task to come back for less."""


class Limits(NamedTuple):
    """The most that is allowed; None: any."""

    rate: float | None = None
    """Emails per second."""
    connections: int | None = None
    """Open at once."""

    def __bool__(self) -> bool:
        return self.rate is not None or self.connections is not None

    def words(self) -> list[str]:
        """Return what is limited: ``10/s``, ``2 connections``."""
        limited = ((self.rate, "/s"), (self.connections, " connections"))
        return [f"{limit:g}{unit}" for limit, unit in limited if limit is not None]


UNLIMITED = Limits()


class Quota(NamedTuple):
    """What is left of limits. Instants are seconds since 1970. The default is unused."""

    tokens: float = 0
    refilled_at: float = 0
    lines: dict[str, float] = {}  # noqa: RUF012 - never changed, each change is a new value
    """By lane: when the turn of who lines up next would come."""
    holders: dict[str, float] = {}  # noqa: RUF012 - never changed, each change is a new value
    """Who has a connection, and until when at the latest."""


UNUSED = Quota()


def reserve(limits: Limits, urgency: float) -> float:
    """Return the tokens that a lane leaves to more urgent ones; ``urgency`` is 1 for the most
    urgent and 0 for the least."""
    return 0.0 if limits.rate is None else max(1.0, limits.rate / 5) * (1 - urgency)


def refill(quota: Quota, limits: Limits, now: float) -> Quota:
    if limits.rate is None:
        return quota
    full = max(1.0, limits.rate) + reserve(limits, urgency=0)
    passed = max(0.0, now - quota.refilled_at)
    return quota._replace(tokens=min(full, quota.tokens + passed * limits.rate), refilled_at=now)


def room(
    quota: Quota,
    limits: Limits,
    now: float,
    *,
    urgency: float,
    holder: str,
    is_gone: Callable[[str], bool],
) -> tuple[float, float]:
    """Return how many emails may leave now, and seconds until it is worth to ask again."""
    if limits.connections is not None:
        holders = _living(quota, now, is_gone)
        if holder not in holders and len(holders) >= limits.connections:
            return 0, LEAST_PAUSE_SECONDS
    if limits.rate is None:
        return float("inf"), 0.0
    tokens = refill(quota, limits, now).tokens - reserve(limits, urgency)
    lacking = max(0.0, 1 - tokens) / limits.rate
    return max(0.0, tokens // 1), max(LEAST_PAUSE_SECONDS, lacking)


def take(
    quota: Quota,
    limits: Limits,
    now: float,
    *,
    wanted: int,
    urgency: float,
    holder: str,
    hold_seconds: float,
    is_gone: Callable[[str], bool],
) -> tuple[Quota, int]:
    """Take up to so many tokens, and a connection if there are any: it counts until `release`,
    for so many seconds, or while ``is_gone`` does not say that its holder died."""
    quota = refill(quota, limits, now)
    there_is, _ = room(quota, limits, now, urgency=urgency, holder=holder, is_gone=is_gone)
    granted = int(min(wanted, there_is))
    if granted and limits.rate is not None:
        quota = quota._replace(tokens=quota.tokens - granted)
    if granted and limits.connections is not None:
        holders = _living(quota, now, is_gone)
        quota = quota._replace(holders={**holders, holder: now + hold_seconds})
    return quota, granted


def _living(quota: Quota, now: float, is_gone: Callable[[str], bool]) -> dict[str, float]:
    return {one: until for one, until in quota.holders.items() if until > now and not is_gone(one)}


def hold(
    quota: Quota,
    limits: Limits,
    now: float,
    holders: Sequence[str],
    *,
    hold_seconds: float,
    is_gone: Callable[[str], bool],
) -> tuple[Quota, int]:
    """Take connections, one for each of ``holders`` as far as there are any; say how many."""
    living = _living(quota, now, is_gone)
    others = [one for one in living if one not in holders]
    free = len(holders) if limits.connections is None else limits.connections - len(others)
    taken = holders[: max(0, free)]
    held = dict.fromkeys(taken, now + hold_seconds)
    kept = {one: living[one] for one in others}
    return quota._replace(holders={**kept, **held}), len(taken)


def release(quota: Quota, holder: str) -> Quota:
    """Give back a connection, and those that were taken in addition, ``HOLDER+NUMBER``."""
    holders = {
        one: until for one, until in quota.holders.items() if one.partition("+")[0] != holder
    }
    return quota._replace(holders=holders)


def line_up(
    quota: Quota, limits: Limits, now: float, lane: str, *, again: int, new: int
) -> tuple[Quota, list[float]]:
    """Return in how many seconds the turns come of those that found no token: ``again`` who had a
    turn by now, and are next, and ``new`` at the end of the lane's line."""
    step = max(1 / limits.rate if limits.rate else LEAST_PAUSE_SECONDS, 0.001)
    least = max(step, LEAST_PAUSE_SECONDS)
    delays = [least + step * position for position in range(again)]
    first = max(now + least, quota.lines.get(lane, 0))
    delays += [first - now + step * position for position in range(new)]
    if not new:
        return quota, delays
    return quota._replace(lines={**quota.lines, lane: first + step * new}), delays


def is_line(quota: Quota, lane: str, now: float) -> bool:
    """Say whether some of the lane wait for their turn: who is new then lines up behind them."""
    return quota.lines.get(lane, 0) > now + LEAST_PAUSE_SECONDS
