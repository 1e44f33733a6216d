"""What a service is, and how one sees that it is up. The supervisor runs any list of these."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable
from dataclasses import dataclass

from .ports import HOST

Ready = Callable[[str], bool]
"""Given what the service has logged since its start: is it up? Asked until it is; may block."""


PREPARED = "prepared"
"""Stands, in `Service.after`, for the end of the supervisor's preparation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One program to keep running."""

    name: str
    command: tuple[str, ...]
    ready: Ready
    shown: str = ""
    """Where to find it, for the person at the terminal."""
    after: tuple[str, ...] = ()
    """Names of the services that must be up before, and perhaps `PREPARED`."""
    awaited: bool = True
    """Whether it must be up before the supervisor's job begins."""
    stage: int = 0
    """The highest stage is stopped first; services of one stage are stopped together."""
    budget: float = 1.0
    """Seconds from TERM to KILL; what the stages before have left of theirs comes on top."""
    alarms: bool = True
    """Whether warnings in its log are shown in the terminal."""


def says(pattern: str) -> Ready:
    """Ready once the log matches the regular expression."""
    compiled = re.compile(pattern, re.MULTILINE)
    return lambda log: compiled.search(log) is not None


def answers_http(port: int) -> Ready:
    """Ready once a request for ``/`` is answered, with whatever status."""

    def check(_log: str) -> bool:
        # gunicorn listens long before the app is loaded, so the first request waits for that.
        connection = http.client.HTTPConnection(HOST, port, timeout=20)
        try:
            connection.request("GET", "/")
            connection.getresponse()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return True

    return check
