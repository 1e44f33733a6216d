"""A whole stack: Redis, the catcher, and settings that workers and the app share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from mailer.dev.catcher import Catcher

from ..conftest import AppFactory


@pytest.fixture
def stack(
    settings: dict[str, Any], catcher: Catcher, redis_url: str, tmp_path: Path
) -> dict[str, Any]:
    """Settings for the app and the worker processes."""
    return {
        **settings,
        "MAIL_PORT": catcher.smtp_port,
        "MAILER_BASE_URL": "https://app.acme.example",
        "MAILER_SWEEP_SECONDS": 0.5,
        "CELERY": {"broker_url": redis_url},
    }


@pytest.fixture
def app(make_app: AppFactory, stack: dict[str, Any]) -> Flask:
    """The service on that stack; its tasks run in workers."""
    return make_app(**stack)
