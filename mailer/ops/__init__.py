"""The console: what the person on call sees, and does, at ``/ops``."""

from __future__ import annotations

from flask import Flask

from . import errors, pages, routes
from .blueprint import console

__all__ = ["errors", "init_app", "routes"]  # these mount themselves


def init_app(app: Flask) -> None:
    """Mount the console, on an app that has `mailer.web.security` and `mailer.web.answers`."""
    pages.init_app(app)
    app.register_blueprint(console)
