"""``mailer status``"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from mailer import presence
from mailer.cli import group
from mailer.db import Database
from mailer.dev.catcher import Catcher
from mailer.dev.ports import free_port
from mailer.models import Job
from mailer.state import of

from ..conftest import AppFactory, let_time_pass
from ..test_watch import nobody_sweeps_for
from .conftest import Run, change

HELLO = ("send", "--subject", "Hello", "--text", "Hello.", "--to", "ann@example.com")


def status(app: Flask, *options: str) -> Result:
    return app.test_cli_runner().invoke(group, ["status", *options])


def late(app: Flask, seconds: float) -> None:
    change(app, status="queued", due_at=time.time() - seconds)


def test_all_is_well_with_an_empty_ledger_and_a_redis(make_app: AppFactory, redis_url: str) -> None:
    result = status(make_app(CELERY={"broker_url": redis_url}))

    assert result.exit_code == 0
    ledger, redis, scheduler, transport, workers, _, head, *lanes = result.stdout.splitlines()
    assert ledger.endswith("ledger.sqlite3: migrated")
    assert redis == f"redis      {redis_url}: reachable"
    assert re.fullmatch(r"scheduler  seen \d+ s ago", scheduler)
    assert transport == "transport  usable as far as is known"
    assert workers == "workers    none seen lately"
    assert head.split()[:5] == ["LANE", "QUEUED", "DUE", "DEFERRED", "SENDING"]
    assert [line.split()[0] for line in lanes] == ["critical", "default", "bulk"]


def test_mail_that_is_due_without_a_worker_is_not_well(
    make_app: AppFactory, redis_url: str
) -> None:
    app = make_app(CELERY={"broker_url": redis_url})
    presence.announce(of(app).traffic.shared, "tests@host")
    app.test_cli_runner().invoke(group, [*HELLO, "--to", "bob@example.com"])
    assert status(app).exit_code == 0
    presence.leave(of(app).traffic.shared, "tests@host")
    result = status(app)
    assert result.exit_code == 1
    assert "mail is due, and no worker is running" in result.stdout
    assert json.loads(status(app, "--json").stdout)["workers"] == 0


def test_status_counts_by_lane(run: Run, app: Flask) -> None:
    run(*HELLO, "--to", "bob@example.com", "--lane", "bulk")
    run(*HELLO, "--at", "2h")
    change(app, status="failed", lane="critical")
    run(*HELLO, "--at", "2h", "--to", "bob@example.com")

    lanes = json.loads(run("status", "--json").stdout)["lanes"]

    assert lanes["critical"]["failed"] == 3
    assert (lanes["default"]["queued"], lanes["default"]["due"]) == (2, 0)
    assert lanes["bulk"] == dict.fromkeys(lanes["bulk"], 0) | {
        "oldest_due_seconds": None,
        "newest_deferral": None,
        "paused": None,
    }


def test_an_unmigrated_database_is_not_well_and_says_what_to_run(
    make_app: AppFactory, tmp_path: Path
) -> None:
    app = make_app()
    of(app).close()
    (tmp_path / "ledger.sqlite3").unlink()

    result = status(app)

    assert result.exit_code == 1
    assert "mailer db upgrade`" in result.stdout
    assert result.stdout.count(str(tmp_path)) == 1
    assert "LANE" not in result.stdout


def test_a_database_that_cannot_be_opened_is_named_with_what_to_run(
    make_app: AppFactory, tmp_path: Path
) -> None:
    app = make_app()
    of(app).close()
    path = tmp_path / "nowhere" / "ledger.sqlite3"
    of(app).database = Database(f"sqlite:///{path}")

    result = status(app)

    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == (
        f"database   sqlite:///{path}: the ledger cannot be used: unable to open database file: "
        "run `mailer db upgrade`"
    )


def test_an_smtp_server_that_is_away_is_not_well(make_app: AppFactory) -> None:
    port = free_port()
    app = make_app(MAIL_PORT=port, MAILER_BACKOFF_BASE_SECONDS=600, MAILER_BACKOFF_CAP_SECONDS=600)
    app.test_cli_runner().invoke(group, [*HELLO, "--to", "bob@example.com"])

    result = status(app)

    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == (
        f"lane default: 1 deferred, the newest: connect: 127.0.0.1:{port}: Connection refused"
    )
    head, row = result.stdout.splitlines()[6], result.stdout.splitlines()[8]
    assert dict(zip(head.split(), row.split(), strict=False))["DEFERRED"] == "1"
    document = json.loads(status(app, "--json").stdout)
    assert not document["healthy"]
    assert "default" in document["lanes_without_transport"]
    lane = document["lanes"]["default"]
    assert (lane["deferred"], lane["due"], lane["newest_deferral"]["stage"]) == (1, 1, "connect")

    late(app, 10)  # the outage is not over because the wait is
    result = status(app)
    assert result.exit_code == 1
    assert "lane default: due again, deferred by: connect: " in result.stdout


def test_mail_that_a_server_defers_is_shown_and_well(run: Run, catcher: Catcher) -> None:
    catcher.script("rcpt", "451 4.7.1 greylisted")
    run(*HELLO)

    result = run("status")

    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == (
        "lane default: 1 deferred, the newest: rcpt: 451 4.7.1 greylisted"
    )


def test_a_redis_that_is_away_is_not_well(make_app: AppFactory) -> None:
    url = f"redis://:hunter2@127.0.0.1:{free_port()}/0"

    result = status(make_app(CELERY={"broker_url": url}))

    assert result.exit_code == 1
    assert "not reachable: " in result.stdout
    assert "hunter2" not in result.stdout


def test_mail_that_nobody_sends_is_not_well(run: Run, app: Flask) -> None:
    run(*HELLO)
    late(app, 60)
    assert run("status").exit_code == 0

    late(app, 600)
    result = run("status")

    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == (
        "lane default: mail is due and nobody sends it; is a worker running?"
    )
    assert "10 min" in result.stdout
    document: dict[str, Any] = json.loads(run("status", "--json").stdout)
    assert (document["healthy"], document["late_lanes"]) == (False, ["default"])
    assert document["oldest_due_seconds"] == pytest.approx(600, abs=60)


def test_a_job_that_no_worker_takes_is_not_well(run: Run, app: Flask) -> None:
    of(app).ledger.add_job("waits", "retry", {"ids": [], "below": 9}, actor="ann", total=0)
    assert run("status").exit_code == 0
    let_time_pass(of(app).database, "lease_until", 600, model=Job)
    result = run("status")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == (
        "bulk sends and other jobs have waited for 600 s: is there a worker for mailer.jobs?"
    )


def test_a_backlog_that_a_worker_is_at_is_well(run: Run, app: Flask) -> None:
    run(*HELLO, "--to", "bob@example.com")
    late(app, 600)
    assert len(of(app).ledger.claim("default", 1).deliveries) == 1

    assert run("status").exit_code == 0


def test_mail_that_failed_is_no_reason_to_be_woken(run: Run, app: Flask) -> None:
    run(*HELLO)
    change(app, status="failed")

    assert run("status").exit_code == 0


def test_a_scheduler_that_is_missing_for_a_minute_is_not_well(run: Run, app: Flask) -> None:
    nobody_sweeps_for(of(app).database, 50)
    assert run("status").exit_code == 0
    nobody_sweeps_for(of(app).database, 30)

    result = run("status")

    assert result.exit_code == 1
    line = result.stdout.splitlines()[2]
    assert re.fullmatch(
        r"scheduler  not seen for 8\d s: is beat running, and a worker free\?", line
    )
    check = json.loads(run("status", "--json").stdout)["checks"]["scheduler"]
    assert check["ok"] is False
