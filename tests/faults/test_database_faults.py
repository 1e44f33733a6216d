"""The ledger's database locked, full, restarted and cut off, while emails come in and go out."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa

from mailer.dev.redis import EmbeddedRedis
from mailer.models import User

from .. import postgresql
from ..worker import wait_until
from .conftest import COMMON, LONG
from .ledger_faults import (
    Met,
    Place,
    crash,
    cut_connections,
    fill_the_disk,
    lock,
    postgresql_place,
    restart,
    sqlite_place,
)
from .service import Answer, Service, service
from .stand import Stand
from .verdict import Verdict, judge, resumed_after

SETTINGS: dict[str, Any] = {
    **COMMON,
    "MAIL_CONNECT_TIMEOUT_SECONDS": 1,
    "MAIL_TIMEOUT_SECONDS": 1,
    "MAIL_FINAL_TIMEOUT_SECONDS": 4,
    "MAILER_DRAIN_SECONDS": 1,
    # A worker that waits with a 250 must outlive the fault: the longest is a lock.
    "MAILER_TASK_SECONDS": 60 if LONG else 14,
    "MAILER_LEASE_SECONDS": 62 if LONG else 15,
    "MAILER_BATCH": 5,  # so that two workers share even a few emails
    "MAILER_LIMIT_PER_CLIENT": "1000000/hour",
}
DELAY = 0.08
"""Seconds that the oracle thinks: with two workers as long as the load takes, so that each is in
the middle of a batch when the fault comes."""
PER_SECOND = 25
RESUMES_WITHIN = 30
REFUSES_WITHIN = 8
"""Seconds: the wait for a lock is five, and the machine is busy."""


class Fault(NamedTuple):
    inject: Callable[[Place, float, Met], None]
    seconds: float
    """How long it takes in the short form. A lock is longer than anybody waits for it."""
    long_seconds: float
    times: int
    """How often the long form repeats it."""
    words: str
    """What SQLite or PostgreSQL says to a dispatch that meets it; empty if none need meet it."""
    keeps_waiting: bool = False
    """It holds dispatches and settlements up, rather than failing them at once."""


FAULTS = {
    "write lock held": Fault(lock, 8, 30, 5, "database is locked|lock timeout", keeps_waiting=True),
    "disk full": Fault(fill_the_disk, 5, 25, 5, "disk is full|No space left"),
    "connections ended in a transaction": Fault(cut_connections, 4, 20, 10, ""),
    "stop and start": Fault(restart, 1, 5, 10, "[Cc]onnection"),
    "crash and start": Fault(crash, 1, 5, 10, "[Cc]onnection"),
}
OF_A_FILE = ("write lock held", "disk full")


class Seen(NamedTuple):
    """What was seen of one fault from the outside."""

    name: str
    """With which all its recipients begin."""
    recovery: list[float]
    """Seconds from its end until an email dispatched later arrived."""
    answers: list[Answer]


class Stack(NamedTuple):
    place: Place
    stand: Stand
    service: Service


@pytest.fixture(params=["sqlite", "postgresql"])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    """Two workers, beat and the service on a database of this kind."""
    with ExitStack() as ends:
        if request.param == "sqlite":
            place = ends.enter_context(sqlite_place(tmp_path))
        elif postgresql.binaries() is None:
            _missing("no PostgreSQL here: install the package postgresql to run these tests")
        else:
            place = ends.enter_context(postgresql_place())
        server = ends.enter_context(EmbeddedRedis(tmp_path / "redis"))
        settings = {
            **SETTINGS,
            "MAILER_DATABASE_URL": place.url,
            "CELERY": {"broker_url": server.url},
        }
        stand = ends.enter_context(Stand(settings, tmp_path / "stand", workers=2, delay=DELAY))
        door = ends.enter_context(service(stand.environ, stand.folder / "service.log"))
        yield Stack(place, stand, door)


def test_a_database_fault_loses_and_doubles_nothing_and_nobody_is_told_what_is_not_so(
    stack: Stack, publish: Callable[..., None], long: bool
) -> None:
    place, stand, _ = stack
    faults = dict(FAULTS if place.server else ((name, FAULTS[name]) for name in OF_A_FILE))
    if place.disk is None:
        del faults["disk full"]
    seen: dict[str, Seen] = {}
    for number, (fault, injected) in enumerate(faults.items()):
        seen[fault] = Seen(f"{number}-", [], [])
        for time_ in range(injected.times if long else 1):
            _go_through(stack, injected, seen[fault], f"{number}-{time_}-", long)
    # What was cut off waits for its lease: all of it together.
    stand.wait_until_over(seconds=SETTINGS["MAILER_LEASE_SECONDS"] + 30)
    for fault, injected in faults.items():
        verdict = judge(stand, [], seen[fault].name)
        verdict.recovery = seen[fault].recovery
        slowest = max(one.seconds for one in stand.told(seen[fault].name))
        publish("database", f"{fault} (slowest dispatch {slowest:.1f} s)", place.kind, verdict)
        assert slowest < REFUSES_WITHIN
        _check(stand, injected, seen[fault], verdict)
    if place.disk is None:
        _missing("all but a full disk: none could be mounted here, neither as root nor by sudo")


def _check(stand: Stand, fault: Fault, seen: Seen, verdict: Verdict) -> None:
    assert not verdict.lost, stand.words()
    assert not verdict.failed
    assert not verdict.unexplained  # each fault is shorter than a 250 is kept waiting
    assert max(seen.recovery) < RESUMES_WITHIN
    told = stand.told(seen.name)
    stored = {row.recipient for row in stand.deliveries(seen.name)}
    refused = {one.recipient for one in told if one.email_id == "refused"}
    assert {one.recipient for one in told if one.is_accepted} <= stored
    assert not refused & stored
    _check_answers(stand, seen.answers, stored)
    if fault.words:
        assert _is_refused(stand, seen.name), "no dispatch met the fault"
        assert _is_sent_away(seen.answers), "no visitor met the fault"
        reasons = (stand.folder / "service.log").read_text()
        assert re.search(f"status=503 reason=.*({fault.words})", reasons)


def _go_through(stack: Stack, fault: Fault, seen: Seen, name: str, long: bool) -> None:
    """Inject a fault under load, and see every worker send afterwards."""
    place, stand, door = stack
    seconds = fault.long_seconds if long else fault.seconds
    number = int(PER_SECOND * (5 if fault.keeps_waiting else seconds + 4))
    with (
        door.visited(f"{name}visitor") as answers,
        stand.client("load", name, number, PER_SECOND, "on_unknown=resend|hold"),
    ):
        wait_until(lambda: len(stand.told(name)) > 20 and len(answers) > 2, 30, stand.words)
        fault.inject(place, seconds, lambda: _is_refused(stand, name) and _is_sent_away(answers))
        over_at = time.time()
        said = [len(one.output) for one in stand.workers]
        wait_until(lambda: resumed_after(stand, over_at, name) is not None, 60, stand.words)
    _see_each_worker_send(stand, said, f"{name}again")
    seen.recovery.append(resumed_after(stand, over_at, name) or 0)
    seen.answers.extend(answers)


def _see_each_worker_send(stand: Stand, said: list[int], name: str) -> None:
    """See it in what each says after the first so many characters of its log."""

    def idle() -> list[int]:
        outputs = [one.output[start:] for one, start in zip(stand.workers, said, strict=True)]
        return [number for number, output in enumerate(outputs) if "status=sent" not in output]

    for number in range(20):
        if not idle():
            break
        with stand.client("load", f"{name}{number}", 40, 200):
            pass
    assert not idle(), stand.words()
    assert [one.starts for one in stand.workers] == [1, 1], "a worker had to be started again"


def _is_refused(stand: Stand, name: str) -> bool:
    return any(one.email_id == "refused" for one in stand.told(name))


def _is_sent_away(answers: list[Answer]) -> bool:
    return any(one.status == 503 for one in answers)


def _check_answers(stand: Stand, answers: list[Answer], stored: set[str]) -> None:
    """Nobody was told 202 whose account and email are not there, nor 503 if they are."""
    with stand.database.read() as connection:
        accounts = set(connection.execute(sa.select(User.email)).scalars())
    for one in answers:
        kept = (one.address in accounts, one.address in stored)
        assert kept in {(True, True), (False, False)}, one
        assert one.status in {202, 503}, one
        if one.status == 503:
            assert int(one.retry_after or 0) > 0
            # Else the connection was lost during the commit, and it says that nobody knows.
            assert "nothing was stored" in one.body or "could not find out" in one.body
        assert one.status != 202 or any(kept), one
        assert "nothing was stored" not in one.body or not any(kept), one
    assert any(one.status == 202 for one in answers)


def _missing(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
