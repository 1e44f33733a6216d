"""Browsers in which a member has signed in before: who guesses at a name does not lock them out.

A cookie says so, which is signed and good for nothing else (OWASP, "Slow Down Online Guessing
Attacks with Device Cookies").
"""

from __future__ import annotations

import secrets

from flask import Response, current_app, request, url_for
from itsdangerous import BadData, URLSafeTimedSerializer

from .. import signing

COOKIE = "mailer_browser"
KNOWN_SECONDS = 90 * 86_400


def known(name: str) -> str | None:
    """Return the id of this browser; None: ``name`` has not signed in with it."""
    try:
        member, browser = _serializer().loads(request.cookies.get(COOKIE, ""), KNOWN_SECONDS)
    except BadData:
        return None
    return str(browser) if member == name else None


def remember(response: Response, name: str) -> None:
    """Have this browser known as one of ``name``."""
    response.set_cookie(
        COOKIE,
        _serializer().dumps([name, secrets.token_urlsafe(9)]),
        max_age=KNOWN_SECONDS,
        path=url_for("ops.sign_in"),
        secure=current_app.config["SESSION_COOKIE_SECURE"],
        httponly=True,
        samesite="Lax",
    )


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(signing.keys(current_app.config), salt="mailer.ops.browsers")
