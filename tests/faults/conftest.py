"""Settings for the fault suites, their size, and the table that the long form writes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .table import Row, write
from .verdict import Verdict

LONG = os.environ.get("FAULTS") == "long"
"""``make faults`` sets it. Otherwise the counts are such as every run of the tests can afford."""

_rows = pytest.StashKey[list[Row]]()


def on_one_database(kind: str) -> pytest.MarkDecorator:
    """Run a test on one kind of database; in the long form on both."""
    kinds = ["sqlite", "postgresql"] if LONG else [kind]
    return pytest.mark.parametrize("database_url", kinds, indirect=True)


@pytest.fixture
def long() -> bool:
    """Whether this is the long form."""
    return LONG


COMMON = {
    "SECRET_KEY": "not a secret, this is a test",
    "MAIL_DEFAULT_SENDER": "Acme <hello@acme.example>",
    "MAILER_BASE_URL": "https://app.acme.example",
    "MAILER_BACKOFF_BASE_SECONDS": 0,
    "MAILER_BACKOFF_CAP_SECONDS": 0,
    "MAILER_SWEEP_SECONDS": 0.5,
}


@pytest.fixture
def setup(redis_url: str, database_url: str) -> dict[str, Any]:
    """Settings of a stand on the shared Redis, once for each kind of database."""
    return {
        **COMMON,
        "MAILER_DATABASE_URL": database_url,
        "CELERY": {"broker_url": redis_url},
    }


@pytest.fixture
def publish(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Print a verdict, and keep it for the table: ``publish(suite, fault, database, verdict)``."""

    def add(suite: str, fault: str, database: str, verdict: Verdict) -> None:
        print(f"{suite} | {fault} | {database}: {verdict}")  # noqa: T201
        rows = request.config.stash.setdefault(_rows, [])
        rows.append(Row(suite, fault, database, verdict))

    return add


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the table, if all of the long form ran and held."""
    rows = session.config.stash.get(_rows, [])
    if LONG and exitstatus == 0 and rows:
        write(rows, Path(session.config.rootpath) / "docs" / "reliability.md")
