"""Small values that all workers share, in Redis; each worker's own while Redis is away."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import redis

from . import impatient
from .impatient import QUIET_SECONDS

KEPT_SECONDS = 3600
"""A value that nobody changes is forgotten after so long."""

_TRIES = 100
_REPLACE = """
if (redis.call('MGET', KEYS[1])[1] or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""

Result = TypeVar("Result")
Change = Callable[[Any, float], tuple[Any, Result]]
"""The value (None: there is none) and the time → the new value, and what to return."""

log = logging.getLogger(__name__)


class Seen(NamedTuple):
    """What was there at one instant."""

    now: float
    """Seconds since 1970, by Redis's clock: the workers' own may differ."""
    values: dict[str, Any]


class Shared:
    """JSON values by key. No method raises for Redis's sake."""

    def __init__(self, redis_url: str | None, *, namespace: str) -> None:
        """``redis_url`` None: the values are always this process's own."""
        self._redis_url = redis_url
        self._namespace = namespace
        self._open()

    def _open(self) -> None:
        self._redis: redis.Redis | None = None
        if self._redis_url:
            self._redis = impatient.client(self._redis_url)
            self._replace = self._redis.register_script(_REPLACE)
        self._quiet_until = 0.0
        self._own: dict[str, Any] = {}
        self._lock = threading.Lock()

    @property
    def is_shared(self) -> bool:
        """Whether there is a Redis: else the values are always this process's own."""
        return bool(self._redis_url)

    @property
    def away(self) -> bool:
        """Whether Redis was away when it was last asked, so that the values are our own."""
        return bool(self._redis_url) and bool(self._quiet_until)

    def read(self, keys: Iterable[str]) -> Seen:
        """Return the values of those keys that have one."""
        wanted = list(keys)
        if client := self._ask():
            try:
                pipe = client.pipeline(transaction=False)
                pipe.time()
                pipe.mget([self._name(key) for key in wanted])
                (seconds, micros), raw = pipe.execute()
            except redis.RedisError as error:
                self._failed(error)
            else:
                found = zip(wanted, raw, strict=True)
                values = {key: _parsed(value) for key, value in found if value}
                return Seen(seconds + micros / 1e6, values)
        with self._lock:
            return Seen(time.time(), {key: self._own[key] for key in wanted if key in self._own})

    def update(self, key: str, change: Change[Result]) -> Result:
        """Replace a value by what ``change`` makes of it, as if nobody else were there."""
        if client := self._ask():
            try:
                return self._update(client, self._name(key), change)
            except redis.RedisError as error:
                self._failed(error)
        with self._lock:
            value, result = change(self._own.get(key), time.time())
            self._own[key] = value
            return result

    def close(self) -> None:
        """Close the connections to Redis; the next use opens one."""
        if self._redis is not None:
            self._redis.close()

    def forget(self) -> None:
        """Drop the connections inherited by a forked child."""
        self._open()

    def _update(self, client: redis.Redis, name: str, change: Change[Result]) -> Result:
        for _ in range(_TRIES):
            pipe = client.pipeline(transaction=False)
            pipe.time()
            pipe.mget([name])  # None for what is no string, where GET is an error
            (seconds, micros), (raw,) = pipe.execute()
            before = _parsed(raw)
            value, result = change(before, seconds + micros / 1e6)
            if value == before:
                break
            # Somebody else may have been quicker: then once more, with what is there now.
            written = json.dumps(value, separators=(",", ":"))
            if self._replace(keys=[name], args=[raw or b"", written, KEPT_SECONDS]):
                break
        return result

    def _name(self, key: str) -> str:
        return f"{self._namespace}:{key}"

    def _ask(self) -> redis.Redis | None:
        """Return Redis, unless it is away; now and then, find out whether it is back."""
        if self._redis is None or not self._quiet_until:
            return self._redis
        if time.monotonic() < self._quiet_until:
            return None
        try:
            # One that is full, or a replica, still answers questions.
            self._redis.set(self._name("back"), 1, ex=1)
        except redis.RedisError as error:
            self._failed(error)
            return None
        self._back()
        return self._redis

    def _failed(self, error: redis.RedisError) -> None:
        if not self._quiet_until:
            log.warning(
                "redis=away: limits and circuits of transports are each process's own until it"
                " is back: %r", error,
            )  # fmt: skip
        self._quiet_until = time.monotonic() + QUIET_SECONDS

    def _back(self) -> None:
        self._quiet_until = 0.0
        with self._lock:
            self._own.clear()
        log.warning("redis=back: limits and circuits of transports are shared again")


def _parsed(raw: bytes | None) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return None  # not ours: it is replaced with the next change
