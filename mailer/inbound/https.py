"""One GET of a small document over verified TLS: no redirect, no more than was expected."""

from __future__ import annotations

from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from urllib.request import HTTPRedirectHandler, build_opener

from ..errors import Unreachable

Get = Callable[[str], bytes]

LONGEST_BYTES = 100_000
_TIMEOUT_SECONDS = 5


class _Stay(HTTPRedirectHandler):
    """Whom a redirect leads to was not checked."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def get(url: str) -> bytes:
    """Return what is there. Raises Unreachable; ValueError for anything but https."""
    if not url.startswith("https://"):
        raise ValueError(f"expected https://..., got {url[:100]!r}")
    try:
        with build_opener(_Stay).open(url, timeout=_TIMEOUT_SECONDS) as answer:
            body: bytes = answer.read(LONGEST_BYTES + 1)
    except (OSError, HTTPException) as error:
        raise Unreachable(f"{url[:200]} cannot be fetched: {error}") from error
    if len(body) > LONGEST_BYTES:
        raise Unreachable(f"{url[:200]}: expected at most {LONGEST_BYTES} bytes")
    return body
