"""What addresses and forms of the console bring, read or refused in words."""

from __future__ import annotations

import uuid
from itertools import chain

from flask import Request
from werkzeug.exceptions import BadRequest

from ..state import current

ID_MAX = 2**63 - 1
"""As large as ids of rows can be."""


def refuse_nul(request: Request) -> None:
    """Raise BadRequest for what no database can hold, and nobody types, anywhere in a request."""
    fields = chain(
        (request.view_args or {}).items(),
        request.args.items(multi=True),
        request.form.items(multi=True),
        ((name, file.filename or "") for name, file in request.files.items(multi=True)),
    )
    for name, text in fields:
        if "\0" in f"{name}{text}":
            raise BadRequest(f"{name[:60]!r}: expected text without the character NUL, got one")


def whole(name: str, given: str) -> int:
    """Return a whole number from 0. Raises BadRequest, also for what no database can hold."""
    if given.isascii() and given.isdigit() and len(given) < 20 and int(given) <= ID_MAX:
        return int(given)
    raise BadRequest(f"{name}: expected a whole number, got {given[:60]!r}")


def form_id(name: str, given: str) -> str:
    """Return the id that a form has for what it makes, so that it makes one however often it is
    sent. Raises BadRequest."""
    try:
        return str(uuid.UUID(given))
    except ValueError:
        raise BadRequest(f"{name}: expected a UUID, got {given[:60]!r}") from None


def refuse_suppressed(*addresses: str, category: str | None = None) -> None:
    """Raise ValueError if an address is not to be mailed, or not mail of a category."""
    for one in current().ledger.suppressions_of(addresses):
        if one.category in {"", category}:
            raise ValueError(f"{one.address} is suppressed ({one.origin}): nothing is sent there")
