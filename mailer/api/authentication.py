"""Who asks: the key in ``Authorization: Bearer ...``, and what it may do."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from flask import g, request

from .. import keys
from ..keys import Key
from ..state import current
from .errors import ApiError

P = ParamSpec("P")
R = TypeVar("R")


def needs(scope: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a view be used only with a key that has ``scope``."""

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            g.mailer_key = _authenticated(scope)
            return view(*args, **kwargs)

        return guarded

    return decorate


def key() -> Key:
    """Return the key of this request."""
    found: Key = g.mailer_key
    return found


def _authenticated(scope: str) -> Key:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise ApiError(
            401, "missing_api_key", "Expected the header Authorization: Bearer YOUR_API_KEY."
        )
    found = keys.find(current().database, token.strip())
    if found is None:
        raise ApiError(403, "invalid_api_key", "The API key is not known, expired or revoked.")
    if scope not in found.scopes:
        message = f"This API key is for {', '.join(sorted(found.scopes))} only, not for {scope}."
        raise ApiError(401, "restricted_api_key", message)
    return found
