"""Which keys prove the links that the app has made: its ``SECRET_KEY``, and those before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def keys(config: Mapping[str, Any]) -> list[str]:
    """Return them as itsdangerous wants them: the last one signs, and any of them proves."""
    return [*reversed(config.get("SECRET_KEY_FALLBACKS") or ()), config["SECRET_KEY"]]
