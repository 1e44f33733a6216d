"""SMTP servers that misbehave at every stage of a transaction, while real workers send to them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from mailer.dev.ports import free_port
from mailer.models import Attempt, Delivery

from .budget import SERVER, TIMEOUTS, check_that_no_worker_is_held
from .conftest import on_one_database
from .misbehaving import happened
from .stand import Stand
from .verdict import Fault, Verdict, judge

POLICIES = ("resend", "hold")
ATTEMPTS_ALLOWED = 3
URGENT_WITHIN = 20
"""Seconds until an email in the lane `critical` arrives, whatever hangs in the other lane."""


class Fate(NamedTuple):
    """What becomes of an email: docs/lifecycle.md in other words."""

    first: str
    """Outcome of the first attempt."""
    resend: tuple[str, int]
    """Its state at last, and how often it was accepted."""
    hold: tuple[str, int]


FINE = Fate("sent", ("sent", 1), ("sent", 1))
LATER = Fate("deferred", ("sent", 1), ("sent", 1))
LATER_THOUGH_5XX = Fate("refused", ("sent", 1), ("sent", 1))
NEVER = Fate("refused", ("failed", 0), ("failed", 0))
TOO_OFTEN = Fate("deferred", ("failed", 0), ("failed", 0))
UNHEARD = Fate("ambiguous", ("sent", 2), ("unknown", 1))
UNHEARD_AND_LOST = Fate("ambiguous", ("sent", 1), ("unknown", 0))
NEVER_HEARD = Fate("ambiguous", ("unknown", ATTEMPTS_ALLOWED), ("unknown", 1))

BROKEN = ("drop", "reset", "hang", "drip", "endless", "huge", "garbage")
COMMANDS = ("mail", "rcpt", "data")
FATES = {
    **{f"{stage}_4xx": LATER for stage in (*COMMANDS, "dot")},
    **{f"{stage}_5xx": NEVER for stage in (*COMMANDS, "dot")},
    **{f"{stage}_421": LATER for stage in (*COMMANDS, "dot")},
    **{f"{stage}_{how}": LATER for stage, how in itertools.product(COMMANDS, (*BROKEN, "early"))},
    **{f"body_{how}": LATER for how in ("drop", "hang", "452")},
    **{f"dot_{how}": UNHEARD for how in (*BROKEN, "late")},
    "dot_lost": UNHEARD_AND_LOST,
    "dot_early": FINE,
    "every_tarpit": FINE,
    "rcpt_full": LATER_THOUGH_5XX,
    "rcpt_full_always": NEVER,
    "rcpt_4xx_always": TOO_OFTEN,
    "data_421_always": TOO_OFTEN,
    "mail_hang_always": TOO_OFTEN,
    "dot_drop_always": NEVER_HEARD,
}
AT_QUIT = {f"quit_{how}": FINE for how in ("drop", "reset", "hang", "garbage", "4xx", "drip")}
A_PART = {
    name: fate
    for name, fate in FATES.items()
    if name.split("_")[1] in {"4xx", "5xx", "421", "drop", "hang", "lost"}
}
STAGES = {
    "mail": "at MAIL",
    "rcpt": "at RCPT",
    "data": "at DATA",
    "body": "within the message",
    "dot": "after the final dot",
    "every": "tarpit",
    "quit": "at QUIT",
}


@on_one_database("sqlite")
def test_a_server_that_misbehaves_at_any_stage_gets_each_email_as_often_as_the_table_says(
    setup: dict[str, Any], tmp_path: Path, publish: Callable[..., None], long: bool
) -> None:
    port = free_port()
    settings = {
        **setup,
        **TIMEOUTS,
        "MAILER_MAX_ATTEMPTS": ATTEMPTS_ALLOWED,
        "MAILER_BATCH": 10,
        # Over one connection a worker, or two that suffer would meet on one: what the server says
        # to commands that travelled with a message is lost when it breaks over that message.
        "MAILER_TRANSPORTS": f"default=smtp://127.0.0.1:{port}?domain_connections=1000",
    }
    _run(settings, tmp_path / "stand", publish, fates=FATES, times=5 if long else 1, port=port)


@on_one_database("postgresql")
def test_the_same_without_pipelining_over_connections_that_end_after_each_email(
    setup: dict[str, Any], tmp_path: Path, publish: Callable[..., None], long: bool
) -> None:
    settings = {**setup, **TIMEOUTS, "MAILER_MAX_ATTEMPTS": ATTEMPTS_ALLOWED, "MAIL_MAX_EMAILS": 1}
    fates = {**(FATES if long else A_PART), **AT_QUIT}
    folder = tmp_path / "stand"
    folder.mkdir()
    (folder / "lockstep").touch()
    way = ", no PIPELINING"
    _run(settings, folder, publish, fates=fates, times=2 if long else 1, way=way)


def _run(
    settings: dict[str, Any],
    folder: Path,
    publish: Callable[..., None],
    *,
    fates: dict[str, Fate],
    times: int,
    way: str = "",
    port: int = 0,
) -> None:
    kind = settings["MAILER_DATABASE_URL"].partition(":")[0]
    kinds = [
        (fault, policy)
        for fault, policy in itertools.product(fates, POLICIES)
        # What breaks before the message is no matter of policy: the short form tries it less.
        if times > 1 or policy == "resend" or not fault.startswith(COMMANDS) or "_drop" in fault
    ]
    cases = [
        (f"{fault}-{policy}{number}", policy) for number in range(times) for fault, policy in kinds
    ]
    with Stand(settings, folder, workers=2, server=SERVER, port=port) as stand:
        arguments = []
        for number, (name, policy) in enumerate(cases):
            # Among each two that suffer is one that does not.
            arguments += [f"{name}={policy}=default", f"well-{number}=resend=default"]
        with stand.client("send", *arguments):
            pass
        for number in range(5):
            with stand.client("send", f"urgent-{number}=resend=critical"):
                pass
        stand.wait_until_over(seconds=100 * times)
        for fault, policy in kinds:
            _check(stand, fault, policy, fates[fault])
        for stage in dict.fromkeys(fault.partition("_")[0] for fault in fates):
            verdict = _judge(stand, stage, fates)
            publish("SMTP", f"{STAGES[stage]}{way}", kind, verdict)
            assert not verdict.lost
            assert not verdict.unexplained
        _check_the_well(stand, publish, way, kind)
        check_that_no_worker_is_held(stand)


def _check(stand: Stand, fault: str, policy: str, fate: Fate) -> None:
    name = f"{fault}-{policy}"
    status, copies = fate.hold if policy == "hold" else fate.resend
    rows = stand.deliveries(name)
    met = {one.name for one in happened(stand.folder, name)}
    assert met == {row.recipient.partition("@")[0] for row in rows}
    assert {row.status for row in rows} == {status}, name
    accepted = Counter(to for _, _, to in stand.oracle.accepted())
    assert [accepted[row.recipient] for row in rows] == [copies] * len(rows), name
    assert {one.outcome for one in _first_attempts(stand, name)} == {fate.first}, name


def _first_attempts(stand: Stand, name: str) -> Sequence[Any]:
    """Return the first attempt of each that was charged."""
    query = (
        sa.select(Attempt.outcome, Delivery.recipient)
        .join(Delivery, Delivery.id == Attempt.delivery_id)
        .where(Attempt.number == 1, Attempt.outcome != "unavailable")
    )
    with stand.database.read() as connection:
        return [row for row in connection.execute(query) if row.recipient.startswith(name)]


def _judge(stand: Stand, stage: str, fates: dict[str, Fate]) -> Verdict:
    # Only what the server accepted without a good answer explains another copy.
    faults = [
        Fault(one.ended, f"{one.name}@example.com")
        for one in happened(stand.folder, stage)
        if fates[one.name.partition("-")[0]].first == "ambiguous"
    ]
    return judge(stand, faults, f"{stage}_")


def _check_the_well(stand: Stand, publish: Callable[..., None], way: str, kind: str) -> None:
    """Check those that no fault was meant for."""
    for name, words in (("well-", "healthy, in their midst"), ("urgent-", "healthy and urgent")):
        verdict = judge(stand, [], name)
        began = {one.recipient: one.began_at for one in stand.told(name)}
        verdict.recovery = [at - began[to] for at, _, to in stand.oracle.accepted() if to in began]
        publish("SMTP", f"{words}{way}", kind, verdict)
        assert verdict.once == verdict.accepted
        assert {row.status for row in stand.deliveries(name)} == {"sent"}
        if name == "urgent-":
            assert verdict.at(1) < URGENT_WITHIN
