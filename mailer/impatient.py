"""Redis for whoever has no time to wait for it: a request, a drain, a health check."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

PATIENCE_SECONDS = 0.3
"""To connect, and for an answer. Nothing is tried twice."""
QUIET_SECONDS = 5.0
"""After a failure nobody tries for so long: callers in a row shall not each wait."""


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        socket_timeout=PATIENCE_SECONDS,
        socket_connect_timeout=PATIENCE_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
