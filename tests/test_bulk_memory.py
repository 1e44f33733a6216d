"""A bulk send takes no more memory for a large file than for a small one."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from mailer import bulk, jobs
from mailer.bulk import Upload
from mailer.drafting import Request
from mailer.state import of

from .conftest import AppFactory

ROWS = 7_000
ROW_BYTES = 2_000
GROWS_BY_MAX = 6_000_000


@pytest.fixture
def app(make_app: AppFactory, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """The service, which sends nothing of what is accepted."""
    app = make_app(MAILER_DATABASE_URL=database_url)
    monkeypatch.setattr(of(app).jobs_bell, "ring", lambda *of_what: False)
    monkeypatch.setattr(of(app).doorbell, "ring_for_commit", lambda *of_what: None)
    return app


def test_memory_does_not_grow_with_the_file(app: Flask) -> None:
    send(app, 1_500)
    before = resident()
    send(app, ROWS)
    assert resident() - before < GROWS_BY_MAX < ROWS * ROW_BYTES / 2


def send(app: Flask, number: int) -> None:
    """Upload, check, accept and report so many rows."""
    state, job_id = of(app), str(uuid.uuid4())
    request = Request(template="welcome")
    with app.app_context():
        upload = Upload("people.csv", people(number), is_csv=True)
        bulk.create(state, job_id, request, upload, actor="ann", confirm=True)
        while (job := jobs.run(state, job_id, lambda told: None)) is None:
            pass
        assert (job.status, job.changed) == ("done", number)
        assert sum(1 for _ in bulk.report(state, job_id)) == number + 1


def people(number: int) -> Iterator[bytes]:
    yield b"email,start_url,words\n"
    for one in range(number):
        yield b"p%d@shop.example,https://a.example," % one + b"x" * ROW_BYTES + b"\n"


def resident() -> int:
    """Return how many bytes of memory this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
