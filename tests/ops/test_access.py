"""Who may see and do what in the console."""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from limits import parse

from mailer import members
from mailer.models import Visit
from mailer.ops.blueprint import VIEWS, View
from mailer.ops.limits import Limit
from mailer.ops.routes import sign_in as sign_in_page
from mailer.state import of

from ..conftest import AppFactory
from .conftest import PASSWORD, SignIn, submit, token


def _address(one: View) -> str:
    return "/ops" + re.sub(r"<[^>]+>", "x", one.path)


@pytest.mark.parametrize("one", [one for one in VIEWS if one.role], ids=lambda one: one.endpoint)
def test_a_stranger_is_led_to_the_sign_in(app: Flask, one: View) -> None:
    client = app.test_client()
    csrf = token(client.get("/ops/sign-in").text)
    answer = client.open(_address(one), method=one.method, data={"csrf_token": csrf})
    assert answer.status_code == 303
    assert answer.location.startswith("/ops/sign-in")


@pytest.mark.parametrize(
    "one", [one for one in VIEWS if one.role not in {None, "viewer"}], ids=lambda one: one.endpoint
)
def test_a_member_of_a_lower_role_is_refused(app: Flask, sign_in: SignIn, one: View) -> None:
    lower = members.ROLES[members.ROLES.index(str(one.role)) - 1]
    client = sign_in(lower)
    csrf = token(client.get("/ops/").text)
    answer = client.open(_address(one), method=one.method, data={"csrf_token": csrf})
    assert answer.status_code == 403
    assert f"takes the role {one.role}" in answer.text


@pytest.mark.parametrize(
    "one", [one for one in VIEWS if one.method == "POST"], ids=lambda one: one.endpoint
)
def test_what_changes_something_needs_the_token_of_a_form(sign_in: SignIn, one: View) -> None:
    answer = sign_in().post(_address(one), data={"a": "b"})
    assert answer.status_code == 400
    assert "does not belong to your visit" in answer.text


@pytest.mark.parametrize("one", VIEWS, ids=lambda one: f"{one.method} {one.endpoint}")
def test_what_no_database_can_hold_is_refused_in_words(app: Flask, one: View) -> None:
    client = app.test_client()
    csrf = token(client.get("/ops/sign-in").text)
    places: list[tuple[str, dict[str, Any]]] = [("?a%00b=c", {}), ("?q=a%00b", {})]
    if one.method == "POST":
        places += [("", {"name": "a\0b"}), ("", {"file": (BytesIO(), "a\0b")})]
    addresses = [_address(one) + query for query, _ in places]
    if "<" in one.path:
        places.append(("", {}))
        addresses.append("/ops" + re.sub(r"<[^>]+>", "a%00b", one.path))
    for address, (_, fields) in zip(addresses, places, strict=True):
        data = {"csrf_token": csrf, **fields} if one.method == "POST" else None
        answer = client.open(address, method=one.method, data=data)
        assert answer.status_code == 400, address
        assert "expected text without the character NUL" in answer.text


@pytest.mark.parametrize("role", members.ROLES)
def test_the_menu_has_what_a_member_may_open(sign_in: SignIn, role: str) -> None:
    browser = sign_in(role)
    menu = re.search(r"<nav .*?</nav>", browser.get("/ops/").text, re.DOTALL)
    assert menu
    links = re.findall(r'href="([^"]+)"', menu[0])
    assert ("/ops/keys" in links) == (role == "admin")
    assert {browser.get(one).status_code for one in links} == {200}


def test_a_member_signs_in_and_out(app: Flask, sign_in: SignIn) -> None:
    browser = sign_in("viewer")
    page = browser.get("/ops/")
    assert page.status_code == 200
    assert "<strong>viewer</strong>" in page.text
    cookie = browser.get_cookie("mailer_console", path="/ops/")
    assert cookie is not None
    assert (cookie.http_only, cookie.same_site) == (True, "Lax")
    answer = submit(browser, "/ops/sign-out", at="/ops/")
    assert (answer.status_code, answer.location) == (303, "/ops/sign-in")
    assert browser.get("/ops/").status_code == 303
    thief = app.test_client()
    thief.set_cookie("mailer_console", cookie.value, path="/ops/")
    assert thief.get("/ops/").status_code == 303


@pytest.mark.parametrize(
    ("name", "password"),
    [("ann", "wrong horse battery staple"), ("bob", PASSWORD), ("", ""), ("ann", "x" * 5000)],
)
def test_a_wrong_name_and_a_wrong_password_get_the_same_words(
    app: Flask, name: str, password: str
) -> None:
    members.add(of(app).database, "ann", "viewer", PASSWORD, actor="test")
    answer = submit(app.test_client(), "/ops/sign-in", name=name, password=password)
    assert answer.status_code == 422
    assert "There is nobody with this name and password." in answer.text
    assert password == "" or password not in answer.text


