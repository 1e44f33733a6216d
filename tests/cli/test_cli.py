"""What all commands have in common, and the ways to start them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from mailer.cli import group
from mailer.ledger import Ledger

from ..worker import environment
from .conftest import Run, as_process, written

COMMANDS = (
    "send", "list", "show", "retry", "cancel", "resolve", "status", "top", "preview", "test", "db",
    "dev",
)  # fmt: skip

FOREIGN_APP = """
from flask import Flask
from mailer import Mailer
app = Flask(__name__)
app.config["MAILER_DATABASE_URL"] = "sqlite:///{path}"
app.config["CELERY"] = {{"broker_url": "memory://"}}
Mailer().init_app(app)
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_text_with_an_example(run: Run, command: str) -> None:
    words = (command, "upgrade") if command == "db" else (command,)

    assert f"\n  mailer {' '.join(words)}" in run(*words, "--help").stdout.replace("    ", "  ")
    assert f"\n  {command} " in run("--help").stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("frob", "No such command 'frob' (see 'mailer --help')"),
        ("--frob", "No such option '--frob' (see 'mailer --help')"),
        ("list --frob", "No such option '--frob' (see 'mailer list --help')"),
        ("show", "Missing argument 'ID' (see 'mailer show --help')"),
        ("db frob", "No such command 'frob' (see 'mailer db --help')"),
    ],
)
def test_what_is_not_understood_is_said_in_one_line(run: Run, words: str, expected: str) -> None:
    result = run(*words.split())

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"mailer: {expected}\n"


def test_an_error_that_nobody_foresaw_keeps_its_traceback(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger, "list", lambda *_: 1 / 0)

    result = app.test_cli_runner().invoke(group, ["list"])

    assert isinstance(result.exception, ZeroDivisionError)


def test_the_service_starts_as_a_module(process_environment: Mapping[str, str]) -> None:
    sent = as_process(
        process_environment, "send", "--to", "ann@example.com", "--subject", "x", "--text", "x"
    )

    shown = as_process(process_environment, "show", sent.stdout.strip())

    assert (sent.returncode, sent.stderr) == (0, "")
    assert "ann@example.com: sent" in shown.stdout


def test_db_upgrade_migrates_prints_the_revision_and_nothing_else(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    environ = dict(os.environ) | environment({**settings, "MAILER_DATABASE_URL": url})

    before = as_process(environ, "list")
    assert (before.returncode, before.stdout) == (1, "")
    assert before.stderr.startswith("mailer: the ledger has no tables: run `")

    for _ in range(2):
        result = as_process(environ, "db", "upgrade")
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith(f"the ledger at {url} is at revision 0")
    assert as_process(environ, "list").stdout == "no deliveries\n"


def test_db_upgrade_warns_of_a_ledger_that_goes_with_the_environment(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("db", "upgrade").stderr == ""

    monkeypatch.setattr(sys, "prefix", str(tmp_path))

    result = run("db", "upgrade")
    assert result.exit_code == 0
    assert f"lies within the Python environment {tmp_path} and would go with it" in result.stderr


def test_the_version_is_that_of_the_package(run: Run) -> None:
    assert run("--version").stdout == f"mailer-dispatch {version('mailer-dispatch')}\n"


def test_a_wrong_setting_is_said_in_one_line(settings: dict[str, Any]) -> None:
    environ = dict(os.environ) | environment({**settings, "MAIL_PORT": "smtp"})

    result = as_process(environ, "list")

    assert result.returncode == 1
    assert result.stderr == (
        "mailer: MAIL_PORT: expected a whole number from 1 to 65535, got 'smtp'\n"
    )


def test_an_app_with_the_extension_has_the_commands(tmp_path: Path) -> None:
    written(tmp_path, "shop.py", FOREIGN_APP.format(path=tmp_path / "shop.sqlite3"))

    def flask_mailer(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flask", "--app", "shop", "mailer", *words],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    assert flask_mailer("db", "upgrade").returncode == 0
    sent = flask_mailer(
        "send", "--to", "ann@example.com", "--sender", "shop@acme.example",
        "--subject", "x", "--text", "x", "--at", "2h",
    )  # fmt: skip
    email_id = sent.stdout.strip()

    assert flask_mailer("show", email_id).returncode == 0
    assert flask_mailer("cancel", email_id).returncode == 0
    assert f"flask mailer retry {email_id}`" in flask_mailer("show", email_id).stdout
    missing = flask_mailer("show", "ffffffff")
    assert (missing.returncode, missing.stderr) == (1, "mailer: there is no email 'ffffffff'\n")


def python(*lines: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_dev_names_what_to_install_when_its_extra_is_missing() -> None:
    result = python(
        "import sys",
        "sys.modules['aiosmtpd'] = None",  # as if it were not installed
        "sys.argv = ['mailer', 'dev']",
        "from mailer.__main__ import main",
        "main()",
    )

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "mailer: dev needs aiosmtpd: pip install 'mailer-dispatch[dev]'\n"


def test_dev_starts_without_the_app_and_what_it_imports() -> None:
    result = python(
        "import sys",
        "import mailer.__main__, mailer.cli.dev",
        "print(sorted({'celery', 'sqlalchemy', 'alembic', 'mailer.app'} & sys.modules.keys()))",
    )

    assert (result.stdout, result.stderr) == ("[]\n", "")
