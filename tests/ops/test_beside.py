"""The console of the service, beside an app that only adds `Mailer`."""

from __future__ import annotations

from flask import Flask

from mailer import Mailer, dispatch
from mailer.dev.catcher import Catcher

from .conftest import SignIn


def test_it_shows_and_steers_the_mail_of_another_app(
    app: Flask, sign_in: SignIn, catcher: Catcher
) -> None:
    own = Flask("shop")
    own.config.update(
        MAIL_PORT=catcher.smtp_port,
        MAIL_DEFAULT_SENDER="shop@example.com",
        MAILER_DATABASE_URL=app.config["MAILER_DATABASE_URL"],
        CELERY={"broker_url": "memory://", "task_always_eager": True},
    )
    mailer = Mailer(own)

    @mailer.loader("welcome", needs=["start_url"])
    def welcome(context: object) -> dict[str, str]:
        return {"start_url": "https://shop.example/canary"}

    catcher.script("rcpt", "550 5.1.1 No such user", times=1)
    with own.app_context():
        email = dispatch("welcome", to="ann@example.com", context={"start_url": ""})
    browser = sign_in("viewer")
    assert f"/ops/emails/{email.id}" in browser.get("/ops/emails").text
    page = browser.get(f"/ops/emails/{email.id}").text
    assert "No such user" in page
    assert "canary" not in page
    assert "No such user" in browser.get("/ops/failed").text
