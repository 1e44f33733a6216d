"""A server that is far away, or slow to answer, is talked to over several connections at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask

from mailer import Filters
from mailer.delivery import drain
from mailer.state import of
from mailer.traffic import key
from mailer.turn import OWN_CONNECTIONS

from .conftest import AppFactory
from .smtp_server import GOOD, Do, SMTPServer
from .test_turn import accept, statuses

FAR = Do(call=lambda: time.sleep(0.03))


@contextmanager
def far(make_app: AppFactory, script: Any, options: str = "") -> Iterator[tuple[Flask, SMTPServer]]:
    with SMTPServer(script=script) as server:
        app = make_app(
            MAILER_TRANSPORTS=f"far=smtp://127.0.0.1:{server.port}{options}",
            CELERY={"broker_url": "memory://"},
        )
        yield app, server
        of(app).traffic.close()


def recipients(server: SMTPServer) -> Counter[str]:
    return Counter(message.recipient for message in server.messages)


def test_a_far_server_is_talked_to_over_several_connections(make_app: AppFactory) -> None:
    with far(make_app, {"dot": [FAR] * 100}) as (app, server):
        accept(app, 100)
        began = time.monotonic()
        with app.app_context():
            drain(of(app), "default")
        assert time.monotonic() - began < 100 * 0.03
        assert statuses(app) == {"sent": 100}
        assert set(recipients(server).values()) == {1}
        assert 2 < len({message.session for message in server.messages}) <= OWN_CONNECTIONS


def test_a_near_server_needs_one(make_app: AppFactory) -> None:
    with far(make_app, {}) as (app, server):
        accept(app, 200)
        with app.app_context():
            drain(of(app), "default")
        assert len({message.session for message in server.messages}) == 1


def test_a_limit_of_connections_holds_and_they_are_given_back(make_app: AppFactory) -> None:
    with far(make_app, {"dot": [FAR] * 100}, "?connections=3") as (app, server):
        accept(app, 100)
        with app.app_context():
            drain(of(app), "default")
        assert statuses(app) == {"sent": 100}
        assert len({message.session for message in server.messages}) == 3
        known = of(app).traffic.shared.read([key("far")]).values[key("far")]
        assert known["quota"]["holders"] == {}


def test_connections_that_the_server_does_not_want_cost_no_email(make_app: AppFactory) -> None:
    refusals = [GOOD, *[Do(b"421 4.7.0 too many connections\r\n", "close")] * 30]
    with far(make_app, {"dot": [FAR] * 200, "banner": refusals}) as (app, server):
        accept(app, 60)
        with app.app_context():
            drain(of(app), "default")
        assert statuses(app).keys() <= {"sent", "queued"}
        assert set(recipients(server).values()) == {1}
        assert len(server.messages) == statuses(app)["sent"] > 0
        rows = of(app).ledger.list(Filters(statuses=["queued"]), None)
        assert {row.attempts for row in rows} <= {0}, "an attempt was charged"


@pytest.mark.parametrize("policy", ["resend", "hold"])
def test_of_several_streams_the_one_that_was_cut_off_is_known(
    make_app: AppFactory, policy: str
) -> None:
    cut = Do(b"", "close", accept=True, call=lambda: time.sleep(0.03))
    with far(make_app, {"dot": [*[FAR] * 50, cut, *[FAR] * 80]}) as (app, server):
        accept(app, 100, on_unknown=policy)
        with app.app_context():
            drain(of(app), "default")
        seen = recipients(server)
        assert set(seen) == {f"r{number}@example.com" for number in range(100)}
        if policy == "resend":
            assert sum(seen.values()) in (100, 101)
            return
        assert set(seen.values()) == {1}
        (unknown,) = of(app).ledger.list(Filters(statuses=["unknown"]), None)
        assert statuses(app) == {"sent": 99, "unknown": 1}
        cut_off = {
            message.session for message in server.messages if message.recipient == unknown.recipient
        }
        last = {message.session: message.recipient for message in server.messages}
        assert [last[session] for session in cut_off] == [unknown.recipient]
