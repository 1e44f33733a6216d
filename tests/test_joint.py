"""Joint commits: one transaction for what several threads accept at the same moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import pytest
import sqlalchemy as sa

from mailer.db import Database
from mailer.errors import LedgerUnavailable
from mailer.ledger import Draft, Ledger, Recorded
from mailer.ledger.joint import Joint
from mailer.models import Delivery, Email
from mailer.state import of
from tests.conftest import AppFactory
from tests.worker import CHECKOUT, wait_until


class Desk:
    """Records drafts once it is told to, and notes which came together."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.may_go = threading.Semaphore(0)
        self.fails: Callable[[list[str]], BaseException | None] = lambda group: None

    def record(self, drafts: Sequence[Any]) -> list[Recorded]:
        group = list(drafts)
        self.groups.append(group)
        assert self.may_go.acquire(timeout=5)
        if error := self.fails(group):
            raise error
        return [cast(Recorded, f"stored {one}") for one in group]


class Line:
    """Threads that accept, one after another."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.joint = Joint(desk.record)
        self._pool = ThreadPoolExecutor(10)

    def come(self, name: str) -> Future[Any]:
        """Let a thread accept an email; return once it stores, or waits behind another one."""
        before = len(self.desk.groups) + len(self.joint._line)
        coming = self._pool.submit(self.joint, cast(Draft, name))
        wait_until(lambda: len(self.desk.groups) + len(self.joint._line) > before, 5)
        return coming

    def meet(self) -> list[Future[Any]]:
        """Let one store, and three more come meanwhile."""
        return [self.come(name) for name in "abcd"]


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def line(desk: Desk) -> Line:
    return Line(desk)


def test_who_comes_alone_is_stored_at_once(line: Line, desk: Desk) -> None:
    desk.may_go.release(2)
    assert [line.come(name).result(5) for name in "ab"] == ["stored a", "stored b"]
    assert desk.groups == [["a"], ["b"]]


def test_who_comes_meanwhile_is_stored_together_and_not_before(line: Line, desk: Desk) -> None:
    coming = line.meet()
    assert desk.groups == [["a"]]
    assert not any(one.done() for one in coming)
    desk.may_go.release()
    assert coming[0].result(5) == "stored a"
    wait_until(lambda: desk.groups == [["a"], ["b", "c", "d"]], 5)
    assert not any(one.done() for one in coming[1:])
    desk.may_go.release()
    assert [one.result(5) for one in coming[1:]] == ["stored b", "stored c", "stored d"]


def test_one_that_cannot_be_stored_costs_the_others_nothing(line: Line, desk: Desk) -> None:
    desk.fails = lambda group: ValueError("c is no good") if "c" in group else None
    coming = line.meet()
    desk.may_go.release(9)
    assert [coming[position].result(5) for position in (0, 1, 3)] == [
        "stored a",
        "stored b",
        "stored d",
    ]
    with pytest.raises(ValueError, match="c is no good"):
        coming[2].result(5)
    desk.fails = lambda group: None
    assert line.come("e").result(5) == "stored e"


def test_a_ledger_that_cannot_be_used_is_said_to_each(line: Line, desk: Desk) -> None:
    lost = LedgerUnavailable("the disk is full")
    lost.maybe_stored = True
    desk.fails = lambda group: lost if "c" in group else None
    coming = line.meet()
    desk.may_go.release(9)
    assert coming[0].result(5) == "stored a"
    for one in coming[1:]:
        with pytest.raises(LedgerUnavailable, match="the disk is full") as caught:
            one.result(5)
        assert caught.value.maybe_stored
    assert len(desk.groups) == 2, "nobody tried again"


def test_nobody_waits_for_a_thread_that_ends_while_it_stores(line: Line, desk: Desk) -> None:
    desk.fails = lambda group: KeyboardInterrupt() if group == ["b", "c", "d"] else None
    coming = line.meet()
    desk.may_go.release(9)
    assert coming[0].result(5) == "stored a"
    with pytest.raises(KeyboardInterrupt):
        coming[1].result(5)
    for other in coming[2:]:  # it may have ended just after the commit
        with pytest.raises(LedgerUnavailable) as raised:
            other.result(5)
        assert raised.value.maybe_stored


def test_nobody_waits_for_a_thread_that_ended_while_it_waited(
    line: Line, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(threading.Semaphore):
        def acquire(self, *args: Any, **kwargs: Any) -> bool:
            raise KeyboardInterrupt

    first = line.come("a")
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Semaphore", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            line.joint(cast(Draft, "b"))
    third = line.come("c")
    desk.may_go.release(9)
    assert [first.result(5), third.result(5)] == ["stored a", "stored c"]
    assert desk.groups == [["a"], ["c"]]


def forked(settings: dict[str, Any], database: Database, moment: str) -> dict[str, str]:
    """Fork at a ``moment`` of `tests.forking`; return how it went for each process."""
    url = database.url.render_as_string(hide_password=False)
    given = {**settings, "MAILER_DATABASE_URL": url, "CELERY": {"broker_url": "memory://"}}
    command = [sys.executable, "-m", "tests.forking", json.dumps(given), moment]
    # Newer Pythons warn of what is done here on purpose.
    environ = {**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def recipients(database: Database) -> set[str]:
    with database.read() as connection:
        rows = connection.execute(sa.select(Delivery.recipient))
        return {row.recipient.partition("@")[0] for row in rows}


def test_a_forked_child_waits_for_no_thread_of_its_parent(
    make_app: AppFactory, settings: dict[str, Any]
) -> None:
    database = of(make_app()).database
    went = forked(settings, database, "line")
    assert went == {"child": "stored", "later": "stored", "parent": "stored"}
    assert recipients(database) == {"parent", "thread", "child", "later", "again"}


def test_a_child_that_was_forked_during_a_write_can_write_in_postgresql_alone(
    settings: dict[str, Any], database: Database
) -> None:
    went = forked(settings, database, "write")
    how = "the ledger cannot be used: database is locked" if database.is_sqlite else "stored"
    assert went == {"child": how, "later": how, "parent": "stored"}
    of_child = set() if database.is_sqlite else {"child", "later"}
    assert recipients(database) == {"parent", "again"} | of_child


def draft(number: int) -> Draft:
    return Draft(
        email={
            "template": None,
            "locale": None,
            "context": None,
            "subject": f"Number {number}",
            "text": "Hello",
            "html": None,
            "addresses": {"from": ["", "a@example.com"], "to": [], "cc": [], "reply_to": []},
            "headers": {},
            "tags": {},
            "lane": "default",
            "has_attachments": False,
            "on_unknown": "resend",
            "expires_at": None,
            "idempotency_key": None,
        },
        recipients=[f"{number}@example.com"],
    )


def test_each_thread_gets_its_own_email_and_all_are_stored(
    ledger: Ledger, database: Database
) -> None:
    with ThreadPoolExecutor(8) as threads:
        stored = list(threads.map(lambda number: ledger.accept([draft(number)])[0], range(200)))
    with database.read() as connection:
        columns = (Email.id, Email.subject, Delivery.recipient)
        rows = connection.execute(sa.select(*columns).join(Delivery)).all()
    assert {tuple(row) for row in rows} == {
        (one.email.id, f"Number {number}", f"{number}@example.com")
        for number, one in enumerate(stored)
    }
    assert len(rows) == 200
