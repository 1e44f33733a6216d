"""Who asks: the key in ``Authorization: Bearer ...``, and what it may do."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from flask import g, request

from .. import keys
from ..errors import NotFound
from ..keys import Key
from ..state import current
from .errors import ApiError

_ACTOR_MAX = 100


def key() -> Key:
    """Return the key of this request."""
    found: Key = g.mailer_key
    return found


def actor() -> str:
    """Return how the audit names who makes this request."""
    return f"api key {key().name}"[:_ACTOR_MAX]


def authenticate(scope: str, *, test_keys: bool) -> Key:
    """Return the key that this request has. Raises ApiError, also when it lacks ``scope``, or is a
    test key where they are not let in."""
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
    if found.is_test and not test_keys:
        message = (
            "A test key sends test emails, and reads and changes those; for this it is no use."
        )
        raise ApiError(403, "restricted_api_key", message)
    return found


def sees_job(job: sa.Row[Any]) -> bool:
    """Say whether the key of this request may know of a job: one with limits, of its own."""
    return not key().is_limited or job.key_id == key().id


def check_sees(found: Key, email_id: str | None) -> None:
    """Raise NotFound if this is an email that the key does not see: a test key sees test mail."""
    if found.is_test and email_id is not None and not current().ledger.is_test(email_id):
        raise NotFound(f"there is no email {email_id!r}")
