"""Tasks: an id leads to a lane, and nothing else is decided here."""

from __future__ import annotations

import pytest
from flask import Flask

from mailer import Filters, dispatch
from mailer.dev.catcher import Catcher
from mailer.models import Status
from mailer.state import of
from mailer.tasks import send_email, sweep

from .conftest import AppFactory, let_time_pass


@pytest.fixture
def app(make_app: AppFactory, catcher: Catcher) -> Flask:
    return make_app(MAIL_PORT=catcher.smtp_port, CELERY={"broker_url": "memory://"})


def send(**more: str) -> str:
    return dispatch(None, to="ada@example.com", subject="Hello", text="Hello", **more).id  # type: ignore[arg-type]


def statuses(app: Flask) -> list[str]:
    return [row.status for row in reversed(of(app).ledger.list(Filters(), 10))]


def test_send_email_drains_the_lane_of_its_email_and_no_other(app: Flask) -> None:
    with app.app_context():
        first, _, other = send(), send(), send(lane="bulk")
        send_email.run(first)
        assert statuses(app) == ["sent", "sent", "queued"]
        send_email.run(other)
        assert statuses(app) == ["sent", "sent", "sent"]


def test_an_id_that_was_rolled_back_or_is_anothers_drains_what_is_due_here(app: Flask) -> None:
    with app.app_context():
        send()
        send(lane="bulk")
        send_email.run("an id of another ledger")
    assert statuses(app) == ["sent", "sent"]


def test_sweep_rings_the_lanes_with_due_mail_after_giving_up_leases(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung = []
    with app.app_context():
        email_id = send(lane="critical")
        of(app).ledger.claim("critical", 1)
        # After a crash the bell may ring with nobody to answer it.
        monkeypatch.setattr(of(app).doorbell, "pass_on", lambda lane, id: rung.append((lane, id)))
        monkeypatch.setattr(of(app).doorbell, "ring", lambda *args: pytest.fail("not passed on"))
        sweep.run()
        assert rung == []
        let_time_pass(of(app).database, "lease_until", 3600)
        sweep.run()
    assert statuses(app) == [Status.QUEUED]
    assert rung == [("critical", email_id)]
