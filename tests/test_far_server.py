"""A server that is far away, or slow to answer, is talked to over several connections at once."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask

from mailer import Filters
from mailer.delivery import drain
from mailer.sending import Sending
from mailer.state import of
from mailer.traffic import key
from mailer.turn import OWN_CONNECTIONS

from .conftest import AppFactory
from .smtp_server import GOOD, Do, SMTPServer
from .test_turn import accept, statuses

FAR = Do(call=lambda: time.sleep(0.03))


@contextmanager
def far(
    make_app: AppFactory, script: Any, options: str = "", user: str = ""
) -> Iterator[tuple[Flask, SMTPServer]]:
    with SMTPServer(script=script) as server:
        app = make_app(
            MAILER_TRANSPORTS=f"far=smtp://{user}127.0.0.1:{server.port}{options}",
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


@pytest.mark.parametrize("code", [421, 554])
def test_a_server_that_wants_no_more_connections_is_no_outage(
    make_app: AppFactory, code: int
) -> None:
    refusal = Do(b"%d 5.7.0 too many connections\r\n" % code, "close")
    script = {"dot": [FAR] * 200, "banner": [GOOD, GOOD, *[refusal] * 30]}
    with far(make_app, script) as (app, server):
        accept(app, 60)
        with app.app_context():
            drain(of(app), "default")
        assert statuses(app) == {"sent": 60}
        assert set(recipients(server).values()) == {1}
        _, known = of(app).traffic.known()
        assert known["far"].circuit.trips == 0
        assert len(server.sessions) <= 2 + OWN_CONNECTIONS


def test_a_restart_that_cuts_all_streams_off_is_one_failure(make_app: AppFactory) -> None:
    cut = Do(b"", "close", call=lambda: time.sleep(0.03))
    with far(make_app, {"dot": [*[FAR] * 60, *[cut] * OWN_CONNECTIONS, *[FAR] * 60]}) as (app, _):
        accept(app, 120)
        with app.app_context():
            drain(of(app), "default")
        _, known = of(app).traffic.known()
        assert known["far"].circuit.trips == 0


def test_a_login_refused_for_now_is_charged_to_one_email(make_app: AppFactory) -> None:
    later = Do(b"454 4.7.0 not now\r\n")
    with far(make_app, {"auth": [later] * 30}, user="acme:secret@") as (app, server):
        server.features.append("AUTH PLAIN")
        accept(app, 60)
        state = of(app)
        transport = state.traffic.transports["far"]
        transport.pace.worth, transport.pace.is_known = OWN_CONNECTIONS, True
        with app.app_context():
            drain(state, "default")
        assert sum(row.attempts for row in state.ledger.list(Filters(), None)) == 1
        assert server.messages == []


def test_a_250_that_was_heard_counts_although_an_exit_cuts_off_who_hears_it(
    make_app: AppFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with far(make_app, {"dot": [FAR] * 200}) as (app, server):
        accept(app, 80, on_unknown="hold")
        learn, learned = Sending._learn, itertools.count()

        def cut_off(self: Sending, *heard: Any) -> None:
            if next(learned) == 40:
                raise SystemExit("the time of the task is over")
            learn(self, *heard)

        monkeypatch.setattr(Sending, "_learn", cut_off)
        with app.app_context(), pytest.raises(SystemExit):
            drain(of(app), "default")
        assert statuses(app)["sent"] == len(server.messages) > 40
        monkeypatch.undo()
        with app.app_context():
            drain(of(app), "default")
        assert statuses(app) == {"sent": 80}
        assert set(recipients(server).values()) == {1}


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
