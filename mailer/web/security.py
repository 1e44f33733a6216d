"""What every answer carries and every request must: headers, cookie flags, CSRF, proxies, size."""

from __future__ import annotations

from flask import Flask, Request, Response, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from flask_wtf.csrf import CSRFError, CSRFProtect
from werkzeug.exceptions import UnsupportedMediaType
from werkzeug.middleware.proxy_fix import ProxyFix

from .answers import JSON

MAX_BODY_BYTES = 16_384
"""Of any request. A view that takes more sets ``request.max_content_length``."""

_FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})

# Everything comes from here, nothing is inline, and nobody may frame it.
_CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)

csrf = CSRFProtect()


class _Sessions(SecureCookieSessionInterface):
    """Flask makes a signer for each request, 30 microseconds of it: also for programs, which bring
    no cookie and get none."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if "HTTP_COOKIE" not in request.environ:
            return self.session_class()
        return super().open_session(app, request)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if session.accessed or session.modified:
            super().save_session(app, session, response)


def init_app(app: Flask) -> None:
    """Put the service's defences around ``app``."""
    app.session_interface = _Sessions()
    https = app.config["MAILER_BASE_URL"].startswith("https://")
    app.config.update(
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=https,
        # `_check_csrf` says which requests are checked.
        WTF_CSRF_CHECK_DEFAULT=False,
        # A page may stay open as long as the session lasts.
        WTF_CSRF_TIME_LIMIT=None,
        # It wants a Referer, and our pages send none.
        WTF_CSRF_SSL_STRICT=False,
    )
    if app.config["MAX_CONTENT_LENGTH"] is None:
        app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    csrf.init_app(app)
    app.before_request(_check_csrf)
    app.after_request(add_headers)
    if https:
        app.after_request(_add_hsts)
    if proxies := app.config["MAILER_TRUSTED_PROXIES"]:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=0
        )


def _check_csrf() -> None:
    # A JSON request needs no token. Another site's page can have a browser send a form or text
    # with our cookies, but `application/json` only after the browser has asked us in a preflight
    # (Fetch standard, "CORS-preflight fetch"), and we never grant one. Where there is no view there
    # is nothing to defend: the answer is 404 or 405, whatever was sent.
    if request.mimetype == JSON or request.endpoint is None:
        return
    try:
        csrf.protect(apply_exemptions=True)
    except CSRFError:
        if request.mimetype not in _FORMS:
            raise UnsupportedMediaType("Send application/json, or the form of the page.") from None
        raise CSRFError(
            "This form does not belong to your visit: the page was open for too long, or your "
            "browser does not accept cookies. Go back, reload the page and try again."
        ) from None


def add_headers(response: Response) -> Response:
    """Add what a browser is to know of every page."""
    headers = response.headers
    headers.setdefault("Content-Security-Policy", _CSP)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    # The address of a page that a link in an email leads to has a token in it.
    headers.setdefault("Referrer-Policy", "no-referrer")
    if not (request.endpoint or "").endswith("static"):
        headers.setdefault("Cache-Control", "no-store")
    return response


def _add_hsts(response: Response) -> Response:
    response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    return response
