"""The HTTP API: Resend's, so that its SDKs send through the dispatcher unchanged.

A program sets the SDK's base address (``RESEND_API_URL``, ``RESEND_BASE_URL``) to ``.../api`` and
its key to one that ``mailer keys create`` printed.
"""

from __future__ import annotations

from flask import Flask, Response, request

from ..state import current
from ..web.security import csrf
from . import documentation, errors, routes
from .blueprint import Id, api

__all__ = ["documentation", "init_app", "routes"]  # the first and the last mount themselves

_BODIES = 8
"""A request may be so many times as large as one body: text and HTML of a batch, and what JSON
escapes."""


def init_app(app: Flask) -> None:
    """Mount the API. Raises SettingError."""
    routes.inbound.check(app)
    # Two slashes are no other way to write one: the answer would be a page that leads on.
    app.url_map.merge_slashes = False
    errors.init_app(app)
    csrf.exempt(api)  # a key is no cookie: no browser sends it by itself
    app.url_map.converters["id"] = Id
    app.register_blueprint(api)


@api.after_request
def say_no_type_of_nothing(response: Response) -> Response:
    """Leave out the media type of an answer to OPTIONS, which is ``Allow`` alone."""
    if request.method == "OPTIONS":
        del response.headers["Content-Type"]
    return response


@api.before_request
def allow_attachments() -> None:
    """Take larger requests than pages do: files grow by a third in base64."""
    config = current().config
    files = config["MAILER_MAX_ATTACHMENT_BYTES"] * 4 // 3
    request.max_content_length = files + _BODIES * config["MAILER_MAX_BODY_BYTES"]
