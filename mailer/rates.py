"""Counting in a moving window: in Redis, for all processes; in this one while Redis is away."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from limits import RateLimitItem
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis import Redis
from redis.exceptions import RedisError

from . import impatient

PAUSE_SECONDS = 10
"""How long Redis is left alone after it failed to answer."""

log = logging.getLogger(__name__)


class Taken(NamedTuple):
    """What became of a wish."""

    granted: bool
    """False: nothing was counted."""
    remaining: int
    """How many more there may be now."""
    reset_seconds: int
    """When the oldest that is counted will no longer be: at least 1, if there is one."""


class Rates:
    """The counts of one app, by key."""

    def __init__(
        self, redis_url: str | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``redis_url`` None: each process counts for itself."""
        self._redis = MovingWindowRateLimiter(_redis_storage(redis_url)) if redis_url else None
        self._memory = MovingWindowRateLimiter(MemoryStorage())
        self._clock = clock
        self._redis_from = -math.inf
        self._lock = threading.Lock()

    def take(self, rate: RateLimitItem, key: str, number: int = 1) -> Taken:
        """Count so many at once, if the rate lets all of them."""
        return self._do(_take, rate, key, number)

    def give_back(self, rate: RateLimitItem, key: str, number: int) -> Taken:
        """Count so many less: they were taken for what did not happen after all."""
        return self._do(_give_back, rate, key, number)

    def _do(
        self,
        verb: Callable[[MovingWindowRateLimiter, RateLimitItem, str, int], Taken],
        rate: RateLimitItem,
        key: str,
        number: int,
    ) -> Taken:
        if self._redis is None or not self._may_try_redis():
            return verb(self._memory, rate, key, number)
        try:
            taken = verb(self._redis, rate, key, number)
        except RedisError as error:
            log.warning("limits=in-process seconds=%d reason=%r", PAUSE_SECONDS, str(error))
            self._redis_from = self._clock() + PAUSE_SECONDS
            return verb(self._memory, rate, key, number)
        self._redis_from = -math.inf
        return taken

    def _may_try_redis(self) -> bool:
        with self._lock:
            now = self._clock()
            if now < self._redis_from:
                return False
            if self._redis_from > -math.inf:
                # After a pause one request alone finds out whether Redis answers again.
                self._redis_from = now + PAUSE_SECONDS
            return True


def _redis_storage(url: str) -> RedisStorage:
    # Not a client from the URL: that would try three more times, each with its own timeouts.
    pool = impatient.client(url).connection_pool
    return RedisStorage(url, connection_pool=pool, key_prefix="mailer:limits")


def _take(counter: MovingWindowRateLimiter, rate: RateLimitItem, key: str, number: int) -> Taken:
    return _told(counter, rate, key, granted=counter.hit(rate, key, cost=number))


def _give_back(
    counter: MovingWindowRateLimiter, rate: RateLimitItem, key: str, number: int
) -> Taken:
    # `limits` has no verb for it. Of the instants that it keeps the newest stands first.
    storage, place = counter.storage, rate.key_for(key)
    if isinstance(storage, RedisStorage):
        client: Redis = storage.storage
        client.ltrim(storage.prefixed_key(place), number, -1)
    elif isinstance(storage, MemoryStorage):
        with storage.locks[place]:
            del storage.events.get(place, [])[:number]
    return _told(counter, rate, key, granted=True)


def _told(
    counter: MovingWindowRateLimiter, rate: RateLimitItem, key: str, *, granted: bool
) -> Taken:
    window = counter.get_window_stats(rate, key)
    reset_seconds = math.ceil(window.reset_time - time.time())
    return Taken(granted, max(0, window.remaining), max(1, reset_seconds))
