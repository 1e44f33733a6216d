"""A whole stack: Redis, the catcher, settings that workers and the app share, and a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, sync_playwright
from werkzeug.serving import make_server

from mailer.dev.catcher import Catcher

from ..conftest import AppFactory
from ..worker import worker
from .browser import DESKTOP, PHONE


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


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if (found := shutil.which(name))), None)
    if program is None:
        reason = "no Chromium here: install the package chromium to run these tests"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=program,
            args=[
                "--no-sandbox",
                "--disable-quic",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield started
        started.close()


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    opened = browser.new_context(viewport=request.param).new_page()
    opened.set_default_timeout(10_000)
    yield opened
    opened.context.close()


@pytest.fixture
def site(make_app: AppFactory, stack: dict[str, Any], tmp_path: Path) -> Iterator[str]:
    """The service over HTTP, with a worker; yields its address."""
    server = make_server("127.0.0.1", 0, Flask("reserves a port"), threaded=True)
    url = f"http://127.0.0.1:{server.server_port}"
    settings = {**stack, "MAILER_BASE_URL": url}
    server.app = make_app(**settings)
    thread = Thread(target=server.serve_forever)
    thread.start()
    with worker(settings, tmp_path / "worker.log", "--concurrency", "1"):
        yield url
    server.shutdown()
    thread.join()
    server.server_close()
