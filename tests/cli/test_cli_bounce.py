"""``mailer bounce``: what a mail server pipes in, and which exit code it gets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from mailer import dispatch
from mailer.models import Report
from mailer.state import of

from ..inbound import reports
from .conftest import OnTerminal, Run


@pytest.fixture
def email_id(app: Flask) -> str:
    with app.app_context():
        return dispatch(to=reports.ADA, subject="Hello", text="Hello").id


def pipe(
    environ: Mapping[str, str], raw: bytes, **changes: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "mailer", "bounce"],
        input=raw, env={**environ, **changes}, capture_output=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_bounce_is_stored_and_shown(
    app: Flask, process_environment: Mapping[str, str], run: Run, email_id: str
) -> None:
    elsewhere = reports.recipient(
        "member@elsewhere.example", Original_Recipient="", Status="5.2.2", Diagnostic_Code=""
    )
    raw = reports.dsn(reports.recipient(), elsewhere, email_id=email_id)
    done = pipe(process_environment, raw)
    assert (done.returncode, done.stdout, done.stderr) == (
        os.EX_OK, b"stored 2, known 0, ignored 0\n", b"",
    )  # fmt: skip
    again = pipe(process_environment, raw)
    assert (again.returncode, again.stdout) == (os.EX_OK, b"stored 0, known 2, ignored 0\n")
    shown = run("show", email_id).stdout
    assert "ada@example.com: sent, bounced, attempt 1 of" in shown
    assert "bounced for good, says dsn: 550 5.1.1 <ada@example.com>: Rec" in shown
    assert "bounced at member@elsewhere.example, says dsn: 5.2.2" in shown
    assert "the server had it, and it came back" in shown
    assert '"permanent": true' in run("show", email_id, "--json").stdout
    assert '"source_id"' in run("export", "--address", reports.ADA).stdout


def test_a_delay_is_taken_and_not_stored(
    app: Flask, process_environment: Mapping[str, str], email_id: str
) -> None:
    done = pipe(process_environment, reports.dsn(reports.recipient(Action="delayed")))
    assert (done.returncode, done.stdout) == (os.EX_OK, b"stored 0, known 0, ignored 1\n")
    with of(app).database.read() as connection:
        assert connection.execute(sa.select(Report.id)).all() == []


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize("raw", [b"", b"Subject: Away\r\n\r\nThe secret is 1234.\r\n"])
def test_what_is_no_report_is_data_that_a_mail_server_need_not_bring_again(
    process_environment: Mapping[str, str], raw: bytes
) -> None:
    done = pipe(process_environment, raw)
    assert (done.returncode, done.stdout) == (os.EX_DATAERR, b"")
    assert done.stderr.startswith(b"mailer: expected a message of type multipart/report")
    assert done.stderr.count(b"\n") == 1
    assert b"1234" not in done.stderr


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize(
    "changes",
    [
        {"FLASK_MAILER_DATABASE_URL": "postgresql://127.0.0.1:1/nowhere"},
        {"FLASK_MAILER_BATCH": "0"},
        {"FLASK_SECRET_KEY": ""},
    ],
)
def test_what_cannot_be_stored_now_is_brought_again(
    process_environment: Mapping[str, str], changes: dict[str, str]
) -> None:
    done = pipe(process_environment, reports.dsn(), **changes)
    assert (done.returncode, done.stdout) == (os.EX_TEMPFAIL, b"")
    assert done.stderr.startswith(b"mailer: ")
    assert b"Secret words" not in done.stderr


def test_a_ledger_without_tables_is_no_reason_to_lose_a_bounce(
    process_environment: Mapping[str, str], tmp_path: Path
) -> None:
    empty = f"sqlite:///{tmp_path / 'empty.sqlite3'}"
    done = pipe(process_environment, reports.dsn(), FLASK_MAILER_DATABASE_URL=empty)
    assert done.returncode == os.EX_TEMPFAIL
    assert b"db upgrade" in done.stderr


def test_all_of_a_huge_message_is_taken_from_the_mail_server(
    process_environment: Mapping[str, str], email_id: str
) -> None:
    raw = reports.dsn(email_id=email_id).replace(b"Secret words", b"x" * 40_000_000)
    done = pipe(process_environment, raw)
    assert (done.returncode, done.stdout) == (os.EX_OK, b"stored 1, known 0, ignored 0\n")


def test_a_person_is_told_to_pipe_something_in(on_terminal: OnTerminal) -> None:
    code, said = on_terminal("bounce")
    assert code == 2
    assert "expected a message on standard input" in said
