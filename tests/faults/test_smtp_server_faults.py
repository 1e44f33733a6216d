"""SMTP servers that cannot be talked to: not reached, no greeting, no TLS, no login."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
import sqlalchemy as sa

from mailer.models import LANES, Attempt

from ..smtp_server import Certificates
from ..worker import wait_until
from .budget import SERVER, TIMEOUTS, check_that_no_worker_is_held
from .conftest import COMMON
from .misbehaving import happened
from .stand import Stand
from .verdict import judge

BROKEN = ("drop", "reset", "hang", "drip", "endless", "huge", "garbage")
MODES = {
    "banner": ("554", "421", *BROKEN, "early"),
    "ehlo": ("5xx", "421", *BROKEN),
    "starttls": ("missing", "454", "drop", "hang", "garbage"),
    "tls": ("certificate", "drop", "hang", "drip", "garbage"),
    "auth": ("535", "530", "454", "421", *BROKEN),
}
A_FEW = {
    "banner": ("554", "hang", "drip"),
    "ehlo": ("drop",),
    "starttls": ("missing",),
    "tls": ("certificate", "drip"),
    "auth": ("535",),
}


def test_a_server_that_cannot_be_talked_to_costs_no_email_an_attempt_nor_its_secrecy(
    redis_url: str, tmp_path: Path, publish: Callable[..., None], long: bool
) -> None:
    settings = {
        **COMMON,
        **TIMEOUTS,
        "MAILER_DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.sqlite3'}",
        "CELERY": {"broker_url": redis_url},
        "MAIL_USE_TLS": True,
        "MAIL_USERNAME": "acme",
        "MAIL_PASSWORD": "not a secret either",
    }
    folder = tmp_path / "stand"
    folder.mkdir()
    settings["MAIL_CA_FILE"] = Certificates(folder).ca_file
    (folder / "closed").touch()
    modes = [f"{stage}_{how}" for stage, all_ in (MODES if long else A_FEW).items() for how in all_]
    (folder / "modes").write_text("\n".join(modes))
    with Stand(settings, folder, server=SERVER) as stand:
        cases = [f"patient-{lane}-{p}={p}={lane}" for p in ("resend", "hold") for lane in LANES]
        with stand.client("send", *cases):
            pass
        wait_until(lambda: "connect" in _stages(stand), 30, stand.words)
        (folder / "closed").unlink()
        with redis.Redis.from_url(redis_url) as client:
            wait_until(lambda: _met(folder, client) >= set(modes), 600 if long else 60, stand.words)
        stand.wait_until_over(seconds=90)
        verdict = judge(stand, [])
        verdict.recovery = [max(at for at, *_ in stand.oracle.accepted()) - _last_fault(folder)]
        publish("SMTP", "refused; at the greeting, EHLO, STARTTLS, AUTH", "sqlite", verdict)
        assert verdict.once == verdict.accepted == len(cases)
        put_off = _put_off(stand)
        rows = stand.deliveries()
        assert {(row.status, row.attempts - put_off[row.id]) for row in rows} == {("sent", 1)}
        assert {"connect", *(MODES if long else A_FEW)} <= _stages(stand) | {"tls"}
        assert not (folder / "untrusted").exists(), "said MAIL before TLS and AUTH"
        check_that_no_worker_is_held(stand)


def _met(folder: Path, client: redis.Redis) -> set[str]:
    """Return which misdeeds happened so far, and let Redis forget that somebody should wait.

    The pauses of the circuit double with each fault, and there are many to come.
    """
    for pattern in ("mailer:transport:*", "mailer:bell:*"):
        for key in client.scan_iter(pattern):
            client.delete(key)
    return {one.misdeed for one in happened(folder, "")}


def _stages(stand: Stand) -> set[Any]:
    """Return at which stages the transport was found to be of no use."""
    query = sa.select(Attempt.stage).where(Attempt.outcome == "unavailable").distinct()
    with stand.database.read() as connection:
        return set(connection.execute(query).scalars())


def _put_off(stand: Stand) -> Counter[int]:
    """Return how often each delivery was put off by AUTH 454, which alone counts as an attempt."""
    query = sa.select(Attempt.delivery_id).where(Attempt.stage == "auth", Attempt.code == 454)
    with stand.database.read() as connection:
        return Counter(connection.execute(query).scalars())


def _last_fault(folder: Path) -> float:
    return max(one.ended for one in happened(folder, ""))
