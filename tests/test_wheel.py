"""The built wheel works without a checkout, and without the dev extra."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from mailer.dev.catcher import Catcher

from .worker import CHECKOUT, environment

APP = """
from flask import Flask
from mailer import Mailer, dispatch
from mailer.state import of

app = Flask(__name__)
app.config.from_prefixed_env()
Mailer(app)


@app.cli.command()
def try_it():
    dispatch("welcome", to="ada@example.com", context={"start_url": "https://a.example"})
    dispatch("reset_password", to="bob@example.com",
             context={"reset_url": "https://a.example", "expires_in": "1 hour"})
    print(of(app).renderer.names())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, CHECKOUT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with the wheel and what it declares, from the lock file."""
    folder = tmp_path_factory.mktemp("venv")
    outer = next(
        found
        for found in (Path(sys.base_prefix) / "bin" / "python3", Path(sys.executable))
        if run_quietly(found, "-m", "pip", "--version")
    )
    run(outer, "-m", "venv", "--without-pip", folder)
    inner = folder / "bin" / "python"
    install: list[str | Path] = [outer, "-m", "pip", "--python", inner, "install", "--quiet"]
    run(*install, "--require-hashes", "-r", CHECKOUT / "requirements" / "service.txt")
    run(*install, "--no-deps", "--no-index", wheel)
    return inner


def run(*command: str | Path, cwd: Path = CHECKOUT, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    return done.stdout.decode()


def run_quietly(*command: str | Path) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_wheel_brings_templates_migrations_and_types_but_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "make_celery.py" in names
    assert "mailer/py.typed" in names
    assert "mailer/email_templates/_layout.html" in names
    assert "mailer/email_templates/reset_password/body.html" in names
    assert "mailer/migrations/versions/0001_first_tables.py" in names
    assert any(name.startswith("mailer/web/static/") for name in names)
    assert any(name.startswith("mailer/dev/catcher/templates/") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "templates/"))]


def test_its_extras_are_those_of_the_readme(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    text = archive.read(metadata).decode()
    assert "Name: mailer-dispatch\n" in text
    for extra in ("dev", "service", "postgresql"):
        assert f"Provides-Extra: {extra}\n" in text
    assert "License-Expression: BSD-3-Clause\n" in text


def test_an_app_with_only_the_wheel_sends_emails_with_its_own_templates_first(
    python: Path, catcher: Catcher, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(APP)
    own = tmp_path / "templates" / "welcome"
    own.mkdir(parents=True)
    (own / "subject.txt").write_text("Our own welcome")
    (own / "body.html").write_text(
        '{% extends "_layout.html" %}{% block content %}Hi{% endblock %}'
    )
    settings = environment(
        {
            "MAIL_PORT": catcher.smtp_port,
            "MAIL_DEFAULT_SENDER": "shop@acme.example",
            "MAILER_DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.sqlite3'}",
            "CELERY": {"broker_url": "memory://", "task_always_eager": True},
        }
    )
    flask: list[str | Path] = [python, "-m", "flask", "--app", "app"]
    run(*flask, "mailer", "db", "upgrade", cwd=tmp_path, env=settings)
    names = run(*flask, "try-it", cwd=tmp_path, env=settings)
    assert "'confirm_email'" in names
    welcome, reset = catcher.wait_for(2)
    assert message_from_bytes(welcome.raw, policy=policy.default)["Subject"] == "Our own welcome"
    assert "Reset your" in message_from_bytes(reset.raw, policy=policy.default)["Subject"]


def test_the_service_starts_from_the_wheel(python: Path, tmp_path: Path) -> None:
    settings = environment(
        {
            "SECRET_KEY": "not a secret, this is a test",
            "MAILER_BASE_URL": "https://app.acme.example",
            "MAIL_DEFAULT_SENDER": "shop@acme.example",
            "MAILER_DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.sqlite3'}",
        }
    )
    mailer = python.with_name("mailer")
    assert "at revision 00" in run(mailer, "db", "upgrade", cwd=tmp_path, env=settings)
    code = "import make_celery; print(sorted(make_celery.celery_app.tasks))"
    assert "mailer.send_email" in run(python, "-c", code, cwd=tmp_path, env=settings)


def test_dev_without_its_extra_says_what_to_install(python: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [python.with_name("mailer"), "dev"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pip install 'mailer-dispatch[dev]'" in done.stderr
