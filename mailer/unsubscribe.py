"""One-click unsubscribe (RFC 8058): what a link says, and the headers with it.

A link's token is a signed statement of who unsubscribes from what. No row is kept for it and it
never expires: links in old mail go on working, as long as its key is in ``SECRET_KEY`` or in
``SECRET_KEY_FALLBACKS``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from flask import Flask
from itsdangerous import BadData, Signer
from itsdangerous.encoding import base64_decode, base64_encode

from . import signing

ENDPOINT = "mailer_unsubscribe.ask"
"""Where a link leads: of the blueprint in `mailer.web.unsubscribe`."""
VARIABLE = "unsubscribe_url"
"""What templates call the link."""

CATEGORY = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
CATEGORY_FORM = "1 to 64 of a-z 0-9 _ . - (in lower case: Newsletter would be another category)"
NOT_CRITICAL = "expected none in the lane 'critical': nobody may unsubscribe from security mail"


class Choice(NamedTuple):
    """Who wants no more mail about what."""

    address: str
    """In lower case as a whole."""
    category: str


def obstacle(app: Flask) -> str | None:
    """Say why links to unsubscribe cannot be made in ``app``; None: they can."""
    if ENDPOINT not in app.view_functions:
        return "this app has no page to unsubscribe at: register mailer.web.unsubscribe.unsubscribe"
    if not app.config["SECRET_KEY"]:
        return "SECRET_KEY is not set, which signs the links to unsubscribe"
    return None


def mint(config: Mapping[str, Any], choice: Choice) -> str:
    """Return the token of a link."""
    # A category has no space, and JSON would make the link longer.
    claim = base64_encode(f"{choice.category} {choice.address}")
    return _signer(config).sign(claim).decode()


def read(config: Mapping[str, Any], token: str) -> Choice | None:
    """Return what a token says; None when it is not one of ours."""
    try:
        claim = base64_decode(_signer(config).unsign(token)).decode()
    except (BadData, ValueError):
        return None
    category, _, address = claim.partition(" ")
    return Choice(address, category)


def headers(url: str) -> dict[str, str]:
    """Return the headers of a message whose link is ``url``."""
    return {
        "List-Unsubscribe": f"<{url}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


def _signer(config: Mapping[str, Any]) -> Signer:
    return Signer(
        signing.keys(config),
        salt="mailer.unsubscribe",
        key_derivation="hmac",
        digest_method=hashlib.sha256,
    )
