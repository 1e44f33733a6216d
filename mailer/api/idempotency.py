"""``Idempotency-Key``: the same request again is the same thing, and does nothing."""

from __future__ import annotations

from hashlib import sha256

from flask import request

from . import authentication
from .errors import ApiError

_MAX = 256
HEADER = {
    "Idempotency-Key": {
        "description": "The same request again gives the same id, and sends nothing.",
        "type": "string",
        "minLength": 1,
        "maxLength": _MAX,
        "examples": ["order-7/confirmation"],
    }
}
MALFORMED = f"The Idempotency-Key has not 1 to {_MAX} characters."


def key() -> str | None:
    """Return the ledger's key for the request's, which belongs to one API key alone."""
    given = request.headers.get("Idempotency-Key")
    if given is None:
        return None
    if not 1 <= len(given) <= _MAX:
        message = f"Idempotency-Key: expected 1 to {_MAX} characters, got {len(given)}"
        raise ApiError(400, "invalid_idempotency_key", message)
    return f"api:{sha256(f'{authentication.key().id}:{given}'.encode()).hexdigest()}"
