from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from mailer.models import User

MakeApp = Callable[..., Flask]
Rows = Callable[[type], list[Any]]
FIELDS = {"email": "anna@example.com", "password": "correct horse battery"}
PATHS = ("/", "/signup", "/reset", "/reset/token", "/confirm/token", "/nothing")


@pytest.mark.parametrize("path", PATHS)
def test_every_page_is_kept_from_caches_frames_and_foreign_content_and_sends_no_referrer(
    client: FlaskClient, path: str
) -> None:
    headers = client.get(path).headers
    policy = dict(part.split(maxsplit=1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "style-src": "'self'",
        "img-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Strict-Transport-Security" not in headers


def test_a_stylesheet_may_be_cached(client: FlaskClient) -> None:
    response = client.get("/static/pages.css", buffered=True)
    assert response.mimetype == "text/css"
    assert "no-store" not in response.headers["Cache-Control"]


def test_a_view_can_set_its_own_policy(make_app: MakeApp) -> None:
    app = make_app()

    @app.get("/own")
    def own() -> Response:
        return Response("", headers={"Content-Security-Policy": "default-src 'self'"})

    assert app.test_client().get("/own").headers.getlist("Content-Security-Policy") == [
        "default-src 'self'"
    ]


@pytest.mark.parametrize(
    ("base_url", "secure"), [("http://app.example.com", False), ("https://app.example.com", True)]
)
def test_with_https_the_cookie_is_secure_and_browsers_are_told_to_stay_with_it(
    make_app: MakeApp, base_url: str, secure: bool
) -> None:
    client = make_app(MAILER_BASE_URL=base_url).test_client()
    headers = client.get("/signup", base_url=base_url).headers
    flags = {flag.strip().lower() for flag in headers["Set-Cookie"].split(";")[1:]}
    assert flags == {"httponly", "path=/", "samesite=lax"} | ({"secure"} if secure else set())
    assert headers.get("Strict-Transport-Security") == ("max-age=31536000" if secure else None)


# CSRF


def test_a_form_without_its_token_is_refused_and_nothing_is_stored(
    client: FlaskClient, rows: Rows
) -> None:
    client.get("/signup")  # the session has one
    for fields in (FIELDS, {**FIELDS, "csrf_token": ""}, {**FIELDS, "csrf_token": "x"}):
        response = client.post("/signup", data=fields)
        assert response.status_code == 400
        assert "reload the page" in response.text
    assert rows(User) == []


def test_a_token_of_another_visit_is_refused(app: Flask, rows: Rows) -> None:
    visitor, attacker = app.test_client(), app.test_client()
    visitor.get("/signup")
    token = attacker.get("/signup").text.split('name="csrf_token" value="')[1].split('"')[0]
    assert visitor.post("/signup", data={**FIELDS, "csrf_token": token}).status_code == 400
    assert rows(User) == []
    assert attacker.post("/signup", data={**FIELDS, "csrf_token": token}).status_code == 202


def test_over_https_a_form_passes_although_the_page_lets_no_referrer_out(
    make_app: MakeApp,
) -> None:
    base_url = "https://app.example.com"
    client = make_app(MAILER_BASE_URL=base_url).test_client()
    page = client.get("/signup", base_url=base_url).text
    token = page.split('name="csrf_token" value="')[1].split('"')[0]
    fields = {**FIELDS, "csrf_token": token}
    assert client.post("/signup", base_url=base_url, data=fields).status_code == 202


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        # What a form, or a script without a preflight, can make a browser send to another site.
        ("application/x-www-form-urlencoded", 400),
        ("multipart/form-data; boundary=x", 400),
        ("text/plain", 415),
        ("text/plain; application/json", 415),
        (None, 415),
        ("application/jsonx", 415),
        ("application/json", 202),
        ("application/json; charset=utf-8", 202),
    ],
)
def test_json_passes_under_its_own_content_type_alone(
    client: FlaskClient, rows: Rows, content_type: str | None, status: int
) -> None:
    response = client.post("/signup", data=json.dumps(FIELDS), content_type=content_type)
    assert response.status_code == status
    assert len(rows(User)) == (1 if status == 202 else 0)


@pytest.mark.parametrize("path", PATHS)
def test_a_preflight_is_never_granted(client: FlaskClient, path: str) -> None:
    for response in (_preflight(client, path), client.get(path)):
        assert not [name for name, _ in response.headers if name.startswith("Access-Control-")]


def _preflight(client: FlaskClient, path: str) -> TestResponse:
    return client.options(
        path,
        headers={
            "Origin": "https://evil.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        },
    )


# Size, proxies


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
def test_a_body_that_is_too_large_is_refused(client: FlaskClient, content_type: str) -> None:
    response = client.post("/signup", data=b"x" * 20_000, content_type=content_type)
    assert response.status_code == 413
    assert response.is_json == (content_type == "application/json")


def test_the_limit_of_the_app_is_not_overridden(make_app: MakeApp) -> None:
    client = make_app(MAX_CONTENT_LENGTH=50_000).test_client()
    body = json.dumps({**FIELDS, "padding": "x" * 20_000})
    assert client.post("/signup", data=body, content_type="application/json").status_code == 202


def test_only_a_trusted_proxy_says_that_the_client_came_by_https(make_app: MakeApp) -> None:
    for proxies, scheme in ((0, "http"), (1, "https")):
        app = make_app(MAILER_TRUSTED_PROXIES=proxies)

        @app.get("/scheme")
        def seen() -> str:
            from flask import request

            return request.scheme

        answer = app.test_client().get("/scheme", headers={"X-Forwarded-Proto": "https"})
        assert answer.text == scheme