def test_the_session_of_before_is_not_the_one_after(app: Flask) -> None:
    members.add(of(app).database, "ann", "viewer", PASSWORD, actor="test")
    browser = app.test_client()
    before = token(browser.get("/ops/sign-in").text)
    browser.post("/ops/sign-in", data={"csrf_token": before, "name": "ann", "password": PASSWORD})
    assert browser.post("/ops/sign-out", data={"csrf_token": before}).status_code == 400


def test_who_signs_in_again_ends_the_visit_of_before(app: Flask, sign_in: SignIn) -> None:
    browser = sign_in()
    first = browser.get_cookie("mailer_console", path="/ops/")
    submit(browser, "/ops/sign-in", name="admin", password=PASSWORD)
    second = browser.get_cookie("mailer_console", path="/ops/")
    assert first is not None
    assert second is not None
    assert first.value != second.value
    assert members.visitor(of(app).database, first.value) is None


@pytest.mark.parametrize(
    ("wanted", "led_to"),
    [
        ("/ops/?a=1", "/ops/?a=1"),
        ("https://evil.example/ops/", "/ops/"),
        ("//evil.example/ops/", "/ops/"),
        ("/ops/\\evil.example", "/ops/"),
        ("/signup", "/ops/"),
    ],
)
def test_the_sign_in_leads_on_within_the_console_alone(
    app: Flask, wanted: str, led_to: str
) -> None:
    members.add(of(app).database, "ann", "viewer", PASSWORD, actor="test")
    browser = app.test_client()
    csrf = token(browser.get("/ops/sign-in").text)
    answer = browser.post(
        "/ops/sign-in",
        query_string={"next": wanted},
        data={"csrf_token": csrf, "name": "ann", "password": PASSWORD},
    )
    assert answer.location == led_to


def test_a_page_that_was_wanted_is_kept_over_the_sign_in(app: Flask) -> None:
    answer = app.test_client().get("/ops/?lane=bulk")
    assert answer.location == "/ops/sign-in?next=/ops/%3Flane%3Dbulk"


