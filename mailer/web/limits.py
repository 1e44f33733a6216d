"""How often account emails may be asked for: per address and per client.

They stop a stranger from filling somebody's inbox through us. An address is counted whether it has
an account or not, so that being refused tells nothing.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

from flask import Flask, current_app, request
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis import ConnectionPool
from redis.exceptions import RedisError
from werkzeug.exceptions import TooManyRequests

from .. import state

TIMEOUT_SECONDS = 0.3
PAUSE_SECONDS = 10
"""How long Redis is left alone after it failed to answer."""

log = logging.getLogger(__name__)
T = TypeVar("T")


class Limit(NamedTuple):
    """At most so many hits in a moving window, for each key."""

    name: str
    rate: RateLimitItem


class Limits:
    """The limits of one app, counted in Redis; in this process while Redis does not answer."""

    def __init__(
        self,
        *,
        secret_key: str,
        per_address: str,
        per_client: str,
        redis_url: str | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._secret_key = secret_key.encode()
        self._per_address = Limit("address", parse(per_address))
        self._per_client = Limit("client", parse(per_client))
        self._redis = MovingWindowRateLimiter(_redis_storage(redis_url)) if redis_url else None
        self._memory = MovingWindowRateLimiter(MemoryStorage())
        self._clock = clock
        self._redis_from = -math.inf
        self._lock = threading.Lock()

    def hit(self, *, address: str, client: str | None) -> int | None:
        """Count one request. None when it may go on, else the seconds to wait (at least 1).

        ``client`` is an IP address, None when there is none (a unix socket).
        """
        # The client first: one that is refused must not use up what others may ask for an address.
        for limit, who in (
            (self._per_client, client_network(client)),
            (self._per_address, address),
        ):
            key = self._key(limit, who)
            wait = self._counted(partial(_hit, limit.rate, key))
            if wait is not None:
                return wait
        return None

    def _key(self, limit: Limit, who: str) -> str:
        """Redis learns nobody's address: without the key of the app a hash cannot be guessed at."""
        digest = hmac.new(self._secret_key, f"limit\0{limit.name}\0{who}".encode(), "sha256")
        return f"{limit.name}:{digest.hexdigest()[:32]}"

    def _counted(self, count: Callable[[MovingWindowRateLimiter], T]) -> T:
        if self._redis is None or not self._may_try_redis():
            return count(self._memory)
        try:
            result = count(self._redis)
        except RedisError as error:
            log.warning("limits=in-process seconds=%d reason=%r", PAUSE_SECONDS, str(error))
            self._redis_from = self._clock() + PAUSE_SECONDS
            return count(self._memory)
        self._redis_from = -math.inf
        return result

    def _may_try_redis(self) -> bool:
        with self._lock:
            now = self._clock()
            if now < self._redis_from:
                return False
            if self._redis_from > -math.inf:
                # After a pause one request alone finds out whether Redis answers again.
                self._redis_from = now + PAUSE_SECONDS
            return True


def init_app(app: Flask) -> None:
    """Give ``app`` its limits."""
    app.extensions["mailer_limits"] = Limits(
        secret_key=app.config["SECRET_KEY"],
        per_address=app.config["MAILER_LIMIT_PER_ADDRESS"],
        per_client=app.config["MAILER_LIMIT_PER_CLIENT"],
        redis_url=state.of(app).redis_url,
    )


def check(address: str) -> None:
    """Count this request for ``address``; answer 429, saying when to come back, over a limit."""
    limits: Limits = current_app.extensions["mailer_limits"]
    wait = limits.hit(address=address, client=request.remote_addr)
    if wait is not None:
        minutes = math.ceil(wait / 60)
        raise TooManyRequests(
            f"Too many emails were asked for. Please try again in {minutes} min.", retry_after=wait
        )


def client_network(client: str | None) -> str:
    """Return what one client is counted as: its IPv4 address, or its IPv6 /64, which is what a
    single household gets and can pick any number of addresses from."""
    try:
        address = ipaddress.ip_address(client or "")
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), 64), strict=False))


def _redis_storage(url: str) -> RedisStorage:
    # Not a client from the URL: that would try three more times, each with its own timeouts.
    pool = ConnectionPool.from_url(
        url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
    )
    return RedisStorage(url, connection_pool=pool, key_prefix="mailer:limits")


def _hit(rate: RateLimitItem, key: str, counter: MovingWindowRateLimiter) -> int | None:
    if counter.hit(rate, key):
        return None
    free_at = counter.get_window_stats(rate, key).reset_time
    return max(1, math.ceil(free_at - time.time()))
