"""The console as a browser without JavaScript uses it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from mailer import members, users
from mailer.dev.catcher import Catcher
from mailer.state import of

from ..conftest import AppFactory

PASSWORD = "correct horse battery staple"

SignIn = Callable[..., FlaskClient]
Submit = Callable[..., TestResponse]


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash them with little work: how much it takes is not what these tests are about."""
    monkeypatch.setattr(users, "HASH_METHOD", "scrypt:256:8:1")
    members._nobodys.cache_clear()


@pytest.fixture
def app(make_app: AppFactory, catcher: Catcher) -> Flask:
    """The service, sending to the catcher within the call that dispatches, deferring for long."""
    return make_app(
        MAIL_PORT=catcher.smtp_port,
        MAILER_BASE_URL="http://localhost",
        MAILER_BACKOFF_BASE_SECONDS=600,
        MAILER_BACKOFF_CAP_SECONDS=600,
    )


@pytest.fixture
def sign_in(app: Flask) -> SignIn:
    """Return a browser in which a member of that role is signed in."""

    def signed_in(role: str = "admin") -> FlaskClient:
        members.add(of(app).database, role, role, PASSWORD, actor="test")
        browser = app.test_client()
        answer = submit(browser, "/ops/sign-in", name=role, password=PASSWORD)
        assert answer.status_code == 303, answer.text
        return browser

    return signed_in


def token(page: str) -> str:
    """Return the token that the forms of a page carry."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found, page
    return found[1]


def submit(
    browser: FlaskClient, path: str, *, at: str | None = None, **fields: Any
) -> TestResponse:
    """Send a form to a path, with what its form on the page ``at`` (the same path) hides, as a
    browser would."""
    page = browser.get(at or path).text
    return browser.post(path, data={"csrf_token": token(page), **hidden(page, path), **fields})


def hidden(page: str, path: str) -> dict[str, str]:
    """Return the hidden fields of the form that a page has for a path."""
    form = re.search(rf'<form method="post" action="{re.escape(path)}".*?</form>', page, re.DOTALL)
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form[0] if form else ""))