def test_a_live_part_sends_the_whole_page_to_the_sign_in(app: Flask) -> None:
    answer = app.test_client().get("/ops/", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (200, "/ops/sign-in")


def test_who_tries_too_often_has_to_wait(app: Flask) -> None:
    members.add(of(app).database, "ann", "viewer", PASSWORD, actor="test")
    browser = app.test_client()
    csrf = token(browser.get("/ops/sign-in").text)
    answers = [
        browser.post("/ops/sign-in", data={"csrf_token": csrf, "name": "ann", "password": "wrong"})
        for _ in range(9)
    ]
    assert [one.status_code for one in answers] == [422] * 8 + [429]
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 900
    right = browser.post(
        "/ops/sign-in", data={"csrf_token": csrf, "name": "ANN ", "password": PASSWORD}
    )
    assert right.status_code == 429


def test_a_right_password_is_no_mistake(app: Flask) -> None:
    members.add(of(app).database, "ann", "viewer", PASSWORD, actor="test")
    for _ in range(12):
        answer = submit(app.test_client(), "/ops/sign-in", name="ann", password=PASSWORD)
        assert answer.status_code == 303


def test_strangers_lock_nobody_out_of_the_browser_they_use(
    app: Flask, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in_page, "_PER_NAME", Limit("name", parse("3/hour")))
    known = sign_in("admin")

    def tried(browser: FlaskClient, address: str, password: str) -> int:
        environ: dict[str, Any] = {"REMOTE_ADDR": address}
        csrf = token(browser.get("/ops/sign-in", environ_base=environ).text)
        data = {"csrf_token": csrf, "name": "admin", "password": password}
        return browser.post("/ops/sign-in", data=data, environ_base=environ).status_code

    strangers = [tried(app.test_client(), f"203.0.113.{n}", "wrong") for n in range(4)]
    assert strangers == [422, 422, 422, 429]
    assert tried(app.test_client(), "198.51.100.1", PASSWORD) == 429
    assert tried(known, "198.51.100.1", PASSWORD) == 303
    # Whoever has stolen it can try no more with it than of a name.
    guesses = [tried(known, f"192.0.2.{n}", "wrong") for n in range(4)]
    assert guesses == [422, 422, 422, 429]


def test_redis_learns_no_name_and_no_address_of_who_signs_in(
    make_app: AppFactory, redis_url: str
) -> None:
    app = make_app(MAILER_REDIS_URL=redis_url)
    submit(app.test_client(), "/ops/sign-in", name="canary", password="x")
    with redis.Redis.from_url(redis_url) as client:
        names = [name.decode() for name in client.scan_iter()]
    assert len([name for name in names if "console" in name]) == 3
    assert not any("canary" in name or "127.0.0.1" in name for name in names)


def test_a_page_that_is_open_is_nobody_who_is_there(app: Flask, sign_in: SignIn) -> None:
    browser = sign_in()
    _move(app, "seen_at", members.IDLE_SECONDS - 60)
    browser.get("/ops/", headers={"HX-Request": "true"})
    browser.get("/ops/results/x")
    _move(app, "seen_at", 61)
    assert browser.get("/ops/").status_code == 303


@pytest.mark.parametrize("column", ["seen_at", "begun_at"])
def test_a_visit_ends_by_itself(app: Flask, sign_in: SignIn, column: str) -> None:
    browser = sign_in()
    limit = {"seen_at": members.IDLE_SECONDS, "begun_at": members.VISIT_SECONDS}[column]
    _move(app, column, limit - 60)
    assert browser.get("/ops/").status_code == 200
    _move(app, column, limit)
    assert browser.get("/ops/").status_code == 303


def _move(app: Flask, column: str, seconds: float) -> None:
    with of(app).database.begin() as connection:
        field = Visit.__table__.c[column]
        connection.execute(
            sa.update(Visit).values({column: sa.type_coerce(field, sa.Double) - seconds})
        )


def test_another_password_a_lower_role_and_removal_hold_at_once(
    app: Flask, sign_in: SignIn
) -> None:
    browser, database = sign_in("operator"), of(app).database
    members.set_role(database, "operator", "viewer", actor="test")
    assert "viewer</span>" in browser.get("/ops/").text
    members.set_password(database, "operator", "another horse battery staple", actor="test")
    assert browser.get("/ops/").status_code == 303
    other = sign_in("viewer")
    members.remove(database, "viewer", actor="test")
    assert other.get("/ops/").status_code == 303


# A proxy that says who it is


def test_beside_a_proxy_no_password_is_checked(make_app: AppFactory) -> None:
    app = make_app(MAILER_CONSOLE_USER_HEADER="X-Forwarded-User")
    members.add(of(app).database, "ann", "operator", PASSWORD, actor="test")
    browser = app.test_client()
    csrf = token(browser.get("/signup").text)
    assert browser.get("/ops/sign-in").status_code == 404
    for path in ("sign-in", "sign-out"):
        for password in (PASSWORD, "wrong"):
            data = {"csrf_token": csrf, "name": "ann", "password": password}
            answer = browser.post(f"/ops/{path}", data=data)
            assert answer.status_code == 404
            assert "there is nothing to sign in to" in answer.text
    assert of(app).ledger.acts(5, action="fail to sign in")[0] == []


@pytest.fixture
def behind_proxy(make_app: AppFactory) -> FlaskClient:
    app = make_app(MAILER_CONSOLE_USER_HEADER="X-Forwarded-User", MAILER_TRUSTED_PROXIES=1)
    members.add(of(app).database, "ann", "operator", PASSWORD, actor="test")
    return app.test_client()


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        ("127.0.0.1", {"X-Forwarded-User": "ann", "X-Forwarded-For": "203.0.113.9"}, 200),
        ("127.0.0.1", {"X-Forwarded-User": "mallory"}, 403),
        ("127.0.0.1", {}, 403),
        ("203.0.113.9", {"X-Forwarded-User": "ann"}, 403),
        # What a client says of itself is no proxy's word.
        ("203.0.113.9", {"X-Forwarded-User": "ann", "X-Forwarded-For": "127.0.0.1"}, 403),
    ],
)
def test_a_trusted_proxy_alone_says_who_it_is(
    behind_proxy: FlaskClient, peer: str, headers: dict[str, str], status: int
) -> None:
    environ: dict[str, Any] = {"REMOTE_ADDR": peer}
    answer = behind_proxy.get("/ops/", headers=headers, environ_base=environ)
    assert answer.status_code == status
    assert ("<strong>ann</strong>" in answer.text) == (status == 200)


def test_without_the_setting_a_header_says_nothing(app: Flask) -> None:
    members.add(of(app).database, "ann", "admin", PASSWORD, actor="test")
    answer = app.test_client().get("/ops/", headers={"X-Forwarded-User": "ann"})
    assert answer.status_code == 303
