"""The service with a context loader that kills the process of whoever renders its email."""

from __future__ import annotations

import os
from typing import Any

from mailer import create_app
from mailer.state import of

flask_app = create_app()
celery_app = flask_app.extensions["celery"]


def load(context: dict[str, Any]) -> dict[str, Any]:
    """Die for one user, and be a normal loader for the others."""
    if context["start_url"].endswith("/deadly"):
        os._exit(9)
    return context


of(flask_app).loaders["welcome"] = load
