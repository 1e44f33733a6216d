"""Every fault of docs/lifecycle.md, over the wire: what becomes of the delivery."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pytest
from flask import Flask

from mailer import Filters, dispatch
from mailer.delivery import drain
from mailer.state import of

from .conftest import AppFactory
from .smtp_server import CLOSE, GOOD, HANG, RESET, Certificates, Do, SMTPServer
from .worker import CHECKOUT


class Fault(NamedTuple):
    """A row of the table, and how to make it happen."""

    name: str
    stage: str
    do: Do
    status: str
    attempts: int
    circuit: str = ""
    """``trips``, ``counts``, or nothing."""
    on_unknown: str = "resend"
    settings: dict[str, Any] = {}  # noqa: RUF012 - never changed
    feature: str = "AUTH PLAIN"


LATER, NEVER = Do(b"451 4.3.0 later\r\n"), Do(b"550 5.1.1 never\r\n")
BYE = Do(b"421 4.3.2 closing\r\n", "close")
LOGIN = {"MAIL_USERNAME": "app", "MAIL_PASSWORD": "s3cret"}
TLS = {"MAIL_USE_TLS": True}


def no(code: bytes) -> Do:
    return Do(code + b" no\r\n")


FAULTS = [
    Fault("refuses the connection", "banner", Do(b"554 5.3.2 go away\r\n"), "queued", 0, "trips"),
    Fault("hangs at the greeting", "banner", HANG, "queued", 0, "trips"),
    Fault("greets with a 421", "banner", BYE, "queued", 0, "counts"),
    Fault("offers no STARTTLS", "quit", GOOD, "queued", 0, "trips", settings=TLS),
    Fault("has a wrong certificate", "quit", GOOD, "queued", 0, "trips", settings=TLS),
    Fault("refuses the login", "auth", no(b"535 5.7.8"), "queued", 0, "trips", settings=LOGIN),
    Fault("wants another login", "auth", no(b"534 5.7.9"), "queued", 0, "trips", settings=LOGIN),
    Fault("wants TLS to log in", "auth", no(b"530 5.7.0"), "queued", 0, "trips", settings=LOGIN),
    Fault("refuses the login for now", "auth", no(b"454 4.7.0"), "queued", 1, settings=LOGIN),
    Fault("says 421 to a command", "rcpt", BYE, "queued", 1, "counts"),
    Fault("says 421 to the message", "dot", BYE, "queued", 1, "counts"),
    Fault("says 4xx to MAIL", "mail", LATER, "queued", 1),
    Fault("says 4xx to RCPT", "rcpt", LATER, "queued", 1),
    Fault("says 4xx to DATA", "data", LATER, "queued", 1),
    Fault("says 4xx to the message", "dot", LATER, "queued", 1),
    Fault("says 5xx to MAIL", "mail", NEVER, "failed", 1),
    Fault("says 5xx to RCPT", "rcpt", NEVER, "failed", 1),
    Fault("says 5xx to DATA", "data", NEVER, "failed", 1),
    Fault("says 5xx to the message", "dot", NEVER, "failed", 1),
    Fault("has a full mailbox", "rcpt", Do(b"552 5.2.2 full\r\n"), "queued", 1),
    Fault("takes less than the message", "quit", GOOD, "failed", 1, feature="SIZE 100"),
    Fault("answers garbage", "rcpt", Do(b"hello there\r\n"), "queued", 1, "counts"),
    Fault("hangs up before the message", "rcpt", CLOSE, "queued", 1, "counts"),
    Fault("hangs before the message", "data", HANG, "queued", 1, "counts"),
    Fault("hangs up after the final dot", "dot", CLOSE, "queued", 1, "counts"),
    Fault("hangs after the final dot", "dot", HANG, "queued", 1, "counts"),
    Fault("resets after the final dot", "dot", RESET, "queued", 1, "counts"),
    Fault("hangs up after the final dot, hold", "dot", CLOSE, "unknown", 1, "counts", "hold"),
    Fault("hangs after the final dot, hold", "dot", HANG, "unknown", 1, "counts", "hold"),
    Fault("says 4xx to the message, hold", "dot", LATER, "queued", 1, "", "hold"),
    Fault("hangs up before the message, hold", "rcpt", CLOSE, "queued", 1, "counts", "hold"),
    Fault("hangs up at QUIT", "quit", CLOSE, "sent", 1),
]  # fmt: skip


def app_for(make_app: AppFactory, smtp: SMTPServer, **settings: Any) -> Flask:
    return make_app(
        MAIL_PORT=smtp.port,
        MAIL_CONNECT_TIMEOUT_SECONDS=0.5,
        MAIL_TIMEOUT_SECONDS=0.5,
        MAIL_FINAL_TIMEOUT_SECONDS=0.5,
        MAILER_BACKOFF_BASE_SECONDS=60,
        MAILER_BACKOFF_CAP_SECONDS=600,
        CELERY={"broker_url": "memory://"},
        **settings,
    )


def only_delivery(app: Flask) -> Any:
    (row,) = of(app).ledger.list(Filters(), 10)
    return row


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_server_that(fault: Fault, make_app: AppFactory, certificates: Certificates) -> None:
    tls = certificates.server("other-host") if "certificate" in fault.name else None
    with SMTPServer(script={fault.stage: [fault.do]}, features=[fault.feature], tls=tls) as smtp:
        app = app_for(make_app, smtp, MAIL_CA_FILE=certificates.ca_file, **fault.settings)
        with app.app_context():
            dispatch(
                None, to="ada@example.com", subject="Hi", text="Hi", on_unknown=fault.on_unknown
            )
            drain(of(app), "default")
        of(app).traffic.close()
    row = only_delivery(app)
    assert (row.status, row.attempts) == (fault.status, fault.attempts)
    if fault.status != "sent":
        assert row.reason
        assert row.stage
    circuit = of(app).traffic.known()[1]["default"].circuit
    assert (circuit.trips, circuit.failures) == {"": (0, 0), "counts": (0, 1), "trips": (1, 0)}[
        fault.circuit
    ]


def test_every_fault_of_the_lifecycle_page_is_tested_here() -> None:
    page = (CHECKOUT / "docs" / "lifecycle.md").read_text()
    table = page.partition("## When the server misbehaves")[2].partition("\n## ")[0]
    rows = re.findall(r"\| ([^|]*) \| `([a-z][^`]*)` \|$", table, re.MULTILINE)
    assert {name: circuit.partition(",")[0] for circuit, name in rows} == {
        fault.name: fault.circuit or "-" for fault in FAULTS
    }
